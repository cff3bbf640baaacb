//! kvmalloc: whose memory it is, what falls back, what is freed later; and Linux's cases of `kvfree_rcu`.

use super::*;
use pagewright::vmalloc::VmallocFor;
use pagewright::vmalloc::cases::{self, Ground, LaterGround};
use pagewright_addr::PhysAddr;
use pagewright_kspace::vmalloc::{OnPages, VfreeError, VmFlags, VmRequest, VmallocError};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_platform::{GracePeriods, NoInterrupts};
use pagewright_sim::slabs::{HostedSlabs, LinearRam, with_slabs};
use pagewright_sim::vmalloc::{CpuMemory, ZeroingHooks, with_vmalloc};
use pagewright_slab::SlabError;
use pagewright_slab::kv::{Kv, KvLater, VirtSpace};
use pagewright_slab::slabs::Silent;
use pagewright_zone::Gfp;

type Family<'r, 'c, 'k, 'a> = Kv<'r, 'c, 'k, 'a, NoInterrupts, LinearRam>;
type Region<'p, 'v, 'x, 'm, 's, 'a> = HostedVmalloc<'p, 'v, 'x, 'm, 's, 'a, X86Level4>;
type Caches<'p, 'k, 'x, 'm, 's, 'a, 'v> = HostedSlabs<'p, 'k, 'x, 'm, 's, 'a, ZeroingHooks<'v>>;

/// A machine with both, whose memory is all back at the end.
fn world(test: impl for<'a> FnOnce(&Region<'_, '_, '_, '_, '_, 'a>, &Caches<'_, '_, '_, '_, '_, 'a, '_>)) {
    world_with(|_| (), test);
}

/// The same of a region that works otherwise.
fn world_with(
    config: fn(&mut VmallocConfig),
    test: impl for<'a> FnOnce(&Region<'_, '_, '_, '_, '_, 'a>, &Caches<'_, '_, '_, '_, '_, 'a, '_>),
) {
    let machine = VmallocMachine { config, ..machine(FormatKind::X86Level4, 32, 2) };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        let before = buddyinfo(m.pages);
        with_slabs(m.pages, m.pages.nodes(), 80, &Silent, |slabs| {
            test(m, slabs);
            (0..2).for_each(|cpu| slabs.on_cpu(cpu, |cx| slabs.slabs.flush_cpu(cx)));
            // SAFETY: nobody destroys caches here.
            let caches: Vec<_> = unsafe { slabs.slabs.ids() }.collect();
            slabs.on_cpu(0, |cx| {
                for cache in caches.into_iter().rev() {
                    assert!(!slabs.slabs.shrink(cx, cache), "{:?}", slabs.slabs.figures(cache));
                }
            });
        });
        m.on_cpu(0, |on| m.vmalloc.give_all_back(on));
        expect_all_back(m, &before);
    });
}

/// Does something as one CPU.
fn on<'a, R>(
    m: &Region<'_, '_, '_, '_, '_, 'a>,
    slabs: &Caches<'_, '_, '_, '_, '_, 'a, '_>,
    cpu: usize,
    work: impl FnOnce(&Family<'_, '_, '_, '_>, &dyn VirtSpace) -> R,
) -> R {
    slabs.on_cpu_with_pages(cpu, |cx, context| {
        let mut tlb = m.mmu.all_cpus();
        let mut on = OnPages { allocator: &slabs.pages.allocator, context, cpu, tlb: &mut tlb };
        let memory = CpuMemory { mmu: m.mmu, cpu };
        let space = VmallocFor::new(&m.vmalloc, &mut on, &memory);
        work(&Kv::new(&slabs.slabs, cx, &space), &space)
    })
}

/// The largest block that kmalloc can have is 4 MiB.
const TOO_LARGE_FOR_KMALLOC: usize = 5 << 20;

#[test]
fn small_memory_is_kmallocs_and_large_memory_vmallocs_where_there_is_no_block() {
    world(|m, slabs| {
        on(m, slabs, 0, |kv, space| {
            for (bytes, falls_back) in
                [(1, false), (4096, false), (40_000, false), (TOO_LARGE_FOR_KMALLOC, true)]
            {
                let at = kv.kvmalloc(bytes, Gfp::GFP_KERNEL).unwrap();
                assert_eq!(space.contains(at), falls_back, "{bytes}");
                // SAFETY: allocated above, and not used again.
                assert!(unsafe { kv.kvfree(at) });
            }
            // SAFETY: nothing is freed.
            assert!(unsafe { kv.kvfree(VirtAddr::ZERO) });
            let inside = va(m.vmalloc.range().start.get() + (1 << 30));
            // SAFETY: nothing begins there, so nothing is freed.
            assert!(!unsafe { kv.kvfree(inside) });
            let node = kv.kvmalloc_node(TOO_LARGE_FOR_KMALLOC, Gfp::GFP_KERNEL, Some(node(0))).unwrap();
            assert!(space.contains(node));
            // SAFETY: as above.
            assert!(unsafe { kv.kvfree(node) });
        });
    });
}

#[test]
fn who_must_not_sleep_and_who_wants_a_page_at_most_gets_no_virtual_memory() {
    world(|m, slabs| {
        on(m, slabs, 0, |kv, space| {
            let refused = kv.kvmalloc(TOO_LARGE_FOR_KMALLOC, Gfp::GFP_ATOMIC);
            assert_eq!(refused, Err(SlabError::TooLarge));
            assert_eq!(kv.kvmalloc(i32::MAX as usize + 1, Gfp::GFP_KERNEL), Err(SlabError::TooLarge));
            // kmalloc fails: with more than a page there is a second way.
            slabs.slabs.fail_nth(1);
            assert_eq!(kv.kvmalloc(4096, Gfp::GFP_KERNEL), Err(SlabError::Injected));
            slabs.slabs.fail_nth(1);
            assert_eq!(kv.kvmalloc(40_000, Gfp::GFP_ATOMIC), Err(SlabError::Injected));
            slabs.slabs.fail_nth(1);
            let at = kv.kvmalloc(40_000, Gfp::GFP_KERNEL).unwrap();
            slabs.slabs.fail_nth(0);
            assert!(space.contains(at), "the block failed, single pages did not");
            // SAFETY: allocated above, and not used again.
            assert!(unsafe { kv.kvfree(at) });
        });
    });
}

/// kvmalloc's own error says only that there is no memory; vmalloc knows which area was too small, for what and for whom.
#[test]
fn memory_that_is_refused_is_told_with_the_area_and_the_caller_and_memory_that_is_there_is_the_caller_s() {
    world(|m, slabs| {
        let gap = m.on_cpu(0, |on| {
            let all = m.vmalloc.range();
            let left = TOO_LARGE_FOR_KMALLOC as u64;
            let most = VirtRange::from_len(all.start, all.len - left);
            m.vmalloc.add_vm_area(on, most, PhysAddr::ZERO, VmFlags::MAP).unwrap();
            most
        });
        slabs.on_cpu_with_pages(0, |cx, context| {
            let mut tlb = m.mmu.all_cpus();
            let mut on = OnPages { allocator: &slabs.pages.allocator, context, cpu: 0, tlb: &mut tlb };
            let memory = CpuMemory { mmu: m.mmu, cpu: 0 };
            let space = VmallocFor::new(&m.vmalloc, &mut on, &memory);
            let kv = Kv::new(&slabs.slabs, cx, &space);
            // With its guard page it is a page too long.
            assert_eq!(kv.kvmalloc(TOO_LARGE_FOR_KMALLOC, Gfp::GFP_KERNEL), Err(SlabError::NoMemory));
            let refused = space.take_refused().unwrap();
            let here = format!("kvmalloc of 5242880 bytes at {}:{}: the vmalloc area ", file!(), line!() - 2);
            let told = refused.to_string();
            assert!(told.starts_with(&here), "{told}");
            assert!(
                told.contains(" has no room for 5246976 bytes: the largest gap has 5242880 bytes"),
                "{told}"
            );
            assert_eq!(space.take_refused(), None);
            let at = kv.kvmalloc(TOO_LARGE_FOR_KMALLOC - PAGE as usize, Gfp::GFP_KERNEL).unwrap();
            let caller = m.vmalloc.find_vm_area(at).unwrap().caller.unwrap();
            assert_eq!((caller.file(), caller.line()), (file!(), line!() - 2));
            assert_eq!(space.take_refused(), None);
            // SAFETY: allocated above, and not used again.
            assert!(unsafe { kv.kvfree(at) });
        });
        m.on_cpu(0, |on| m.vmalloc.remove(on, gap.start, VmFlags::MAP).unwrap());
    });
}

#[test]
fn a_fallback_that_fails_leaves_nothing_behind() {
    world_with(
        |config| config.huge = false,
        |m, slabs| {
            let mut failures = 0;
            // Behind the pages, which come in bulk, come the tables.
            for nth in 1..120 {
                let end = on(m, slabs, 0, |kv, _| {
                    m.pages.allocator.fail_nth(nth);
                    let end = kv.kvmalloc(TOO_LARGE_FOR_KMALLOC, Gfp::GFP_KERNEL);
                    m.pages.allocator.fail_nth(0);
                    // SAFETY: allocated just now, and not used again.
                    end.map(|at| assert!(unsafe { kv.kvfree(at) }))
                });
                m.on_cpu(0, |on| {
                    m.vmalloc.give_all_back(on);
                    m.vmalloc.release_tables(on);
                });
                assert_eq!((m.vmalloc.nr_pages(), m.vmalloc.gaps().count), (0, 1), "the {nth}th");
                failures += u32::from(end == Err(SlabError::NoMemory));
            }
            assert!(failures >= 3, "{failures}");
        },
    );
}

#[test]
fn contents_move_between_the_kinds_and_sensitive_ones_are_overwritten() {
    world(|m, slabs| {
        on(m, slabs, 1, |kv, space| {
            let memory = CpuMemory { mmu: m.mmu, cpu: 1 };
            let text: Vec<u8> = (0..9000_u32).map(|n| (n * 7) as u8).collect();
            let zeroed = kv.kvzalloc(TOO_LARGE_FOR_KMALLOC, Gfp::GFP_KERNEL).unwrap();
            let mut seen = vec![1; 9000];
            assert!(
                space.read(va(zeroed.get() + 4_000_000), &mut seen) && seen.iter().all(|byte| *byte == 0)
            );
            // SAFETY: not used again.
            assert!(unsafe { kv.kvfree(zeroed) });

            let small = kv.kvmalloc(9000, Gfp::GFP_KERNEL).unwrap();
            // SAFETY: there are so many bytes, this test's.
            assert!(unsafe { kv.write(small, &text) });
            // SAFETY: initialised, and the old memory is not used again.
            let large = unsafe { kv.kvrealloc(small, 9000, TOO_LARGE_FOR_KMALLOC, Gfp::GFP_KERNEL) }.unwrap();
            assert!(space.contains(large));
            assert!(space.read(large, &mut seen) && seen == text, "what kmalloc had is vmalloc's now");
            // SAFETY: as above.
            let same = unsafe { kv.kvrealloc(large, TOO_LARGE_FOR_KMALLOC, 9000, Gfp::GFP_KERNEL) };
            assert_eq!(same, Ok(large), "it never becomes smaller");
            m.pages.allocator.fail_nth(1);
            // SAFETY: it fails, so nothing is freed.
            let refused = unsafe { kv.kvrealloc(large, 9000, 6 << 20, Gfp::GFP_ATOMIC) };
            m.pages.allocator.fail_nth(0);
            assert!(refused.is_err() && space.read(large, &mut seen) && seen == text);
            let page = m.vmalloc.translate(large).unwrap();
            // SAFETY: not used again; its bytes are looked at in RAM.
            assert!(unsafe { kv.kvfree_sensitive(large, 9000) });
            let mut left = [1; 64];
            m.memory.read(page, &mut left).unwrap();
            assert_eq!(left, [0; 64]);
            assert!(!pagewright::vmalloc::VirtMemory::read(&memory, large, &mut left), "and gone");
        });
    });
}

#[test]
fn memory_is_freed_when_its_readers_have_left_and_not_before() {
    world(|m, slabs| {
        let later = KvLater::new(slabs.readers);
        // SAFETY: this thread is the second CPU, which does nothing else.
        let reader = unsafe { slabs.readers.here(1) }.unwrap();
        let section = reader.read_lock();
        let held = on(m, slabs, 0, |kv, space| {
            let large = kv.kvmalloc(TOO_LARGE_FOR_KMALLOC, Gfp::GFP_KERNEL).unwrap();
            let small = kv.kvmalloc(64, Gfp::GFP_KERNEL).unwrap();
            let alone = kv.kvmalloc(TOO_LARGE_FOR_KMALLOC, Gfp::GFP_KERNEL).unwrap();
            // SAFETY: nobody finds any of them from now on; the links' bytes are used by nobody.
            unsafe {
                assert!(kv.kvfree_rcu(&later, large, 4096 - 8), "a link across two pages");
                assert!(kv.kvfree_rcu(&later, small, 16));
                kv.kvfree_rcu_mightsleep(&later, alone).unwrap();
            }
            assert_eq!((kv.kvfree_rcu_poll(&later), kv.kvfree_rcu_pending(&later)), (0, 3));
            let mut byte = [0];
            assert!(space.read(large, &mut byte) && space.read(alone, &mut byte), "a reader may look");
            [large, alone]
        });
        drop(section);
        on(m, slabs, 0, |kv, space| {
            assert_eq!((kv.kvfree_rcu_poll(&later), kv.kvfree_rcu_pending(&later)), (3, 0));
            let mut byte = [0];
            for at in held {
                assert!(!space.read(at, &mut byte), "{at:#x}");
            }
            // Without memory to remember it by it stays the caller's, who waits himself.
            slabs.slabs.fail_nth(1);
            let alone = kv.kvmalloc(TOO_LARGE_FOR_KMALLOC, Gfp::GFP_KERNEL);
            slabs.slabs.fail_nth(0);
            let alone = alone.unwrap();
            slabs.slabs.fail_nth(1);
            // SAFETY: nobody finds it from now on.
            let wait = unsafe { kv.kvfree_rcu_mightsleep(&later, alone) }.unwrap_err();
            slabs.slabs.fail_nth(0);
            assert!(slabs.readers.is_over(wait.period) && space.read(alone, &mut byte));
            // SAFETY: the readers have left, and nothing else frees it.
            assert!(unsafe { kv.kvfree(alone) });
        });
    });
}

#[test]
fn what_a_handler_frees_goes_with_the_next_poll() {
    world(|m, slabs| {
        let later = KvLater::new(slabs.readers);
        on(m, slabs, 0, |kv, space| {
            let areas: Vec<_> = (0..5)
                .map(|_| kv.kvmalloc(TOO_LARGE_FOR_KMALLOC / 5 + (4 << 20), Gfp::GFP_KERNEL).unwrap())
                .collect();
            for at in &areas {
                // SAFETY: not used again.
                assert!(unsafe { kv.vfree_atomic(&later, *at) });
            }
            let mut byte = [0];
            assert!(areas.iter().all(|at| space.read(*at, &mut byte)), "nothing is taken apart yet");
            let small = kv.kvmalloc(64, Gfp::GFP_KERNEL).unwrap();
            // SAFETY: nothing is freed: it is kmalloc's.
            assert!(!unsafe { kv.vfree_atomic(&later, small) });
            // SAFETY: not used again.
            assert!(unsafe { kv.kvfree(small) });
            assert_eq!(kv.kvfree_rcu_poll(&later), 5);
            assert!(!areas.iter().any(|at| space.read(*at, &mut byte)));
        });
    });
}

/// A machine's area as one CPU has it, with what is freed later.
struct Later<'g, 'l, 'r, 'c, 'k, 'a> {
    kv: &'g Family<'r, 'c, 'k, 'a>,
    space: &'g dyn VirtSpace,
    later: &'g KvLater<'l>,
    range: VirtRange,
}

impl Ground for Later<'_, '_, '_, '_, '_, '_> {
    fn page_bytes(&self) -> u64 {
        PAGE
    }

    fn range(&self) -> VirtRange {
        self.range
    }

    fn vmalloc(&mut self, request: &VmRequest) -> Result<VirtAddr, VmallocError> {
        Ok(self.space.alloc(request.size, request.gfp, request.node, request.caller).unwrap())
    }

    fn vfree(&mut self, at: VirtAddr) -> Result<(), VfreeError> {
        if self.space.free(at) { Ok(()) } else { Err(VfreeError::Nonexistent(at)) }
    }

    fn purge(&mut self) {}

    fn store(&mut self, at: VirtAddr, byte: u8) -> bool {
        self.space.write(at, &[byte])
    }

    fn load(&mut self, at: VirtAddr) -> Option<u8> {
        let mut byte = [0];
        self.space.read(at, &mut byte).then_some(byte[0])
    }
}

impl LaterGround for Later<'_, '_, '_, '_, '_, '_> {
    fn kvfree_rcu(&mut self, at: VirtAddr, with_link: bool) -> bool {
        match with_link {
            // SAFETY: an area of a page that the case had, and knows no more; the link lies inside it.
            true => unsafe { self.kv.kvfree_rcu(self.later, at, 8) },
            // SAFETY: as above.
            false => unsafe { self.kv.kvfree_rcu_mightsleep(self.later, at).is_ok() },
        }
    }

    fn poll(&mut self) -> u64 {
        self.kv.kvfree_rcu_poll(self.later)
    }
}

/// The two cases of Linux's vmalloc test module, on each CPU.
fn kvfree_rcu(two_arguments: bool) {
    world(|m, slabs| {
        let later = KvLater::new(slabs.readers);
        let rounds = if cfg!(miri) { 3 } else { 400 };
        for cpu in 0..2 {
            on(m, slabs, cpu, |kv, space| {
                let ground = &mut Later { kv, space, later: &later, range: m.vmalloc.range() };
                let waiting = cases::kvfree_rcu(ground, rounds, two_arguments).unwrap();
                assert_eq!((kv.kvfree_rcu_poll(&later), m.vmalloc.nr_pages()), (waiting, 0));
            });
        }
    });
}

#[test]
fn kvfree_rcu_1_arg() {
    kvfree_rcu(false);
}

#[test]
fn kvfree_rcu_2_arg() {
    kvfree_rcu(true);
}
