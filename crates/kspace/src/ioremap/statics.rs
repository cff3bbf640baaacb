//! What a board maps from the start, for good.

use super::{IoKind, Ioremap, IoremapError};
use crate::vmalloc::{VmContext, VmFlags};
use core::fmt;
use core::sync::atomic::Ordering::Release;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{Format, Level, TableMemory};

/// A fixed mapping of a device (`struct map_desc`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapDesc {
    /// Its addresses; the pages that they lie in are mapped.
    pub virt: VirtRange,
    /// The page that its first page is mapped to.
    pub phys: PhysAddr,
    /// How.
    pub kind: IoKind,
}

impl MapDesc {
    /// In whole pages.
    fn whole(&self, page: u64) -> Self {
        let start = self.virt.start.align_down(page);
        let len = (self.virt.start.get() - start.get()).saturating_add(self.virt.len);
        let len = len.checked_next_multiple_of(page).unwrap_or(len);
        Self { virt: VirtRange { start, len }, phys: self.phys.align_down(page), kind: self.kind }
    }
}

/// The static maps of a kernel, in memory that the caller brings.
pub struct StaticMaps<'i> {
    maps: &'i mut [Option<MapDesc>],
    /// So many of them there are: they stay, so the places after those are empty.
    used: usize,
}

impl fmt::Debug for StaticMaps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'i> StaticMaps<'i> {
    /// None yet, with room for as many as there are places.
    pub fn new(maps: &'i mut [Option<MapDesc>]) -> Self {
        maps.fill(None);
        Self { maps, used: 0 }
    }

    fn iter(&self) -> impl Iterator<Item = &MapDesc> {
        self.maps.iter().take(self.used).flatten()
    }

    /// Where `size` bytes at `phys` are mapped in this way, if they all are (`find_static_vm_paddr`).
    pub(super) fn find(&self, phys: PhysAddr, size: u64, kind: IoKind) -> Option<VirtAddr> {
        self.iter().find_map(|map| {
            let offset = phys.get().checked_sub(map.phys.get())?;
            let fits = map.kind == kind && offset.checked_add(size)? <= map.virt.len;
            fits.then(|| VirtAddr::new(map.virt.start.get() + offset))
        })
    }

    /// The map that an address is in (`find_static_vm_vaddr`).
    pub(super) fn at(&self, at: VirtAddr) -> Option<&MapDesc> {
        self.iter().find(|map| map.virt.contains(at))
    }

    fn room(&self) -> usize {
        self.maps.len() - self.used
    }

    fn add(&mut self, map: MapDesc) {
        if let Some(place) = self.maps.get_mut(self.used) {
            *place = Some(map);
            self.used += 1;
        }
    }
}

impl<'a, F: Format, M: TableMemory> Ioremap<'_, '_, 'a, F, M> {
    /// Maps a board's registers at their fixed addresses, in areas of their own (`iotable_init`). All of them or none.
    ///
    /// # Errors
    /// [`IoremapError`]; nothing is mapped then.
    #[track_caller]
    pub fn iotable_init<C: VmContext<'a>>(&self, on: &mut C, maps: &[MapDesc]) -> Result<(), IoremapError> {
        self.has_room(maps.len())?;
        for (done, desc) in maps.iter().enumerate() {
            if let Err(why) = self.static_map(on, desc, true) {
                for desc in &maps[..done] {
                    // It was added a moment ago.
                    let _ = self.vmalloc.remove(on, desc.whole(Self::PAGE).virt.start, VmFlags::IOREMAP);
                }
                return Err(why);
            }
        }
        for desc in maps {
            self.find_from_now_on(desc);
        }
        Ok(())
    }

    /// The same for registers that the boot's tables map already: they get their areas, unless the region has just these as early
    /// areas, and are found from now on.
    ///
    /// # Errors
    /// [`IoremapError`] for the first that is refused. Those before it stay: taking an area back would unmap what the boot mapped.
    #[track_caller]
    pub fn adopt_static_maps<C: VmContext<'a>>(
        &self,
        on: &mut C,
        maps: &[MapDesc],
    ) -> Result<(), IoremapError> {
        self.has_room(maps.len())?;
        for desc in maps {
            self.static_map(on, desc, false)?;
            self.find_from_now_on(desc);
        }
        Ok(())
    }

    fn find_from_now_on(&self, desc: &MapDesc) {
        self.statics.lock().add(desc.whole(Self::PAGE));
        self.any_static.store(true, Release);
    }

    fn has_room(&self, more: usize) -> Result<(), IoremapError> {
        let statics = self.statics.lock();
        if statics.room() < more { Err(IoremapError::TooManyStatic(statics.maps.len())) } else { Ok(()) }
    }

    #[track_caller]
    fn static_map<C: VmContext<'a>>(
        &self,
        on: &mut C,
        desc: &MapDesc,
        map: bool,
    ) -> Result<(), IoremapError> {
        let memory = desc.kind.memory(self.facts.arch).ok_or(IoremapError::Kind(desc.kind))?;
        let MapDesc { virt, phys, .. } = desc.whole(Self::PAGE);
        let last = phys.checked_add(virt.len.wrapping_sub(1)).filter(|last| *last <= self.facts.last_phys);
        if virt.is_empty() || last.is_none() {
            return Err(IoremapError::Size { phys, size: virt.len });
        }
        let known = !map
            && self.statics.lock().at(virt.start).is_none()
            && self.vmalloc.find_vm_area(virt.start).is_some_and(|area| {
                area.range() == virt && area.phys == phys && area.flags.contains(VmFlags::IOREMAP)
            });
        if !known {
            self.vmalloc.add_vm_area(on, virt, phys, VmFlags::IOREMAP).map_err(IoremapError::Area)?;
        }
        if !map {
            return Ok(());
        }
        let attr = self.vmalloc.config().attr.with_memory(memory);
        self.vmalloc.map_into(on, virt, phys, attr, Level::PMD).map_err(|why| {
            // The area was added a moment ago.
            let _ = self.vmalloc.remove(on, virt.start, VmFlags::IOREMAP);
            IoremapError::Area(why)
        })
    }
}
