//! `/proc/zoneinfo`: every zone of every node, populated or not.

use crate::{State, names};
use core::fmt::{self, Write};
use pagewright_zone::ZoneKind;
use pagewright_zone::alloc::NumaStat;
use pagewright_zone::layout::NodeLayout;
use pagewright_zone::watermark::ZoneMarks;

/// A zone's page counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pages {
    /// Free pages.
    pub free: u64,
    /// The temporary watermark boost.
    pub boost: u64,
    /// The min watermark.
    pub min: u64,
    /// The low watermark.
    pub low: u64,
    /// The high watermark.
    pub high: u64,
    /// Pages from the zone's first to its last, holes included.
    pub spanned: u64,
    /// Pages that exist.
    pub present: u64,
    /// Pages that the page allocator manages.
    pub managed: u64,
    /// Pages in CMA areas.
    pub cma: u64,
}

/// One CPU's page lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pageset {
    /// The CPU's number.
    pub cpu: u32,
    /// Pages on the lists.
    pub count: u64,
    /// Above which pages are given back.
    pub high: u64,
    /// Pages moved at once.
    pub batch: u64,
    /// The drift that a vmstat counter may have on this CPU.
    pub stat_threshold: Option<u64>,
}

/// Writes the first line of a zone's block.
///
/// # Errors
/// The writer's.
pub fn head(w: &mut dyn Write, node: u32, name: &str) -> fmt::Result {
    writeln!(w, "Node {node}, zone {name:>8}")
}

/// Writes the node's counters, which follow the head of its first populated zone.
///
/// # Errors
/// The writer's.
pub fn node_stats<'c>(w: &mut dyn Write, stats: impl Iterator<Item = (&'c str, u64)>) -> fmt::Result {
    writeln!(w, "  per-node stats")?;
    counters(w, stats)
}

/// Writes a zone's page counts and its lowmem_reserve against each zone kind.
///
/// # Errors
/// The writer's.
pub fn pages(w: &mut dyn Write, pages: &Pages, protection: impl Iterator<Item = u64>) -> fmt::Result {
    writeln!(w, "  pages free     {}", pages.free)?;
    for (label, value) in [
        ("boost", pages.boost),
        ("min", pages.min),
        ("low", pages.low),
        ("high", pages.high),
        ("spanned", pages.spanned),
        ("present", pages.present),
        ("managed", pages.managed),
        ("cma", pages.cma),
    ] {
        writeln!(w, "        {label:<8} {value}")?;
    }
    write!(w, "        protection: (")?;
    for (i, pages) in protection.enumerate() {
        write!(w, "{}{pages}", if i == 0 { "" } else { ", " })?;
    }
    writeln!(w, ")")
}

/// Writes what only a populated zone shows: its counters (and NUMA's, where built) in Linux's order, the per-CPU page
/// lists in CPU order, how often reclaim failed in a row, and the zone's first frame number.
///
/// # Errors
/// The writer's.
pub fn populated<'c>(
    w: &mut dyn Write,
    stats: impl Iterator<Item = (&'c str, u64)>,
    pagesets: impl Iterator<Item = Pageset>,
    node_unreclaimable: u64,
    start_pfn: u64,
) -> fmt::Result {
    counters(w, stats)?;
    writeln!(w, "  pagesets")?;
    for s in pagesets {
        writeln!(w, "    cpu: {}", s.cpu)?;
        writeln!(w, "              count: {}", s.count)?;
        writeln!(w, "              high:  {}", s.high)?;
        writeln!(w, "              batch: {}", s.batch)?;
        if let Some(t) = s.stat_threshold {
            writeln!(w, "  vm stats threshold: {t}")?;
        }
    }
    writeln!(w, "  node_unreclaimable:  {node_unreclaimable}")?;
    writeln!(w, "  start_pfn:           {start_pfn}")
}

fn counters<'c>(w: &mut dyn Write, mut list: impl Iterator<Item = (&'c str, u64)>) -> fmt::Result {
    list.try_for_each(|(name, value)| writeln!(w, "      {name:<12} {value}"))
}

/// Writes the file: zones in node order, within a node in zone order.
///
/// # Errors
/// The writer's.
pub fn write(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> fmt::Result {
    for node in state.nodes() {
        let mut first = true;
        for kind in state.kinds() {
            let Some(marks) = state.running.watermarks.zone(node.nid, kind) else { continue };
            let with_node = node.zone(kind).is_populated() && core::mem::take(&mut first);
            write_zone(w, state, node, kind, marks, with_node)?;
        }
    }
    Ok(())
}

fn write_zone(
    w: &mut dyn Write,
    state: &State<'_, '_, '_, '_, '_>,
    node: &NodeLayout,
    kind: ZoneKind,
    marks: &ZoneMarks,
    with_node: bool,
) -> fmt::Result {
    let config = &state.boot.machine.config;
    let layout = node.zone(kind);
    let zone = state.zones.find(node.nid, kind);
    let free = zone.map_or(0, |zone| zone.free);
    let free_cma = zone.map_or(0, |zone| zone.free_cma);
    head(w, node.nid.get().into(), kind.name())?;
    if with_node {
        node_stats(w, names::node_counters(config, state.slab_pages(node.nid)))?;
    }
    // Every mark is shown with what fragmentation adds to it.
    let boost = zone.map_or(0, |zone| zone.boost);
    let counts = Pages {
        free,
        boost,
        min: marks.min + boost,
        low: marks.low + boost,
        high: marks.high + boost,
        spanned: layout.spanned,
        present: layout.present,
        managed: zone.map_or(0, |zone| zone.managed) + state.gigantic_pages(node.nid, kind),
        cma: zone.map_or(0, |zone| zone.cma),
    };
    pages(w, &counts, state.running.watermarks.protection(marks))?;
    if !layout.is_populated() {
        return Ok(());
    }
    let stat = zone.map_or(NumaStat::default(), |zone| state.given(&zone).numa);
    let numa = names::NUMA.into_iter().zip(names::numa(&stat)).filter(|_| config.numa);
    let pageset = |cpu| {
        let lists = state.lists(cpu, node.nid, kind)?;
        let stat_threshold = config.smp.then_some(marks.stat_threshold);
        Some(Pageset { cpu, count: lists.count, high: lists.high, batch: lists.batch, stat_threshold })
    };
    let pagesets = state.boot.online_cpus().filter_map(pageset);
    populated(w, names::zone_counters(free, free_cma).chain(numa), pagesets, 0, layout.start_pfn.get())
}
