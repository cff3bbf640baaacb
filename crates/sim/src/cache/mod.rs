//! Data caches with contents, between simulated CPUs and simulated RAM.
//!
//! A [`CachedCpu`] loads and stores through its MMU, and then through a write-back cache that holds bytes of its own: what was stored is not in RAM
//! until its line is written back, and what was loaded once is loaded from the cache, whatever RAM says by then. Lines are found by virtual or
//! physical addresses, as the cache's [`CacheShape`] says. So a cache that aliases gives stale bytes here as it does on hardware, and a flush that is left
//! out shows in what is read. Memory that is mapped uncached goes around it.
//!
//! Nothing here comes from the rules in `pagewright_kspace::dcache`, whose flushes it is there to test: what the maintenance operations do is
//! ARMv7-AR B2.2.7 and the ARM926 and ARM1136 manuals'. A cache belongs to one CPU and is not kept coherent with others. Lines are replaced in turn.

mod lines;

pub use lines::Alias;

use crate::mmu::{Access, AccessError, MemoryKind, Mmu};
use core::fmt;
use lines::{Lines, Place};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_kspace::dcache::CacheShape;
use pagewright_platform::{DataCache, MappedMemory};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A simulated CPU with its data cache.
pub struct CachedCpu<'a, 'm> {
    mmu: &'a Mmu<'m>,
    cpu: usize,
    main: Mutex<Lines>,
    /// A second, small cache for some addresses (the mini data cache of StrongARM and XScale).
    mini: Option<(VirtRange, Mutex<Lines>)>,
}

impl fmt::Debug for CachedCpu<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedCpu")
            .field("cpu", &self.cpu)
            .field("shape", lock(&self.main).shape())
            .finish_non_exhaustive()
    }
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a, 'm> CachedCpu<'a, 'm> {
    /// CPU number `cpu` with an empty cache.
    ///
    /// # Panics
    /// When there is no such CPU.
    pub fn new(mmu: &'a Mmu<'m>, cpu: usize, shape: CacheShape) -> Self {
        assert!(cpu < mmu.cpu_count(), "there is no CPU {cpu}");
        Self { mmu, cpu, main: Mutex::new(Lines::new(shape)), mini: None }
    }

    /// The same with a second cache, which alone serves the addresses in `window`.
    #[must_use]
    pub fn with_mini(mut self, window: VirtRange, shape: CacheShape) -> Self {
        self.mini = Some((window, Mutex::new(Lines::new(shape))));
        self
    }

    /// The cache's shape.
    pub fn shape(&self) -> CacheShape {
        *lock(&self.main).shape()
    }

    /// Bytes of RAM that are in the cache more than once, so that one store would not be seen by all.
    pub fn aliases(&self) -> Vec<Alias> {
        lock(&self.main).aliases()
    }

    /// Everything dirty written back and everything forgotten, lines that were filled first first: what a cache may do by itself at any time.
    pub fn evict_all(&self) {
        lock(&self.main).clean_invalidate_all(self.mmu.memory());
        if let Some((_, mini)) = &self.mini {
            lock(mini).clean_invalidate_all(self.mmu.memory());
        }
    }

    /// How many lines are dirty.
    pub fn dirty_lines(&self) -> usize {
        lock(&self.main).dirty()
    }

    fn lines(&self, at: VirtAddr) -> &Mutex<Lines> {
        match &self.mini {
            Some((window, mini)) if window.contains(at) => mini,
            _ => &self.main,
        }
    }

    /// Where an access goes, and whether through the cache.
    fn place(&self, at: VirtAddr, access: Access) -> Result<(Place, bool), AccessError> {
        let hit = self.mmu.access(self.cpu, at, access)?;
        let cached = hit.mapping.is_some_and(|m| matches!(m.memory, MemoryKind::WriteBack));
        Ok((Place { virt: at, phys: hit.phys }, cached))
    }

    /// The bytes from `done` on that lie in one line.
    fn piece(&self, at: VirtAddr, done: usize, len: usize) -> (VirtAddr, usize) {
        let at = VirtAddr::new(at.get().wrapping_add(done as u64));
        let line = u64::from(lock(self.lines(at)).shape().line);
        (at, ((line - at.get() % line) as usize).min(len - done))
    }

    /// Loads bytes as the kernel or as user code.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn load(&self, at: VirtAddr, user: bool, into: &mut [u8]) -> Result<(), AccessError> {
        let mut done = 0;
        while done < into.len() {
            let (now, count) = self.piece(at, done, into.len());
            let part = &mut into[done..done + count];
            let (place, cached) = self.place(now, Access { user, ..Access::READ })?;
            if cached {
                lock(self.lines(now)).load(self.mmu.memory(), place, part).map_err(AccessError::Memory)?;
            } else {
                self.mmu.memory().read(place.phys, part).map_err(AccessError::Memory)?;
            }
            done += count;
        }
        Ok(())
    }

    /// Stores bytes as the kernel or as user code.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn store(&self, at: VirtAddr, user: bool, bytes: &[u8]) -> Result<(), AccessError> {
        let mut done = 0;
        while done < bytes.len() {
            let (now, count) = self.piece(at, done, bytes.len());
            let part = &bytes[done..done + count];
            let (place, cached) = self.place(now, Access { user, ..Access::WRITE })?;
            if cached {
                lock(self.lines(now)).store(self.mmu.memory(), place, part).map_err(AccessError::Memory)?;
            } else {
                self.mmu.memory().write(place.phys, part).map_err(AccessError::Memory)?;
            }
            done += count;
        }
        Ok(())
    }

    /// Runs `work` for each line of a range.
    ///
    /// # Panics
    /// When the range is not mapped: the operation would fault in a kernel too.
    fn each_line(&self, at: VirtAddr, bytes: u64, work: impl Fn(&mut Lines, Place)) {
        if bytes == 0 {
            return;
        }
        let line = u64::from(self.shape().line);
        let (mut now, end) = (at.get() & !(line - 1), at.get() + bytes);
        while now < end {
            let virt = VirtAddr::new(now);
            let phys = match self.mmu.access(self.cpu, virt, Access::READ) {
                Ok(hit) => hit.phys,
                Err(e) => panic!("cache maintenance at {virt:#x}: {e}"),
            };
            work(&mut lock(self.lines(virt)), Place { virt, phys });
            now += line;
        }
    }
}

impl DataCache for CachedCpu<'_, '_> {
    fn clean_invalidate(&self, at: VirtAddr, bytes: u64) {
        self.each_line(at, bytes, |lines, place| {
            lines.clean(self.mmu.memory(), place);
            lines.invalidate(place);
        });
    }

    fn clean(&self, at: VirtAddr, bytes: u64) {
        self.each_line(at, bytes, |lines, place| lines.clean(self.mmu.memory(), place));
    }

    fn invalidate(&self, at: VirtAddr, bytes: u64) {
        self.each_line(at, bytes, |lines, place| lines.invalidate(place));
    }

    fn clean_invalidate_all(&self) {
        self.evict_all();
    }
}

impl MappedMemory for CachedCpu<'_, '_> {
    type Error = AccessError;

    fn zero(&self, at: VirtAddr, bytes: u64) -> Result<(), AccessError> {
        self.store(at, false, &vec![0; bytes as usize])
    }

    fn copy(&self, to: VirtAddr, from: VirtAddr, bytes: u64) -> Result<(), AccessError> {
        let mut copy = vec![0; bytes as usize];
        self.load(from, false, &mut copy)?;
        self.store(to, false, &copy)
    }

    fn read(&self, at: VirtAddr, into: &mut [u8]) -> Result<(), AccessError> {
        self.load(at, false, into)
    }

    fn write(&self, at: VirtAddr, bytes: &[u8]) -> Result<(), AccessError> {
        self.store(at, false, bytes)
    }
}

/// What RAM holds, past every cache.
///
/// # Panics
/// When there is no RAM.
pub fn in_ram(mmu: &Mmu<'_>, at: PhysAddr) -> u8 {
    let mut byte = [0];
    match mmu.memory().read(at, &mut byte) {
        Ok(()) => byte[0],
        Err(e) => panic!("{e}"),
    }
}
