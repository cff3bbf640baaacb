//! `/proc/zoneinfo`: every zone of every node, populated or not.

use super::{Counter, Lines, counter, node_zone};
use crate::fault::Fault;
use pagewright_view::zoneinfo::{self as view, Pages};
use std::fmt;

pub use pagewright_view::zoneinfo::Pageset;

/// The whole file: zones in node order, within a node in zone order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ZoneInfo {
    /// One block for each zone of each online node.
    pub zones: Vec<Zone>,
}

/// One zone. All page counts are in pages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Zone {
    /// The node's number.
    pub node: u32,
    /// The zone's name.
    pub name: String,
    /// The node's counters, with its first populated zone only.
    pub node_stats: Option<Vec<Counter>>,
    /// The page counts.
    pub pages: Pages,
    /// lowmem_reserve against each zone kind.
    pub protection: Vec<u64>,
    /// What only a populated zone shows.
    pub populated: Option<Populated>,
}

/// The rest of a populated zone's block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Populated {
    /// The zone's counters (and NUMA's, where built), in Linux's order.
    pub stats: Vec<Counter>,
    /// The per-CPU page lists, in CPU order.
    pub pagesets: Vec<Pageset>,
    /// Consecutive reclaim failures have made the node hopeless.
    pub node_unreclaimable: u64,
    /// The zone's first frame number.
    pub start_pfn: u64,
}

impl ZoneInfo {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut lines = Lines::new(text);
        let mut zones = Vec::new();
        while lines.peek().is_some() {
            zones.push(zone(&mut lines)?);
        }
        Ok(Self { zones })
    }

    /// The zone of that node and name.
    pub fn zone(&self, node: u32, name: &str) -> Option<&Zone> {
        self.zones.iter().find(|z| z.node == node && z.name == name)
    }
}

fn zone(lines: &mut Lines<'_>) -> Result<Zone, Fault> {
    let (number, line) = lines.need("`Node <number>, zone <name>`")?;
    let (node, name, _) = node_zone(number, line)?;
    let mut zone = Zone { node, name: name.to_owned(), ..Zone::default() };
    if lines.next_is("per-node stats") {
        lines.next();
        let mut stats = Vec::new();
        while !lines.next_is("pages free") {
            let (n, l) = lines.need("a node counter or `pages free`")?;
            stats.push(counter(n, l)?);
        }
        zone.node_stats = Some(stats);
    }
    let pages = &mut zone.pages;
    for (label, field) in [
        ("pages free", &mut pages.free),
        ("boost", &mut pages.boost),
        ("min", &mut pages.min),
        ("low", &mut pages.low),
        ("high", &mut pages.high),
        ("spanned", &mut pages.spanned),
        ("present", &mut pages.present),
        ("managed", &mut pages.managed),
        ("cma", &mut pages.cma),
    ] {
        *field = lines.number(label)?;
    }
    let (n, line) = lines.need("`protection: (<numbers>)`")?;
    zone.protection = line
        .trim()
        .strip_prefix("protection: (")
        .and_then(|l| l.strip_suffix(')'))
        .and_then(|l| l.split(", ").map(|v| v.parse().ok()).collect())
        .ok_or_else(|| Fault::line(n, line, "`protection: (<numbers>)`"))?;
    if lines.peek().is_some() && !lines.next_is("Node ") {
        zone.populated = Some(populated(lines)?);
    }
    Ok(zone)
}

fn populated(lines: &mut Lines<'_>) -> Result<Populated, Fault> {
    let mut out = Populated::default();
    while !lines.next_is("pagesets") {
        let (n, l) = lines.need("a zone counter or `pagesets`")?;
        out.stats.push(counter(n, l)?);
    }
    lines.next();
    while lines.next_is("cpu:") {
        let mut set = Pageset {
            cpu: lines.number("cpu:")? as u32,
            count: lines.number("count:")?,
            high: lines.number("high:")?,
            batch: lines.number("batch:")?,
            stat_threshold: None,
        };
        if lines.next_is("vm stats threshold:") {
            set.stat_threshold = Some(lines.number("vm stats threshold:")?);
        }
        out.pagesets.push(set);
    }
    out.node_unreclaimable = lines.number("node_unreclaimable:")?;
    out.start_pfn = lines.number("start_pfn:")?;
    Ok(out)
}

impl fmt::Display for ZoneInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.zones.iter().try_for_each(|z| z.fmt(f))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        view::head(f, self.node, &self.name)?;
        if let Some(stats) = &self.node_stats {
            view::node_stats(f, counters(stats))?;
        }
        view::pages(f, &self.pages, self.protection.iter().copied())?;
        let Some(p) = &self.populated else { return Ok(()) };
        let pagesets = p.pagesets.iter().copied();
        view::populated(f, counters(&p.stats), pagesets, p.node_unreclaimable, p.start_pfn)
    }
}

fn counters(list: &[Counter]) -> impl Iterator<Item = (&str, u64)> {
    list.iter().map(|(name, value)| (name.as_str(), *value))
}
