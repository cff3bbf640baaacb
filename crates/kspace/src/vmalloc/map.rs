//! Areas for what is somebody else's: pages of the caller's, and memory by its physical address.

use super::area::{Life, Record};
use super::context::Shared;
use super::get::Taken;
use super::{VmArea, VmContext, VmFlags, Vmalloc, VmallocError};
use crate::areas::Wanted;
use core::cell::RefCell;
use core::panic::Location;
use pagewright_addr::{Pfn, PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{Attr, Format, LeafTables, Level, MapOptions, PageWords, TableMemory};
use pagewright_zone::Gfp;

/// What says that pages are the area's own.
const OWN: VmFlags = VmFlags::ALLOC.union(VmFlags::MAP_PUT_PAGES);

fn refuse(flags: VmFlags, not: VmFlags) -> Result<(), VmallocError> {
    match flags.intersection(not) {
        none if none.is_empty() => Ok(()),
        wrong => Err(VmallocError::Flags(wrong)),
    }
}

/// Memory that is to be mapped by its physical address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhysMapping {
    /// Where it begins, a multiple of a page.
    pub phys: PhysAddr,
    /// Its bytes, whole pages.
    pub size: u64,
    /// How it is mapped.
    pub attr: Attr,
    /// The area's address is a multiple of this power of two (and of a page).
    pub align: u64,
    /// The largest leaf. With blocks, `align` should be the size of one, or few will fit.
    pub max_leaf: Level,
    /// The part of the region, if not all of it will do.
    pub within: Option<VirtRange>,
    /// What the area is: [`VmFlags::IOREMAP`], [`VmFlags::DMA_COHERENT`], [`VmFlags::MAP`].
    pub flags: VmFlags,
}

impl PhysMapping {
    /// Registers of a device, by single pages.
    pub const fn io(phys: PhysAddr, size: u64, attr: Attr) -> Self {
        Self { phys, size, attr, align: 1, max_leaf: Level::PTE, within: None, flags: VmFlags::IOREMAP }
    }
}

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// Maps pages of the caller's one behind the other (`vmap`): where they begin. They stay the caller's. `flags` say what the area is
    /// called: [`VmFlags::MAP`] mostly, [`VmFlags::DMA_COHERENT`] where devices share it; without either it has no name.
    ///
    /// # Errors
    /// As for [`Self::vmalloc`]; [`VmallocError::Flags`] also for [`VmFlags::MAP_PUT_PAGES`]: nobody would free the pages.
    #[track_caller]
    pub fn vmap<C: VmContext<'a>>(
        &self,
        on: &mut C,
        pages: &[Pfn],
        flags: VmFlags,
        attr: Attr,
    ) -> Result<VirtAddr, VmallocError> {
        let caller = Location::caller();
        refuse(flags, OWN)?;
        let highest = pages.iter().max().map_or(PhysAddr::ZERO, |pfn| pfn.phys(self.shift()));
        let mut rest = pages.iter();
        let mut next = || rest.next().map_or(PhysAddr::ZERO, |pfn| pfn.phys(self.shift()));
        let size = pages.len() as u64 * Self::PAGE;
        let taken = self.take_area(on, size, 1, None, flags)?;
        let range = VirtRange { start: taken.range.start, len: size };
        if let Err(why) = self.map_each(on, range, attr, highest, Gfp::GFP_KERNEL, &mut next) {
            self.give_back(&taken);
            return Err(why);
        }
        self.register(&taken, flags, PhysAddr::ZERO, caller);
        Ok(taken.range.start)
    }

    /// Maps memory by its physical address: where it begins.
    ///
    /// # Errors
    /// As for [`Self::vmalloc`].
    #[track_caller]
    pub fn map_phys<C: VmContext<'a>>(
        &self,
        on: &mut C,
        mapping: &PhysMapping,
    ) -> Result<VirtAddr, VmallocError> {
        let &PhysMapping { phys, size, attr, align, max_leaf, within, flags } = mapping;
        let caller = Location::caller();
        refuse(flags, OWN)?;
        if !phys.is_aligned(Self::PAGE) {
            return Err(VmallocError::Unaligned(phys.get()));
        }
        if Self::may_lie_anywhere(mapping)
            && let Some(words) =
                self.words_for(attr, PhysAddr::new(phys.get().saturating_add(size - Self::PAGE)))
            && let Some(at) = self.map_phys_again(on, mapping, &words, caller)
        {
            return Ok(at);
        }
        let taken = self.take_area(on, size, align, within, flags)?;
        let range = VirtRange { start: taken.range.start, len: size };
        let last = PhysAddr::new(phys.get().saturating_add(size - Self::PAGE));
        let mapped = match taken.tables.zip(self.words_for(attr, last)) {
            Some((tables, words)) => self.map_known(tables, range, &words, phys).map(|()| on.publish()),
            None => {
                let options = MapOptions { max_leaf, contiguous: false, ..MapOptions::PAGES };
                self.map_run(on, range, phys, attr, &options, Gfp::GFP_KERNEL)
            }
        };
        if let Err(why) = mapped {
            self.give_back(&taken);
            return Err(why);
        }
        let start = taken.range.start;
        // Where tables of pages lead to all of it, it is mapped by pages.
        let tables = taken.tables.or_else(|| self.cursor.leaf_tables(taken.range));
        let pages = size >> const { F::SHAPE.page_shift() };
        let mapped = if tables.is_some() { u32::try_from(pages).unwrap_or(0) } else { 0 };
        self.register_mapped(&Taken { tables, ..taken }, flags, phys, caller, mapped);
        Ok(start)
    }

    /// Maps memory from `phys` on by single pages in tables that are known.
    #[inline(always)]
    pub(super) fn map_known(
        &self,
        tables: LeafTables,
        range: VirtRange,
        words: &PageWords,
        phys: PhysAddr,
    ) -> Result<(), VmallocError> {
        let first = phys.pfn(self.shift());
        if range.len == Self::PAGE {
            return self.cursor.map_one(tables, range.start, words, first).map_err(VmallocError::Map);
        }
        self.map_many_known(tables, range, words, first)
    }

    #[inline(never)]
    fn map_many_known(
        &self,
        tables: LeafTables,
        range: VirtRange,
        words: &PageWords,
        first: Pfn,
    ) -> Result<(), VmallocError> {
        let entries = self.cursor.page_entries(tables, range).map_err(VmallocError::Tables)?;
        let mut at = first.get();
        let next = |most: usize| {
            let here = at;
            at += most as u64;
            (Pfn::new(here), most)
        };
        entries.map(words, next).map_err(VmallocError::Map).map(|_| ())
    }

    /// How pages with these attributes are mapped up to `last`: what was worked out for the one before mostly holds for the next.
    #[inline(always)]
    fn words_for(&self, attr: Attr, last: PhysAddr) -> Option<PageWords> {
        let others = self.others.lock();
        match &*others {
            Some(words) if words.attr() == attr && last <= words.highest() => Some(*words),
            _ => {
                drop(others);
                self.work_out_words(attr, last)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn work_out_words(&self, attr: Attr, last: PhysAddr) -> Option<PageWords> {
        let words = self.cursor.tables().page_words(attr, last).ok().flatten()?;
        Some(*self.others.lock().insert(words))
    }

    /// Takes addresses and maps nothing (`get_vm_area`); the area is in use from here on. [`Self::remove`] takes it away, and what
    /// is mapped in it by then.
    ///
    /// # Errors
    /// As for [`Self::vmalloc`].
    #[track_caller]
    pub fn get_vm_area<C: VmContext<'a>>(
        &self,
        on: &mut C,
        size: u64,
        align: u64,
        within: Option<VirtRange>,
        flags: VmFlags,
    ) -> Result<VmArea, VmallocError> {
        let caller = Location::caller();
        refuse(flags, OWN)?;
        let taken = self.take_area(on, size, align, within, flags)?;
        Ok(self.register(&taken, flags, PhysAddr::ZERO, caller))
    }

    /// Takes just these addresses, which whoever calls has mapped already or is going to (`vm_area_add_early`, and static maps): an area without a
    /// guard page that begins and ends there.
    ///
    /// # Errors
    /// As for [`Self::vmalloc`]; [`AreaError::Taken`](crate::areas::AreaError::Taken) if they are not free.
    #[track_caller]
    pub fn add_vm_area<C: VmContext<'a>>(
        &self,
        on: &mut C,
        range: VirtRange,
        phys: PhysAddr,
        flags: VmFlags,
    ) -> Result<VmArea, VmallocError> {
        let caller = Location::caller();
        // Early areas of vmalloc's kind (the first per-CPU chunk) have pages of the boot's.
        refuse(flags, VmFlags::MAP_PUT_PAGES)?;
        if !range.start.is_aligned(Self::PAGE) || !range.len.is_multiple_of(Self::PAGE) {
            return Err(VmallocError::Unaligned(range.start.get()));
        }
        let taken = self.take_range(on, range)?;
        Ok(self.register(&taken, flags | VmFlags::NO_GUARD, phys, caller))
    }

    /// Maps memory by its physical address into a part of an area that is in use (`ioremap_page_range`), where nothing is mapped yet.
    ///
    /// # Errors
    /// [`VmallocError::Unaligned`] also if no area in use has all of `range`; else as for [`Self::map_phys`].
    pub fn map_into<C: VmContext<'a>>(
        &self,
        on: &mut C,
        range: VirtRange,
        phys: PhysAddr,
        attr: Attr,
        max_leaf: Level,
    ) -> Result<(), VmallocError> {
        let inside = self.find_vm_area(range.start).is_some_and(|area| area.range().contains_range(&range));
        if !inside || range.is_empty() || !phys.is_aligned(Self::PAGE) {
            return Err(VmallocError::Unaligned(range.start.get()));
        }
        self.map_run(
            on,
            range,
            phys,
            attr,
            &MapOptions { max_leaf, contiguous: false, ..MapOptions::PAGES },
            Gfp::GFP_KERNEL,
        )
    }

    /// Addresses for an area of whole pages.
    pub(super) fn take_area<C: VmContext<'a>>(
        &self,
        on: &mut C,
        size: u64,
        align: u64,
        within: Option<VirtRange>,
        flags: VmFlags,
    ) -> Result<Taken<'v>, VmallocError> {
        let most = self.range.len;
        if size == 0 || size > most {
            return Err(VmallocError::Size { size, most });
        }
        if !align.is_power_of_two() || !size.is_multiple_of(Self::PAGE) {
            return Err(VmallocError::Unaligned(if align.is_power_of_two() { size } else { align }));
        }
        let guard = if flags.contains(VmFlags::NO_GUARD) { 0 } else { Self::PAGE };
        if within.is_none()
            && align <= Self::PAGE
            && let Some(kept) = self.take_kept(on, size + guard)
        {
            return Ok(kept);
        }
        let within = within.unwrap_or(self.range);
        self.take_from_tree(on, &Wanted { size: size + guard, align: align.max(Self::PAGE), within })
    }

    /// An area without pages of its own is its caller's from here on.
    pub(super) fn register(
        &self,
        taken: &Taken<'v>,
        flags: VmFlags,
        phys: PhysAddr,
        caller: &'static Location<'static>,
    ) -> VmArea {
        self.register_mapped(taken, flags, phys, caller, 0);
        taken.slot.record.lock().view(Self::PAGE)
    }

    /// The same, of which so many single pages are mapped in its tables from its start on.
    #[inline]
    fn register_mapped(
        &self,
        taken: &Taken<'v>,
        flags: VmFlags,
        phys: PhysAddr,
        caller: &'static Location<'static>,
        mapped: u32,
    ) {
        *taken.slot.record.lock() = Record {
            life: Life::Live,
            flags,
            range: taken.range,
            mapped,
            generation: taken.generation,
            tables: taken.tables,
            phys,
            caller: Some(caller),
            ..Record::default()
        };
    }

    pub(super) fn map_run<C: VmContext<'a>>(
        &self,
        on: &mut C,
        range: VirtRange,
        phys: PhysAddr,
        attr: Attr,
        options: &MapOptions,
        gfp: Gfp,
    ) -> Result<(), VmallocError> {
        let mut part = self.cursor.apart(range).map_err(VmallocError::Tables)?;
        let shared = RefCell::new(on);
        let mut source = Shared { on: &shared, map: self.map, shift: self.shift(), gfp };
        part.map(range, phys, attr, options, &mut source).map_err(VmallocError::Map)?;
        shared.into_inner().publish();
        Ok(())
    }
}
