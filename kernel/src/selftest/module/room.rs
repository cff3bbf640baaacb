//! Per-CPU variables of modules, in the part of the first chunk that the boot has reserved for them.

use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright_addr::VirtAddr;
use pagewright_hot::PerCpuPages;
use pagewright_kspace::module::PerCpuRoom;
use pagewright_percpu::{How, PerCpuBytes};

/// Modules with such variables, at most.
const MODULES: usize = 4;

/// What the processors' units are ahead of the addresses that symbols have: wherever the units lie, code reaches a symbol near the image.
static AHEAD: [AtomicU64; crate::service::MAX_CPUS] = [const { AtomicU64::new(0) }; crate::service::MAX_CPUS];

/// Exported to modules: what a processor's copies are ahead of their symbols (`per_cpu_offset`).
pub(super) extern "C" fn per_cpu_offset(cpu: u64) -> u64 {
    AHEAD.get(cpu as usize).map_or(0, |ahead| ahead.load(Ordering::Relaxed))
}

/// The room, and who has some of it.
pub(super) struct Room<'r, 'p> {
    percpu: &'r PerCpuPages<'p>,
    /// The address that the lowest unit's first byte has as symbols have it.
    base: u64,
    lowest: u64,
    held: ArrayVec<(u64, PerCpuBytes), MODULES>,
}

impl<'r, 'p> Room<'r, 'p> {
    /// None of it taken. Symbols lie from `base` on. `None` if there are no units.
    pub(super) fn new(percpu: &'r PerCpuPages<'p>, base: VirtAddr) -> Option<Self> {
        let unit = |cpu| Some(percpu.static_data(cpu)?.0.addr().get() as u64);
        let lowest = (0..).map_while(unit).min()?;
        for (cpu, ahead) in AHEAD.iter().enumerate() {
            ahead.store(unit(cpu).unwrap_or(lowest).wrapping_sub(base.get()), Ordering::Relaxed);
        }
        Some(Self { percpu, base: base.get(), lowest, held: ArrayVec::new() })
    }

    /// Whether nobody has any of it.
    pub(super) fn is_unused(&self) -> bool {
        self.held.is_empty()
    }

    /// Does something with each copy of `len` bytes at an address, if some module has them.
    fn each(&mut self, at: u64, len: usize, mut work: impl FnMut(*mut u8)) {
        let found = self.held.iter().find_map(|(start, bytes)| {
            let offset = at.checked_sub(*start)?;
            (offset.checked_add(len as u64)? <= bytes.size()).then_some((offset as usize, bytes))
        });
        let Some((offset, bytes)) = found else { return };
        let copies = (0..).map_while(|cpu| self.percpu.copy(bytes, cpu));
        copies.for_each(|copy| work(copy.as_ptr().wrapping_add(offset)));
    }
}

impl PerCpuRoom for Room<'_, '_> {
    fn alloc(&mut self, size: u64, align: u64) -> Option<u64> {
        if self.held.is_full() {
            return None;
        }
        let bytes = self.percpu.alloc(size, align.max(1), How::Reserved).ok()?;
        let at = (bytes.at(0).addr().get() as u64).wrapping_sub(self.lowest).wrapping_add(self.base);
        self.held.push((at, bytes));
        Some(at)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        // SAFETY: inside a copy of an allocation that is held here, and no module uses it yet: it is being loaded.
        self.each(at, bytes.len(), |copy| unsafe {
            copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        });
    }

    fn read(&mut self, at: u64, into: &mut [u8]) {
        let len = into.len();
        // SAFETY: as above. All copies are alike.
        self.each(at, len, |copy| unsafe { copy.copy_to_nonoverlapping(into.as_mut_ptr(), len) });
    }

    fn free(&mut self, at: u64) {
        if let Some(held) = self.held.iter().position(|(start, _)| *start == at) {
            let (_, bytes) = self.held.swap_remove(held);
            // It was allocated here.
            let _ = self.percpu.free(bytes);
        }
    }
}
