//! One CPU's TLB and walk caches: everything that a walk found is kept until it is flushed.
//!
//! There is no limit to what is kept, so nothing is forgotten by chance. Leaves are kept as what they cover; a leaf of a
//! contiguous group is kept twice, by itself and as the group, because hardware may do either. Entries that lead to
//! tables are kept by the addresses that they are for.

use super::types::{Mapping, Step};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::FlushScope;
use std::collections::BTreeMap;

/// Whose a translation is: `None` for a global one.
pub(crate) type Tag = Option<u16>;

/// One translation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TlbEntry {
    /// What the walk found. Of a group, as much as one leaf of it said about all.
    pub(crate) mapping: Mapping,
    pub(crate) tag: Tag,
    /// Which registers were in force: an index into the CPU's history.
    pub(crate) context: usize,
    /// Hardware fetched it again by itself right after a flush of its address.
    pub(crate) after_flush: bool,
}

/// One entry that leads to a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CachedTable {
    pub(crate) step: Step,
    /// The address that was walked.
    pub(crate) va: VirtAddr,
    /// The entry that the walk went on to, inside the table.
    pub(crate) leads_to: PhysAddr,
}

/// The key of a table entry: its level, its first address, the address space.
type TableKey = (u8, u64, u16);

/// Which entries a flush has to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    pub(crate) scope: FlushScope,
    /// Entries of all address spaces go with those of one (Arm: global ones match any ASID).
    pub(crate) global_too: bool,
    /// The level is more than a hint (arm64 TTL).
    pub(crate) by_level: bool,
    /// Walk caches are emptied by every flush (x86).
    pub(crate) all_tables: bool,
}

impl Reach {
    /// Whether one of the flush's addresses is in here. It steps through its range; in between it meets nothing.
    fn meets(&self, start: VirtAddr, bytes: u64) -> bool {
        let range = self.scope.range;
        let entry = VirtRange { start, len: bytes };
        if !range.overlaps(&entry) {
            return false;
        }
        let stride = self.scope.stride_bytes.max(1);
        let ahead = start.get().saturating_sub(range.start.get());
        let first = range.start.get().checked_add(ahead.div_ceil(stride).saturating_mul(stride));
        first.is_some_and(|a| range.contains(VirtAddr::new(a)) && entry.contains(VirtAddr::new(a)))
    }

    fn meets_tag(&self, tag: Tag) -> bool {
        match (self.scope.asid, tag) {
            (None, _) => true,
            (Some(_), None) => self.global_too,
            (Some(asid), Some(tag)) => asid == tag,
        }
    }

    fn meets_level(&self, level: u8) -> bool {
        !self.by_level || self.scope.level.is_none_or(|l| l.get() == level)
    }
}

/// The caches.
#[derive(Default)]
pub(crate) struct Tlb {
    /// By the base-2 logarithm of the size, then by first address and owner.
    leaves: BTreeMap<u32, BTreeMap<(u64, Tag), TlbEntry>>,
    tables: BTreeMap<TableKey, CachedTable>,
}

impl Tlb {
    /// All translations of an address, the smallest first.
    pub(crate) fn find(&self, va: VirtAddr, asid: u16) -> impl Iterator<Item = &TlbEntry> {
        self.leaves.iter().flat_map(move |(&log2, entries)| {
            let start = va.align_down(1 << log2).get();
            [Some(asid), None].into_iter().filter_map(move |tag| entries.get(&(start, tag)))
        })
    }

    /// A translation that is kept for some of these addresses too and does not say the same.
    pub(crate) fn conflict(&self, new: &Mapping, tag: Tag) -> Option<&TlbEntry> {
        let last = new.start.get() + (new.bytes - 1);
        let all = self.leaves.iter().flat_map(|(&log2, entries)| {
            let low = new.start.align_down(1 << log2).get();
            entries.range((low, None)..=(last, Some(u16::MAX))).map(|(_, entry)| entry)
        });
        all.filter(|old| tag.is_none() || old.tag.is_none() || old.tag == tag).find(|old| {
            let at = old.mapping.start.max(new.start);
            !(old.mapping.same_place(new, at) && old.mapping.same_size(new))
        })
    }

    /// Keeps a translation; a group also as a whole.
    pub(crate) fn insert(&mut self, entry: TlbEntry) {
        self.keep(entry);
        let Mapping { start, group_bytes, .. } = entry.mapping;
        if group_bytes > entry.mapping.bytes {
            let first = start.align_down(group_bytes);
            let mut group = entry;
            group.mapping.phys = entry.mapping.phys_of(first);
            (group.mapping.start, group.mapping.bytes) = (first, group_bytes);
            self.keep(group);
        }
    }

    fn keep(&mut self, entry: TlbEntry) {
        let Mapping { start, bytes, .. } = entry.mapping;
        self.leaves.entry(bytes.ilog2()).or_default().insert((start.get(), entry.tag), entry);
    }

    /// Forgets every translation of one address.
    pub(crate) fn drop_va(&mut self, va: VirtAddr, asid: u16) {
        for (&log2, entries) in &mut self.leaves {
            let start = va.align_down(1 << log2).get();
            for tag in [Some(asid), None] {
                entries.remove(&(start, tag));
            }
        }
    }

    /// The entry of `level` for these addresses, if it is kept.
    pub(crate) fn table(&self, level: u8, span: VirtRange, asid: u16) -> Option<&CachedTable> {
        self.tables.get(&(level, span.start.get(), asid))
    }

    /// Keeps an entry that leads to a table.
    pub(crate) fn insert_table(&mut self, table: CachedTable, asid: u16) {
        self.tables.insert((table.step.level, table.step.span.start.get(), asid), table);
    }

    /// Forgets what the flush reaches; tells every translation that goes.
    pub(crate) fn flush(&mut self, reach: &Reach, gone: &mut Vec<TlbEntry>) {
        for entries in self.leaves.values_mut() {
            entries.retain(|_, e| {
                let goes = reach.meets_tag(e.tag)
                    && reach.meets_level(e.mapping.level)
                    && reach.meets(e.mapping.start, e.mapping.bytes);
                if goes {
                    gone.push(*e);
                }
                !goes
            });
        }
        let scope = &reach.scope;
        self.tables.retain(|&(_, _, asid), table| {
            let mine = scope.asid.is_none_or(|a| a == asid);
            let met = reach.all_tables
                || (scope.tables_freed && reach.meets(table.step.span.start, table.step.span.len));
            !(mine && met)
        });
    }

    /// Forgets everything, or (x86: CR3 was written) everything that belongs to one address space.
    pub(crate) fn flush_all(&mut self, only: Option<u16>) {
        let Some(asid) = only else {
            *self = Self::default();
            return;
        };
        for entries in self.leaves.values_mut() {
            entries.retain(|_, e| e.tag != Some(asid));
        }
        self.tables.retain(|&(_, _, tag), _| tag != asid);
    }

    /// Every translation that is kept.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &TlbEntry> {
        self.leaves.values().flat_map(BTreeMap::values)
    }

    /// Every table entry that is kept, and its address space.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&CachedTable, u16)> {
        self.tables.iter().map(|(key, table)| (table, key.2))
    }
}
