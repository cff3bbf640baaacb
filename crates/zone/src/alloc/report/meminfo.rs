//! The Mem-Info block (`show_mem`): totals, a line for each node, three for each zone, swap, RAM.
//!
//! Of lines with many numbers each name and value is an element of a table, in the order that Linux prints them.

use super::super::{Context, Hooks, PageAllocator, ZoneCell};
use super::{Counts, MemInfo, NodeCounts, ZoneCounts};
use crate::buddy::{FreeAreas, MigrateType};
use crate::{NodeMask, ZoneKind};
use core::fmt;
use pagewright_addr::{NodeId, Order};
use pagewright_platform::{Interrupts, WithoutInterrupts};

/// An allocator, as seen by whoever reports on it.
pub(in super::super) struct InService<'x, 'c, 'z, 'm, 's, 'a, I, H> {
    pub(in super::super) allocator: &'x PageAllocator<'z, 'm, 's, 'a, I, H>,
    pub(in super::super) cx: &'x Context<'c, 'm, 'a>,
}

/// A zone's numbers, taken under its lock.
struct Snapshot {
    free: u64,
    free_cma: u64,
    managed: u64,
    present: u64,
    cma: u64,
    blocks: FreeAreas,
    local_pcp: u64,
    of: ZoneCounts,
}

/// Letters for migrate types in the lines of free blocks (`show_migration_types`).
const LETTERS: [char; MigrateType::COUNT] = ['U', 'M', 'E', 'H', 'C', 'I'];

impl<'m, 's, 'a, I: Interrupts, H: Hooks> InService<'_, '_, '_, 'm, 's, 'a, I, H> {
    fn snapshot(&self, cell: &ZoneCell<'s, 'a>, counts: &dyn Counts) -> Snapshot {
        let largest = self.allocator.ground.largest;
        let local_pcp = self.cx.cpu.enter().map_or(0, |own| u64::from(own.count(cell.id())));
        let of = counts.zone(cell.id());
        self.allocator.with_zone(cell, |zone| Snapshot {
            free: zone.free_pages(),
            free_cma: zone.free_cma_pages(),
            managed: zone.managed_pages(),
            present: of.present.unwrap_or(cell.present_pages()),
            cma: zone.cma_pages(),
            blocks: zone.free_areas(largest),
            local_pcp,
            of,
        })
    }

    fn managed(&self, cell: &ZoneCell<'s, 'a>) -> u64 {
        let _quiet = WithoutInterrupts::new(&self.allocator.interrupts);
        cell.lists.lock().managed_pages()
    }

    fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let mut seen = NodeMask::EMPTY;
        self.allocator.zones.iter().map(ZoneCell::nid).filter(move |&nid| seen.insert(nid))
    }

    /// The zones with memory: others are not told of.
    fn zones(&self) -> impl Iterator<Item = &ZoneCell<'s, 'a>> + Clone {
        self.allocator.zones.iter().filter(|cell| cell.is_populated())
    }

    /// `shown` says which zones' nodes are told of. Of pages on CPUs' lists those of these zones count, as in Linux; of all others those of all.
    fn totals(
        &self,
        counts: &dyn Counts,
        shown: impl Fn(&ZoneCell<'s, 'a>) -> bool,
        out: &mut dyn fmt::Write,
    ) -> fmt::Result {
        let sum = |of: fn(&NodeCounts) -> u64| self.nodes().map(|nid| of(&counts.node(nid))).sum::<u64>();
        let (mut bounce, mut free, mut pcp, mut cma) = (0, 0, 0, 0);
        for cell in self.zones() {
            let now = self.snapshot(cell, counts);
            bounce += now.of.bounce;
            free += now.free;
            pcp += if shown(cell) { now.local_pcp + now.of.other_pcp } else { 0 };
            cma += now.free_cma;
        }
        let lines: [&[(&str, u64)]; 8] = [
            &[
                ("active_anon", sum(|n| n.active_anon)),
                ("inactive_anon", sum(|n| n.inactive_anon)),
                ("isolated_anon", sum(|n| n.isolated_anon)),
            ],
            &[
                ("active_file", sum(|n| n.active_file)),
                ("inactive_file", sum(|n| n.inactive_file)),
                ("isolated_file", sum(|n| n.isolated_file)),
            ],
            &[
                ("unevictable", sum(|n| n.unevictable)),
                ("dirty", sum(|n| n.dirty)),
                ("writeback", sum(|n| n.writeback)),
            ],
            &[
                ("slab_reclaimable", sum(|n| n.slab_reclaimable)),
                ("slab_unreclaimable", sum(|n| n.slab_unreclaimable)),
            ],
            &[
                ("mapped", sum(|n| n.mapped)),
                ("shmem", sum(|n| n.shmem)),
                ("pagetables", sum(|n| n.pagetables)),
            ],
            &[("sec_pagetables", sum(|n| n.sec_pagetables)), ("bounce", bounce)],
            &[("kernel_misc_reclaimable", sum(|n| n.kernel_misc_reclaimable))],
            &[("free", free), ("free_pcp", pcp), ("free_cma", cma)],
        ];
        writeln!(out, "Mem-Info:")?;
        for (n, line) in lines.into_iter().enumerate() {
            for (m, (name, pages)) in line.iter().enumerate() {
                let space = if n + m > 0 { " " } else { "" };
                write!(out, "{space}{name}:{pages}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn node(&self, nid: NodeId, counts: &dyn Counts, out: &mut dyn fmt::Write) -> fmt::Result {
        let n = counts.node(nid);
        let kib = |pages: u64| pages << (counts.page_shift().get() - 10);
        let lines = [
            ("active_anon:", n.active_anon),
            ("inactive_anon:", n.inactive_anon),
            ("active_file:", n.active_file),
            ("inactive_file:", n.inactive_file),
            ("unevictable:", n.unevictable),
            ("isolated(anon):", n.isolated_anon),
            ("isolated(file):", n.isolated_file),
            ("mapped:", n.mapped),
            ("dirty:", n.dirty),
            ("writeback:", n.writeback),
            ("shmem:", n.shmem),
        ];
        let huge = [
            ("shmem_thp: ", n.shmem_thp),
            ("shmem_pmdmapped: ", n.shmem_pmdmapped),
            ("anon_thp: ", n.anon_thp),
        ];
        write!(out, "Node {}", nid.get())?;
        for (name, pages) in lines.iter().chain(huge.iter().filter(|_| counts.thp())) {
            write!(out, " {name}{}kB", kib(*pages))?;
        }
        write!(out, " writeback_tmp:{}kB kernel_stack:{}kB", kib(n.writeback_tmp), n.kernel_stack)?;
        write!(out, " pagetables:{}kB sec_pagetables:{}kB", kib(n.pagetables), kib(n.sec_pagetables))?;
        writeln!(out, " all_unreclaimable? {}", if n.all_unreclaimable { "yes" } else { "no" })
    }

    fn zone(
        &self,
        cell: &ZoneCell<'s, 'a>,
        now: &Snapshot,
        counts: &dyn Counts,
        out: &mut dyn fmt::Write,
    ) -> fmt::Result {
        let kib = |pages: u64| pages << (counts.page_shift().get() - 10);
        let boost = cell.boost_pages();
        let numbers = [
            ("free", now.free),
            ("boost", boost),
            ("min", cell.min_pages() + boost),
            ("low", cell.low_pages() + boost),
            ("high", cell.high_pages() + boost),
            ("reserved_highatomic", cell.highatomic_pages()),
            ("active_anon", now.of.active_anon),
            ("inactive_anon", now.of.inactive_anon),
            ("active_file", now.of.active_file),
            ("inactive_file", now.of.inactive_file),
            ("unevictable", now.of.unevictable),
            ("writepending", now.of.writepending),
            ("present", now.present),
            ("managed", now.managed),
            ("mlocked", now.of.mlocked),
            ("bounce", now.of.bounce),
            ("free_pcp", now.local_pcp + now.of.other_pcp),
            ("local_pcp", now.local_pcp),
            ("free_cma", now.free_cma),
        ];
        self.name(cell, counts, out)?;
        for (name, pages) in numbers {
            // This one has its unit in capitals.
            let unit = if name == "reserved_highatomic" { "KB" } else { "kB" };
            write!(out, " {name}:{}{unit}", kib(pages))?;
        }
        write!(out, "\nlowmem_reserve[]:")?;
        for kind in self.allocator.kinds.iter() {
            write!(out, " {}", cell.lowmem_reserve(kind))?;
        }
        writeln!(out)
    }

    fn blocks(
        &self,
        cell: &ZoneCell<'s, 'a>,
        now: &Snapshot,
        counts: &dyn Counts,
        out: &mut dyn fmt::Write,
    ) -> fmt::Result {
        self.name(cell, counts, out)?;
        write!(out, ":")?;
        let mut total = 0;
        for order in (0..=self.allocator.ground.largest.get()).filter_map(Order::new) {
            let number = now.blocks.blocks(order);
            let kib = order.pages() << (counts.page_shift().get() - 10);
            write!(out, " {number}*{kib}kB")?;
            total += number * kib;
            if number > 0 {
                write!(out, " (")?;
                let some = MigrateType::ALL
                    .iter()
                    .zip(LETTERS)
                    .filter(|(of, _)| now.blocks.blocks_of(order, **of) > 0);
                some.into_iter().try_for_each(|(_, letter)| out.write_char(letter))?;
                write!(out, ")")?;
            }
        }
        writeln!(out, " = {total}kB")
    }

    fn name(&self, cell: &ZoneCell<'s, 'a>, counts: &dyn Counts, out: &mut dyn fmt::Write) -> fmt::Result {
        if counts.numa() {
            write!(out, "Node {} ", cell.nid().get())?;
        }
        write!(out, "{}", cell.kind())
    }

    fn ram(&self, counts: &dyn Counts, out: &mut dyn fmt::Write) -> fmt::Result {
        let kinds = self.allocator.kinds;
        let (mut all, mut high, mut reserved, mut cma) = (0, 0, 0, 0);
        for cell in self.zones() {
            let now = self.snapshot(cell, counts);
            all += now.present;
            reserved += now.present - now.managed.min(now.present);
            cma += now.cma;
            // Where there is high memory, the movable zone is made of it.
            let is_high = matches!(cell.kind(), ZoneKind::HighMem | ZoneKind::Movable);
            if is_high && kinds.contains(ZoneKind::HighMem) {
                high += now.present;
            }
        }
        writeln!(out, "{all} pages RAM\n{high} pages HighMem/MovableOnly\n{reserved} pages reserved")?;
        if counts.cma() {
            writeln!(out, "{cma} pages cma reserved")?;
        }
        match counts.hwpoisoned() {
            Some(pages) => writeln!(out, "{pages} pages hwpoisoned"),
            None => Ok(()),
        }
    }
}

impl<'s, 'a, I: Interrupts, H: Hooks> MemInfo for InService<'_, '_, '_, '_, 's, 'a, I, H> {
    fn write(
        &self,
        counts: &dyn Counts,
        nodes: Option<&NodeMask>,
        highest: ZoneKind,
        out: &mut dyn fmt::Write,
    ) -> fmt::Result {
        let shown = |nid| nodes.is_none_or(|nodes| nodes.contains(nid));
        let told = |zone: &ZoneCell<'s, 'a>| shown(zone.nid()) && zone.kind() <= highest;
        let zones = || self.zones().filter(|zone| told(zone));
        self.totals(counts, told, out)?;
        for nid in self.nodes().filter(|&nid| shown(nid)) {
            // A node whose memory is all reserved has none to be short of.
            if zones().any(|zone| zone.nid() == nid && self.managed(zone) > 0) {
                self.node(nid, counts, out)?;
            }
        }
        for cell in zones() {
            self.zone(cell, &self.snapshot(cell, counts), counts, out)?;
        }
        for cell in zones() {
            self.blocks(cell, &self.snapshot(cell, counts), counts, out)?;
        }
        let mut result = Ok(());
        for nid in self.nodes().filter(|&nid| shown(nid)) {
            counts.hugepages(nid, &mut |total, free, surplus, size_kib| {
                result =
                    result.and(write!(out, "Node {} hugepages_total={total} ", nid.get())).and(writeln!(
                        out,
                        "hugepages_free={free} hugepages_surp={surplus} hugepages_size={size_kib}kB"
                    ));
            });
        }
        result?;
        let cached: u64 = self.nodes().map(|nid| counts.node(nid).file_pages).sum();
        let swap = counts.swap();
        let kib = |pages: u64| pages << (counts.page_shift().get() - 10);
        writeln!(out, "{cached} total pagecache pages\n{} pages in swap cache", swap.in_cache)?;
        writeln!(out, "Free swap  = {}kB\nTotal swap = {}kB", kib(swap.free), kib(swap.total))?;
        self.ram(counts, out)
    }
}

impl<'z, 'm, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'z, 'm, 's, 'a, I, H> {
    /// Writes the Mem-Info block for all nodes and zones (`show_mem`, as on sysrq-m).
    ///
    /// # Errors
    /// Those of `out`.
    pub fn show_mem(
        &self,
        cx: &Context<'_, 'm, 'a>,
        counts: &dyn Counts,
        out: &mut dyn fmt::Write,
    ) -> fmt::Result {
        InService { allocator: self, cx }.write(counts, None, ZoneKind::Device, out)
    }
}
