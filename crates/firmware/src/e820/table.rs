//! The kernel's working copy of the map: edits and sanitising.

use super::{E820Entry, E820Kind};
use arrayvec::ArrayVec;
use core::fmt;
use pagewright_addr::{PageShift, Pfn, PhysAddr};

/// Why an edit was refused; the map is then as it was before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum E820TableError {
    /// No room for another entry.
    Full,
    /// An entry's end does not fit 64 bits.
    Wraps(E820Entry),
    /// Firmware gave fewer than two entries, which the kernel does not believe.
    TooFew {
        /// How many there were.
        count: usize,
    },
}

impl fmt::Display for E820TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "the e820 map needs more than {} entries", E820Table::CAPACITY),
            Self::Wraps(e) => write!(
                f,
                "e820 entry at {:#x} with size {:#x} runs past the end of the address space",
                e.start, e.size
            ),
            Self::TooFew { count } => {
                write!(f, "the e820 map has {count} entries, at least 2 are expected")
            }
        }
    }
}

impl core::error::Error for E820TableError {}

/// A map under construction.
///
/// # Invariants
/// None on order or overlap until [`Self::sanitize`] succeeds on two or more entries; after that, entries are
/// sorted by address, do not overlap, are not empty, and no two neighbours of one kind touch (kinds that keep
/// their bounds excepted).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct E820Table {
    entries: ArrayVec<E820Entry, { E820Table::CAPACITY }>,
}

impl E820Table {
    /// How many entries a map holds. (Linux's limit depends on its configuration: 131 without NUMA, 3200 in a
    /// kernel for 1024 nodes; firmware hands over 128 at most.)
    pub const CAPACITY: usize = 256;

    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The kernel's first copy of what firmware says, sanitised (`e820__memory_setup_default`).
    ///
    /// # Errors
    /// [`E820TableError::TooFew`] and [`E820TableError::Wraps`] where Linux falls back to older BIOS calls, which
    /// are not modelled; [`E820TableError::Full`].
    pub fn from_firmware(entries: &[E820Entry]) -> Result<Self, E820TableError> {
        if entries.len() < 2 {
            return Err(E820TableError::TooFew { count: entries.len() });
        }
        let mut table = Self::from_entries(entries)?;
        table.sanitize()?;
        Ok(table)
    }

    /// A map of these entries as they are.
    ///
    /// # Errors
    /// [`E820TableError::Full`].
    pub fn from_entries(entries: &[E820Entry]) -> Result<Self, E820TableError> {
        let entries = ArrayVec::try_from(entries).map_err(|_| E820TableError::Full)?;
        Ok(Self { entries })
    }

    /// Appends an entry (`e820__range_add`).
    ///
    /// # Errors
    /// [`E820TableError::Full`].
    pub fn add(&mut self, entry: E820Entry) -> Result<(), E820TableError> {
        self.entries.try_push(entry).map_err(|_| E820TableError::Full)
    }

    /// Forgets all entries (`memmap=exactmap`).
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The entries in their present order.
    pub fn entries(&self) -> &[E820Entry] {
        &self.entries
    }

    /// The entries in their present order.
    pub fn iter(&self) -> core::slice::Iter<'_, E820Entry> {
        self.entries.iter()
    }

    /// Sorts the map and resolves overlaps (`e820__update_table`).
    ///
    /// Each byte gets the highest type number of the entries that cover it; neighbouring bytes of one type form one
    /// entry, except that kinds which keep their bounds are split wherever any entry starts or ends. Type 0 counts
    /// as nothing. A map of fewer than two entries is left as it is.
    ///
    /// # Errors
    /// [`E820TableError::Wraps`] when an entry runs past 2^64: Linux leaves the map unsanitised then.
    /// [`E820TableError::Full`] when the result does not fit. The map is unchanged after an error.
    pub fn sanitize(&mut self) -> Result<(), E820TableError> {
        if self.entries.len() < 2 {
            return Ok(());
        }
        if let Some(entry) = self.entries.iter().find(|e| e.wraps()) {
            return Err(E820TableError::Wraps(*entry));
        }
        let mut bounds = ArrayVec::<u64, { 2 * Self::CAPACITY }>::new();
        for entry in self.entries.iter().filter(|e| e.size != 0) {
            bounds.push(entry.start.get());
            bounds.push(entry.end().get());
        }
        bounds.sort_unstable();

        let mut merged = Self::new();
        for pair in bounds.windows(2) {
            let (start, end) = (pair[0], pair[1]);
            let number = self.highest_number_at(start);
            if start == end || number == 0 {
                continue;
            }
            let kind = E820Kind::from_number(number);
            match merged.entries.last_mut() {
                Some(last) if last.kind == kind && last.end().get() == start && !kind.keeps_bounds() => {
                    last.size += end - start;
                }
                _ => merged.add(E820Entry::new(start, end - start, kind))?,
            }
        }
        *self = merged;
        Ok(())
    }

    /// The highest type number of any entry that covers the byte at `addr`; 0 when none does.
    fn highest_number_at(&self, addr: u64) -> u32 {
        let covering = self.entries.iter().filter(|e| e.range().contains(PhysAddr::new(addr)));
        covering.map(|e| e.kind.number()).max().unwrap_or(0)
    }

    /// Makes `new` of the parts of `start..start+size` that are `old` (`e820__range_update`). Entries are split
    /// where needed; pieces go to the end of the map. Returns how many bytes changed.
    ///
    /// # Errors
    /// [`E820TableError::Full`]; the map is then unchanged.
    pub fn range_update(
        &mut self,
        start: PhysAddr,
        size: u64,
        old: E820Kind,
        new: E820Kind,
    ) -> Result<u64, E820TableError> {
        if old == new {
            return Ok(0);
        }
        self.edit(start, size, |kind| kind == old, Some(new))
    }

    /// Takes the parts of `start..start+size` that are `kind` (of any kind: `None`) out of the map
    /// (`e820__range_remove`). Returns how many bytes went.
    ///
    /// # Errors
    /// [`E820TableError::Full`] when an entry must be split and there is no room; the map is then unchanged.
    pub fn range_remove(
        &mut self,
        start: PhysAddr,
        size: u64,
        kind: Option<E820Kind>,
    ) -> Result<u64, E820TableError> {
        self.edit(start, size, |k| kind.is_none_or(|wanted| k == wanted), None)
    }

    /// Cuts what `matches` selects of `start..start+size` out of the map; with `new`, puts it back as that kind.
    fn edit(
        &mut self,
        start: PhysAddr,
        size: u64,
        matches: impl Fn(E820Kind) -> bool,
        new: Option<E820Kind>,
    ) -> Result<u64, E820TableError> {
        let target = E820Entry { start, size, kind: E820Kind::Ram }.range();
        let mut kept = Self::new();
        let mut split_off = Self::new();
        let mut changed = 0;
        for entry in &self.entries {
            let cut = entry.range().intersection(&target);
            if !matches(entry.kind) || cut.is_empty() {
                kept.add(*entry)?;
                continue;
            }
            changed += cut.len();
            let before = entry.start.get()..cut.start.get();
            let after = cut.end.get()..entry.end().get();
            // Whatever stays of the entry keeps its place: what lies before the cut, else what lies after it, else
            // the entry itself under its new kind.
            let mut place = Some(&mut kept);
            for (part, kind) in
                [(before, Some(entry.kind)), (after, Some(entry.kind)), (cut.start.get()..cut.end.get(), new)]
            {
                if let (Some(kind), false) = (kind, part.is_empty()) {
                    let table = place.take().unwrap_or(&mut split_off);
                    table.add(E820Entry::new(part.start, part.end - part.start, kind))?;
                }
            }
        }
        for entry in &split_off.entries {
            kept.add(*entry)?;
        }
        *self = kept;
        Ok(changed)
    }

    /// The frame after the last whole frame of RAM, at most `limit` (`e820_end_pfn` with RAM).
    ///
    /// Entries are cut at 4 KiB boundaries as the kernel does: both ends are rounded down.
    pub fn end_of_ram_pfn(&self, limit: Pfn) -> Pfn {
        let frames = self
            .entries
            .iter()
            .filter(|e| e.kind == E820Kind::Ram)
            .map(|e| (e.start.pfn(PageShift::SHIFT_4K), e.end().pfn(PageShift::SHIFT_4K)));
        let below = frames.filter(|(start, _)| *start < limit);
        below.map(|(_, end)| end.min(limit)).max().unwrap_or(Pfn::ZERO)
    }

    /// Whether any byte of `start..end` has this kind (`e820__mapped_any`).
    pub fn mapped_any(&self, start: PhysAddr, end: PhysAddr, kind: E820Kind) -> bool {
        let range = pagewright_addr::PhysRange::new(start, end);
        self.entries.iter().any(|e| e.kind == kind && e.range().overlaps(&range))
    }

    /// Whether all of `start..end` has this kind (`e820__mapped_all`). The map must be sanitised: entries are
    /// expected in order.
    pub fn mapped_all(&self, start: PhysAddr, end: PhysAddr, kind: E820Kind) -> bool {
        let mut next = start;
        for entry in self.entries.iter().filter(|e| e.kind == kind) {
            if entry.range().contains(next) {
                next = entry.end();
            }
        }
        next >= end
    }
}

impl<'t> IntoIterator for &'t E820Table {
    type Item = &'t E820Entry;
    type IntoIter = core::slice::Iter<'t, E820Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
