//! Each processor's own data, in the first chunk that the boot placed for it.

use crate::direct_map::DirectMap;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use pagewright::Boot;
use pagewright::percpu::UnitPlace;
use pagewright_slab::shrink::ReapTimer;

/// What a processor has to itself. Others may read it.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct CpuLocal {
    /// The processor's number plus one, from when it runs.
    id: AtomicU32,
    /// Timer interrupts that it took.
    ticks: AtomicU64,
    /// Blocks that its timer's handler took from the page allocator and gave back.
    handler_blocks: AtomicU64,
    /// When the slabs' reaper comes.
    pub reaper: ReapTimer,
}

impl CpuLocal {
    /// The processor is there.
    pub fn arrive(&self, cpu: u32) {
        self.id.store(cpu + 1, Ordering::Release);
    }

    /// The processor's number, once it runs.
    pub fn cpu(&self) -> Option<u32> {
        self.id.load(Ordering::Acquire).checked_sub(1)
    }

    /// A timer interrupt; `block` says whether its handler got a block.
    pub fn tick(&self, block: bool) {
        // Only its own processor writes them.
        self.ticks.store(self.ticks.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let blocks = self.handler_blocks.load(Ordering::Relaxed) + u64::from(block);
        self.handler_blocks.store(blocks, Ordering::Relaxed);
    }

    /// Timer interrupts so far.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Blocks that handlers had so far.
    pub fn handler_blocks(&self) -> u64 {
        self.handler_blocks.load(Ordering::Relaxed)
    }
}

/// Where a unit of the first chunk is seen, if all that is used of it is: in the direct map, or, made of single pages, where the boot
/// has mapped it.
pub fn seen(boot: &Boot<'_>, ram: &DirectMap, unit: UnitPlace) -> Option<NonNull<u8>> {
    match unit {
        UnitPlace::Ram(range) => ram.pointer(range.start, range.len()),
        UnitPlace::Mapped(_) if boot.pgtable.is_none() => None,
        UnitPlace::Mapped(range) => {
            let at = usize::try_from(range.start.get()).ok()?;
            NonNull::new(core::ptr::with_exposed_provenance_mut(at))
        }
    }
}

/// The same of a processor's.
fn unit(boot: &Boot<'_>, ram: &DirectMap, cpu: u32) -> Option<NonNull<u8>> {
    seen(boot, ram, boot.percpu.as_ref()?.unit(cpu)?)
}

/// The processor's data, zeroed: at the start of its unit's static part. To be called once for each processor, before it runs.
/// `None` if it has no unit, or one that is not mapped.
pub fn make(boot: &Boot<'_>, ram: &DirectMap, cpu: u32) -> Option<&'static CpuLocal> {
    let first = unit(boot, ram, cpu)?.cast::<CpuLocal>();
    if !first.is_aligned() || boot.percpu.as_ref()?.static_size < size_of::<CpuLocal>() as u64 {
        return None;
    }
    // SAFETY: the unit was reserved for this processor by the boot and is never given back; its static part is this image's,
    // and nobody has a reference to it before the call.
    unsafe { first.write(CpuLocal::default()) };
    // SAFETY: it was just written and stays for good; all that is in it is atomic.
    Some(unsafe { first.as_ref() })
}

#[cfg(test)]
mod tests {
    use super::CpuLocal;

    #[test]
    fn a_processor_has_a_number_once_it_arrived() {
        let local = CpuLocal::default();
        assert_eq!(local.cpu(), None);
        local.arrive(0);
        local.tick(true);
        local.tick(false);
        assert_eq!((local.cpu(), local.ticks(), local.handler_blocks()), (Some(0), 2, 1));
    }
}
