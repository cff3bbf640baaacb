//! `vm_map_ram`, and all CPUs at once.

use super::rows::{held, pair};
use super::*;
use pagewright_addr::Pfn;
use pagewright_kspace::vmalloc::{Seen, VfreeError};
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_pagetable::format::arm64::Arm64Page4kVa48;
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_sim::mmu::{Access, AccessError};
use pagewright_sim::random::Random;
use pagewright_sim::vmalloc::with_vmalloc;
use pagewright_zone::Gfp;
use std::ops::ControlFlow;

/// Pages of somebody's.
fn some_pages<F: Format>(m: &HostedVmalloc<'_, '_, '_, '_, '_, '_, F>, cpu: usize, count: usize) -> Vec<Pfn> {
    m.pages.on_cpu(cpu, |cx| {
        (0..count)
            .map(|_| m.pages.allocator.get_free_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap())
            .collect()
    })
}

fn free_pages<F: Format>(m: &HostedVmalloc<'_, '_, '_, '_, '_, '_, F>, cpu: usize, pages: Vec<Pfn>) {
    m.pages.on_cpu(cpu, |cx| {
        pages.into_iter().for_each(|pfn| m.pages.allocator.free_pages_at(cx, pfn, Order::ZERO).unwrap());
    });
}

fn ram_areas<F: Format>(m: &HostedVmalloc<'_, '_, '_, '_, '_, '_, F>) -> Vec<VirtRange> {
    let mut found = Vec::new();
    m.vmalloc.areas(&mut |seen| {
        if let Seen::Ram(range) = seen {
            found.push(range);
        }
        ControlFlow::Continue(())
    });
    found
}

#[test]
fn pieces_come_from_the_cpus_own_block() {
    with_vmalloc(&machine(FormatKind::X86Level4, 16, 2), X86Level4::default(), |m| {
        let before = buddyinfo(m.pages);
        let pages = some_pages(m, 0, 70);
        let block = m.vmalloc.vmap_block_pages() * PAGE;
        assert_eq!(block, 4 * MIB);
        let at = |cpu, count: usize| m.on_cpu(cpu, |on| m.vmalloc.vm_map_ram(on, &pages[..count]).unwrap());
        let mine = [at(0, 1), at(0, 3), at(0, 2), at(0, 64)];
        let start = m.vmalloc.range().start.get();
        assert_eq!(mine.map(|at| (at.get() - start) / PAGE), [0, 1, 5, 7]);
        let other = at(1, 1);
        assert_eq!(other.get() - start, block, "a block of its own, at a multiple of its size");
        let large = at(1, 65);
        assert_eq!(large.get() - start, 2 * block);
        assert_eq!(ram_areas(m).len(), 3);
        m.mmu.store(1, va(mine[1].get() + 2 * PAGE), false, b"third").unwrap();
        let mut seen = [0; 5];
        m.mmu.load(0, va(large.get() + 2 * PAGE), false, &mut seen).unwrap();
        assert_eq!(&seen, b"third", "the same page");
        m.on_cpu(1, |on| {
            let unmap = |on: &mut _, at, count| m.vmalloc.vm_unmap_ram(on, at, count);
            assert_eq!(unmap(on, mine[1], 3), Ok(()));
            assert_eq!(unmap(on, mine[1], 3), Err(VfreeError::Nonexistent(mine[1])), "twice");
            assert_eq!(unmap(on, large, 64), Err(VfreeError::Nonexistent(large)), "not as it was mapped");
            assert_eq!(m.vmalloc.vfree(on, large), Err(VfreeError::Nonexistent(large)));
            assert_eq!(m.vmalloc.vfree(on, mine[0]), Err(VfreeError::Nonexistent(mine[0])));
            let never = va(start + 500 * PAGE);
            assert_eq!(unmap(on, never, 1), Err(VfreeError::Nonexistent(never)));
        });
        // Nothing of a block is given out twice.
        assert_eq!((at(0, 4).get() - start) / PAGE, 71);
        m.on_cpu(0, |on| {
            for (at, count) in [(mine[0], 1), (mine[2], 2), (mine[3], 64), (other, 1), (large, 65)] {
                m.vmalloc.vm_unmap_ram(on, at, count).unwrap();
            }
            m.vmalloc.vm_unmap_aliases(on);
            // The other CPU's block is empty, this one's has a piece in use.
            m.mmu.check().unwrap();
            assert!(m.vmalloc.give_ready_back(on), "the large mapping's addresses");
        });
        assert_eq!(ram_areas(m).len(), 1);
        m.on_cpu(0, |on| m.vmalloc.vm_unmap_ram(on, va(start + 71 * PAGE), 4).unwrap());
        free_pages(m, 0, pages);
        expect_all_back(m, &before);
    });
}

#[test]
fn a_block_that_was_given_out_whole_goes_with_its_last_piece() {
    let machine = VmallocMachine { config: |c| c.lazy_pages = 1024, ..machine(FormatKind::X86Level4, 16, 2) };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        let pages = some_pages(m, 0, 64);
        m.on_cpu(0, |on| {
            let all: Vec<_> = (0..16).map(|_| m.vmalloc.vm_map_ram(on, &pages).unwrap()).collect();
            assert_eq!(m.vmalloc.lazy_pages(), 0);
            for at in &all {
                assert_eq!(m.vmalloc.lazy_pages(), 0);
                m.mmu.access(1, *at, Access::WRITE).unwrap();
                m.vmalloc.vm_unmap_ram(on, *at, 64).unwrap();
            }
            assert_eq!(m.vmalloc.lazy_pages(), 1024);
            m.vmalloc.purge_vmap_area_lazy(on);
            for at in &all {
                assert!(matches!(m.mmu.access(1, *at, Access::READ), Err(AccessError::Fault(_))));
            }
        });
        assert!(ram_areas(m).is_empty());
    });
}

#[test]
fn who_gives_the_last_piece_of_anothers_block_back_leaves_him_what_was_flushed() {
    let config = |config: &mut VmallocConfig| (config.huge, config.lazy_pages) = (false, 2000);
    let machine = VmallocMachine { config, ..machine(FormatKind::X86Level4, 16, 2) };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        let pages = some_pages(m, 0, 64);
        // More than CPU 1's share is flushed, and it comes by for a little.
        m.on_cpu(1, |on| {
            let all: Vec<_> = (0..400).map(|_| m.vmalloc.vmalloc(on, PAGE).unwrap()).collect();
            all.into_iter().for_each(|at| m.vmalloc.vfree(on, at).unwrap());
        });
        pair(m, 0, 2000);
        pair(m, 1, 1);
        pair(m, 0, 2000);
        assert_eq!(m.vmalloc.purges(), 2);
        let block = m.vmalloc.vmap_block_pages();
        let all: Vec<_> =
            m.on_cpu(1, |on| (0..block / 64).map(|_| m.vmalloc.vm_map_ram(on, &pages).unwrap()).collect());
        let before = held(m);
        m.on_cpu(0, |on| all.iter().for_each(|at| m.vmalloc.vm_unmap_ram(on, *at, 64).unwrap()));
        assert!(m.vmalloc.lazy_pages() >= block, "all of it waits");
        assert_eq!(held(m), before, "nothing was taken back");
        m.on_cpu(0, |on| m.vmalloc.give_all_back(on));
        free_pages(m, 0, pages);
    });
}

/// Four CPUs make, write, read and free areas of all kinds. Each area's words say whose they are; the MMUs say so if an old
/// translation is used.
fn all_at_once<F: Format + Sync>(kind: FormatKind, format: F)
where
    F::Word: Send,
{
    let cpus = if cfg!(miri) { 2 } else { 4 };
    let machine = VmallocMachine { config: |c| c.lazy_pages = 64, ..machine(kind, 32, cpus) };
    let steps = if cfg!(miri) { 8 } else { 400 };
    with_vmalloc(&machine, format, |m| {
        let before = buddyinfo_with_borders(m);
        let pages: Vec<_> = (0..cpus).map(|cpu| some_pages(m, cpu, 8)).collect();
        std::thread::scope(|threads| {
            for cpu in 0..cpus {
                let pages = &pages[cpu];
                threads.spawn(move || {
                    let mut random = Random::new(77 + 2 * cpu as u64);
                    let mut held: Vec<(VirtAddr, u64, Option<u8>)> = Vec::new();
                    for step in 0..steps {
                        if held.len() < 12 && random.below(5) < 3 {
                            let count = 1 + random.below(8);
                            if random.below(4) == 0 {
                                let part = &pages[..count as usize];
                                let at = m.on_cpu(cpu, |on| m.vmalloc.vm_map_ram(on, part).unwrap());
                                m.mmu.access(cpu, at, Access::WRITE).unwrap();
                                held.push((at, count, None));
                            } else {
                                let at = m.on_cpu(cpu, |on| m.vmalloc.vmalloc(on, count * PAGE).unwrap());
                                let stamp = (step * 4 + cpu as u64) as u8;
                                m.mmu.store(cpu, at, false, &vec![stamp; (count * PAGE) as usize]).unwrap();
                                held.push((at, count, Some(stamp)));
                            }
                        } else if !held.is_empty() {
                            let n = random.below(held.len() as u64) as usize;
                            let (at, count, stamp) = held.swap_remove(n);
                            match stamp {
                                None => m.on_cpu(cpu, |on| m.vmalloc.vm_unmap_ram(on, at, count).unwrap()),
                                Some(stamp) => {
                                    let mut seen = vec![0; (count * PAGE) as usize];
                                    let other = random.below(cpus as u64) as usize;
                                    m.mmu.load(other, at, false, &mut seen).unwrap();
                                    assert!(seen.iter().all(|&byte| byte == stamp), "CPU {cpu}, step {step}");
                                    m.on_cpu(cpu, |on| m.vmalloc.vfree(on, at).unwrap());
                                }
                            }
                        }
                    }
                    m.on_cpu(cpu, |on| {
                        for (at, count, stamp) in held {
                            match stamp {
                                None => m.vmalloc.vm_unmap_ram(on, at, count).unwrap(),
                                Some(_) => m.vmalloc.vfree(on, at).unwrap(),
                            }
                        }
                    });
                });
            }
        });
        m.on_cpu(0, |on| m.vmalloc.give_all_back(on));
        pages.into_iter().enumerate().for_each(|(cpu, pages)| free_pages(m, cpu, pages));
        assert!(cfg!(miri) || m.vmalloc.purges() > 20);
        expect_all_back(m, &before);
    });
}

#[test]
fn all_cpus_map_and_unmap_at_once() {
    all_at_once(FormatKind::X86Level4, X86Level4::default());
    if !cfg!(miri) {
        all_at_once(FormatKind::ArmShort, ArmShort::default());
        all_at_once(FormatKind::Arm64Page4kVa48, Arm64Page4kVa48::default());
    }
}
