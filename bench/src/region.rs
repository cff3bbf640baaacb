//! A vmalloc region over page tables in host memory, as the programs that measure it use it.

use pagewright_addr::{PageShift, PhysAddr, VirtAddr, VirtRange};
use pagewright_kspace::vmalloc::{VmCpu, VmSection, VmSlot, Vmalloc, VmallocConfig};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{Attr, AttrFlags, TableMemory, Tables};
use pagewright_sim::pages::{Pages, PlainMachine, with_plain_machine};
use pagewright_zone::alloc::NoHooks;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Page tables' memory, a box for each page that is one: found by its number, as behind a direct map.
#[derive(Debug)]
pub struct Boxes(Vec<OnceLock<Box<[AtomicU64; 512]>>>);

impl Boxes {
    const BASE: u64 = 0x4000_0000 >> 12;
}

impl TableMemory for Boxes {
    fn words32(&self, _: PhysAddr, _: usize) -> Option<&[AtomicU32]> {
        None
    }

    #[inline]
    fn words64(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU64]> {
        let page = (at.get() >> 12).wrapping_sub(Self::BASE);
        let words = self.0.get(usize::try_from(page).ok()?)?;
        let words = words.get_or_init(|| Box::new([const { AtomicU64::new(0) }; 512]));
        let first = (at.get() % 4096 / 8) as usize;
        words.get(first..first + count)
    }
}

/// The region.
pub type Region<'v, 'a> = Vmalloc<'v, 'a, X86Level4, &'v Boxes>;

/// Makes a machine of 1 GiB with so many CPUs, and a region with room for 65,536 areas.
///
/// # Panics
/// If the host has no memory for it.
pub fn with_region<R>(
    cpus: usize,
    pools: bool,
    then: impl for<'a> FnOnce(&Region<'_, 'a>, &Pages<'_, '_, '_, 'a, NoHooks>) -> R,
) -> R {
    let frames = 1 << 18;
    let plain = PlainMachine::new(frames, cpus);
    // The last is the root's, behind what the page allocator has.
    let memory = Boxes((0..=frames).map(|_| OnceLock::new()).collect());
    let tables = Tables::new(X86Level4::default(), &memory, PhysAddr::new((Boxes::BASE + frames) << 12));
    let rows: Vec<_> = (0..cpus).map(|_| VmCpu::new()).collect();
    let mut nodes = vec![Default::default(); 1 << 16];
    let slots: Vec<VmSlot> = (0..1 << 16).map(|_| VmSlot::new()).collect();
    let range = VirtRange::from_len(VirtAddr::new(0xffff_c900_0000_0000), 32 << 40);
    let flags = AttrFlags::WRITE | AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY;
    let config = VmallocConfig {
        pools,
        ..VmallocConfig::new(Attr::normal(flags), cpus as u32, frames, PageShift::SHIFT_4K)
    };
    let section = VmSection { nodes: &mut nodes, slots: &slots };
    let cursor = tables.lock(range).expect("nobody else has it");
    let parts = (cursor, section);
    with_plain_machine(&plain, NoHooks, |pages| {
        let (cursor, section) = parts;
        let region =
            Vmalloc::new(config, range, cursor, *pages.base.map(), section, &rows).expect("a region");
        then(&region, pages)
    })
}
