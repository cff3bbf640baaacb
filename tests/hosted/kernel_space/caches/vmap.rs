//! Areas of vmalloc's as aliases of pages: each flush of theirs left out once, and then somebody reads, or RAM gets, what was there before.

use super::board::Without;
use crate::world::{PAGE, data};
use pagewright_addr::{Order, Pfn, PhysAddr, VirtAddr, VirtRange};
use pagewright_kspace::dcache::{Behaviour, CacheShape};
use pagewright_kspace::vmalloc::{OnCached, PhysMapping, VmFlags};
use pagewright_pagetable::format::FormatKind;
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_sim::cache::CachedCpu;
use pagewright_sim::mmu::Strictness;
use pagewright_sim::pages::PlainMachine;
use pagewright_sim::vmalloc::{HostedVmalloc, OnHosted, VmallocMachine, with_modules};
use pagewright_zone::Gfp;
use std::cell::Cell;

const MIB: u64 = 1 << 20;
/// Where vmalloc has its areas, the first one at the first colour.
const AREAS: u64 = 0xf000_0000;
/// Where the kernel has a page for good: another colour's address than the first area's.
const KERNEL: VirtAddr = VirtAddr::new(0xe000_1000);

/// A machine whose CPU has a cache of which one operation is left out.
struct Kernel<'k, 'p, 'v, 'x, 'm, 's, 'a> {
    m: &'k HostedVmalloc<'p, 'v, 'x, 'm, 's, 'a, ArmShort>,
    without: &'k Without<'k, 'k, 'v>,
    behaviour: Behaviour,
    page: Pfn,
}

impl<'v, 'x, 'm, 's, 'a> Kernel<'_, '_, 'v, 'x, 'm, 's, 'a> {
    /// Runs `work` in a context that flushes.
    fn on<R>(
        &self,
        work: impl FnOnce(&mut OnCached<'_, OnHosted<'_, 'x, 'm, 's, 'a, 'v>, Without<'_, '_, 'v>>) -> R,
    ) -> R {
        let Self { without, behaviour, .. } = *self;
        self.m.on_cpu(0, |on| work(&mut OnCached { on, cache: without, behaviour }))
    }

    fn write(&self, at: VirtAddr, byte: u8) {
        self.without.cpu.store(at, false, &[byte; PAGE as usize]).unwrap();
    }

    fn reads(&self, at: VirtAddr, byte: u8) -> bool {
        let mut bytes = [0; PAGE as usize];
        self.without.cpu.load(at, false, &mut bytes).unwrap();
        bytes.iter().all(|b| *b == byte)
    }

    /// A device writes the page: past every cache.
    fn dma(&self, page: Pfn, byte: u8) {
        self.m.memory.write(page.phys_4k(), &[byte; PAGE as usize]).unwrap();
    }

    fn in_ram(&self, page: Pfn, byte: u8) -> bool {
        let mut bytes = [0; PAGE as usize];
        self.m.memory.read(page.phys_4k(), &mut bytes).unwrap();
        bytes.iter().all(|b| *b == byte)
    }
}

/// A page's first byte.
trait Phys4k {
    fn phys_4k(self) -> PhysAddr;
}

impl Phys4k for Pfn {
    fn phys_4k(self) -> PhysAddr {
        PhysAddr::new(self.get() * PAGE)
    }
}

/// With every flush all is well; without any single one it is not. How many flushes each cache needs: none where nothing aliases.
fn each_flush_is_needed(scenario: impl Fn(&Kernel<'_, '_, '_, '_, '_, '_, '_>) -> bool) -> [u32; 4] {
    ["vipt,32K,4,32", "vipt,64K,4,64", "vivt,16K,64,32", "pipt,32K,4,32"].map(|shape| {
        let shape: CacheShape = shape.parse().unwrap();
        let behaviour = Behaviour::of(&shape, PAGE);
        let mut flushes = 0;
        let mut skip = None;
        loop {
            let machine = VmallocMachine {
                plain: PlainMachine::new(16 << 8, 1),
                kind: FormatKind::ArmShort,
                range: VirtRange::from_len(VirtAddr::new(AREAS), 16 * MIB),
                config: |config| config.pools = false,
                areas: 1 << 6,
                strictness: Strictness::STRICT,
            };
            let kernel = VirtRange::from_len(VirtAddr::new(0xe000_0000), MIB);
            with_modules(&machine, kernel, ArmShort::default(), |m| {
                let page = m.on_cpu(0, |on| {
                    let page = on.allocator.get_zeroed_page(on.context, Gfp::GFP_KERNEL).unwrap();
                    let own = PhysMapping {
                        within: Some(VirtRange::from_len(KERNEL, 2 * PAGE)),
                        flags: VmFlags::MAP,
                        ..PhysMapping::io(page.phys_4k(), PAGE, data::<ArmShort>())
                    };
                    let at = m.modules.as_ref().unwrap().map_phys(on, &own).unwrap();
                    assert_eq!(at, KERNEL);
                    page
                });
                let cpu = CachedCpu::new(m.mmu, 0, shape);
                let without = Without { cpu: &cpu, skip, seen: Cell::new(0) };
                let right = scenario(&Kernel { m, without: &without, behaviour, page });
                assert_eq!(right, skip.is_none(), "{shape} without flush {skip:?}");
                if skip.is_none() {
                    flushes = without.seen.get();
                }
                m.on_cpu(0, |on| {
                    m.vmalloc.give_all_back(on);
                    m.modules.as_ref().unwrap().vunmap(on, KERNEL).unwrap();
                    m.modules.as_ref().unwrap().give_all_back(on);
                    on.allocator.free_pages_at(on.context, page, Order::ZERO).unwrap();
                });
                assert_eq!(m.vmalloc.validate(), Ok(()));
                m.mmu.check().unwrap();
            });
            let next = skip.map_or(0, |n| n + 1);
            if next >= flushes {
                break flushes;
            }
            skip = Some(next);
        }
    })
}

#[test]
fn what_the_kernel_wrote_shows_in_a_vmap_and_what_was_written_there_when_it_is_gone() {
    let flushes = each_flush_is_needed(|k| {
        k.write(KERNEL, 1);
        let at = k.on(|on| k.m.vmalloc.vmap(on, &[k.page], VmFlags::MAP, data::<ArmShort>())).unwrap();
        assert_eq!(at.get() % (4 * PAGE), 0);
        let mapped = k.reads(at, 1);
        // Old lines at the page's other address, which nobody may see later.
        k.reads(KERNEL, 1);
        k.write(at, 2);
        k.on(|on| k.m.vmalloc.vunmap(on, at)).unwrap();
        mapped && k.reads(KERNEL, 2)
    });
    assert_eq!(flushes, [2, 2, 2, 0]);
}

#[test]
fn so_do_pieces_and_large_mappings_of_vm_map_ram() {
    for count in [1, 33] {
        let flushes = each_flush_is_needed(|k| {
            let pages = vec![k.page; count];
            k.write(KERNEL, 1);
            let at = k.on(|on| k.m.vmalloc.vm_map_ram(on, &pages)).unwrap();
            let mapped = k.reads(at, 1);
            k.reads(KERNEL, 1);
            k.write(at, 2);
            k.on(|on| k.m.vmalloc.vm_unmap_ram(on, at, count as u64)).unwrap();
            mapped && k.reads(KERNEL, 2)
        });
        assert_eq!(flushes, [2, 2, 2, 0], "{count} pages");
    }
}

/// What was written to an area's own page is not written over the page's next use.
#[test]
fn an_area_that_is_freed_leaves_no_lines_of_its_pages() {
    let flushes = each_flush_is_needed(|k| {
        let at = k.m.on_cpu(0, |on| k.m.vmalloc.vmalloc(on, PAGE)).unwrap();
        let own = k.m.vmalloc.vmalloc_to_pfn(at).unwrap();
        k.write(at, 5);
        k.on(|on| k.m.vmalloc.vfree(on, at)).unwrap();
        // Its next user has a device fill it; then the cache writes back what it likes.
        k.dma(own, 6);
        k.without.cpu.evict_all();
        k.behaviour == Behaviour::NonAliasing || k.in_ram(own, 6)
    });
    assert_eq!(flushes, [1, 1, 1, 0]);
}

/// The kernel zeroes a page where it has it in the linear map, and its user finds it in an area.
#[test]
fn an_area_shows_what_was_written_to_its_pages_before() {
    let flushes = each_flush_is_needed(|k| {
        let modules = k.m.modules.as_ref().unwrap();
        let second = VirtAddr::new(KERNEL.get() + 4 * PAGE);
        let (at, own) = k.m.on_cpu(0, |on| {
            let at = k.m.vmalloc.vmalloc(on, PAGE).unwrap();
            (at, k.m.vmalloc.vmalloc_to_pfn(at).unwrap())
        });
        k.m.on_cpu(0, |on| {
            let linear = PhysMapping {
                within: Some(VirtRange::from_len(second, 2 * PAGE)),
                flags: VmFlags::MAP,
                ..PhysMapping::io(own.phys_4k(), PAGE, data::<ArmShort>())
            };
            assert_eq!(modules.map_phys(on, &linear), Ok(second));
            k.m.vmalloc.vfree(on, at).unwrap();
            k.m.vmalloc.give_all_back(on);
        });
        k.write(second, 1);
        let at = k.on(|on| k.m.vmalloc.vmalloc(on, PAGE)).unwrap();
        // The page that was freed last is the first to be used again.
        assert_eq!((at.get(), k.m.vmalloc.vmalloc_to_pfn(at)), (AREAS, Some(own)));
        let right = k.reads(at, 1);
        k.m.on_cpu(0, |on| {
            k.m.vmalloc.vfree(on, at).unwrap();
            modules.vunmap(on, second).unwrap();
        });
        right
    });
    assert_eq!(flushes, [1, 1, 1, 0]);
}

#[test]
fn a_device_and_an_area_see_the_same_after_the_ranges_flushes() {
    let flushes = each_flush_is_needed(|k| {
        let attr = data::<ArmShort>();
        // Mapped past the counted cache: it is the ranges' flushes that are looked at.
        let at = k.m.on_cpu(0, |on| k.m.vmalloc.vmap(on, &[k.page], VmFlags::MAP, attr)).unwrap();
        k.write(at, 3);
        k.behaviour.flush_kernel_vmap_range(k.without, at, PAGE);
        let out = k.behaviour == Behaviour::NonAliasing || k.in_ram(k.page, 3);
        // Lines of what is there now.
        k.reads(at, 3);
        k.dma(k.page, 4);
        k.behaviour.invalidate_kernel_vmap_range(k.without, at, PAGE);
        let into = k.behaviour == Behaviour::NonAliasing || k.reads(at, 4);
        k.m.on_cpu(0, |on| k.m.vmalloc.vunmap(on, at)).unwrap();
        out && into
    });
    assert_eq!(flushes, [2, 2, 2, 0]);
}
