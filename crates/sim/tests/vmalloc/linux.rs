//! The cases of Linux's vmalloc test module, from their described behaviour: what each does to areas, and that all of it comes back.

use super::*;
use pagewright_kspace::vmalloc::{VmRequest, VmallocError};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_sim::random::Random;
use pagewright_sim::vmalloc::{OnHosted, with_vmalloc};
use pagewright_zone::Gfp;

type Machine<'p, 'v, 'x, 'm, 's, 'a> = HostedVmalloc<'p, 'v, 'x, 'm, 's, 'a, X86Level4>;

/// So many rounds; under Miri few.
const fn rounds(n: u64) -> u64 {
    if cfg!(miri) { 3 } else { n }
}

/// Runs a case with pools and without, and expects all memory and all addresses back.
fn case(test: impl Fn(&Machine<'_, '_, '_, '_, '_, '_>)) {
    for config in [lowest_first as fn(&mut VmallocConfig), |_| ()] {
        let machine = VmallocMachine { config, areas: 1 << 15, ..machine(FormatKind::X86Level4, 128, 2) };
        with_vmalloc(&machine, X86Level4::default(), |m| {
            let before = buddyinfo(m.pages);
            test(m);
            m.on_cpu(0, |on| m.vmalloc.give_all_back(on));
            expect_all_back(m, &before);
        });
    }
}

/// Makes an area, writes to its first and last byte, and frees it.
fn once<'x, 'm, 's, 'a, 'v>(
    m: &HostedVmalloc<'_, 'v, 'x, 'm, 's, 'a, X86Level4>,
    on: &mut OnHosted<'_, 'x, 'm, 's, 'a, 'v>,
    request: &VmRequest,
) -> Result<(), VmallocError> {
    let at = m.vmalloc.vmalloc_request(on, request)?;
    assert!(at.is_aligned(request.align));
    for byte in [at.get(), at.get() + request.size - 1] {
        m.mmu.store(0, va(byte), false, &[7]).unwrap();
    }
    m.vmalloc.vfree(on, at).unwrap();
    Ok(())
}

#[test]
fn fix_size() {
    case(|m| {
        m.on_cpu(0, |on| (0..rounds(500)).for_each(|_| once(m, on, &VmRequest::new(3 * PAGE)).unwrap()));
    });
}

#[test]
fn full_fit() {
    case(|m| {
        m.on_cpu(0, |on| {
            // Every second area goes, and what comes then fits just where they were.
            let all: Vec<_> = (0..rounds(3000)).map(|_| m.vmalloc.vmalloc(on, PAGE).unwrap()).collect();
            let end = all.last().unwrap().get();
            for at in all.iter().step_by(2) {
                m.vmalloc.vfree(on, *at).unwrap();
            }
            m.vmalloc.purge_vmap_area_lazy(on);
            for _ in 0..rounds(300) {
                let at = m.vmalloc.vmalloc(on, PAGE).unwrap();
                assert!(at.get() < end, "in a hole");
                m.vmalloc.vfree(on, at).unwrap();
            }
            for at in all.iter().skip(1).step_by(2) {
                m.vmalloc.vfree(on, *at).unwrap();
            }
        });
    });
}

#[test]
fn long_busy_list() {
    case(|m| {
        m.on_cpu(0, |on| {
            let all: Vec<_> = (0..rounds(15_000)).map(|_| m.vmalloc.vmalloc(on, PAGE).unwrap()).collect();
            for _ in 0..rounds(200) {
                let large = m.vmalloc.vmalloc(on, 100 * PAGE).unwrap();
                once(m, on, &VmRequest::new(PAGE)).unwrap();
                m.vmalloc.vfree(on, large).unwrap();
            }
            all.into_iter().for_each(|at| m.vmalloc.vfree(on, at).unwrap());
        });
    });
}

#[test]
fn random_size() {
    case(|m| {
        let mut random = Random::new(5);
        m.on_cpu(0, |on| {
            for _ in 0..rounds(400) {
                once(m, on, &VmRequest::new((1 + random.below(99)) * PAGE)).unwrap();
            }
        });
    });
}

#[test]
fn fix_align() {
    case(|m| {
        // Twice a kernel stack's alignment.
        let request = VmRequest::new(5 * PAGE).aligned(32 << 10);
        m.on_cpu(0, |on| (0..rounds(300)).for_each(|_| once(m, on, &request).unwrap()));
    });
}

#[test]
fn random_align() {
    case(|m| {
        let mut random = Random::new(9);
        m.on_cpu(0, |on| {
            for _ in 0..rounds(300) {
                let align = 1 << random.below(23);
                let size = (PAGE * (1 + random.below(9))).max(align / 16);
                once(m, on, &VmRequest::new(size).aligned(align)).unwrap();
            }
        });
    });
}

#[test]
fn align_shift() {
    case(|m| {
        m.on_cpu(0, |on| {
            // Every alignment that there is; those that nothing in the region is aligned to fail, and change nothing.
            let served: Vec<_> = (0..64)
                .filter(|shift| {
                    let end = once(m, on, &VmRequest::new(PAGE).aligned(1 << shift));
                    let full = matches!(end, Err(VmallocError::Space { .. }));
                    assert!(end.is_ok() || full, "{end:?}");
                    end.is_ok()
                })
                .collect();
            // In the region, which begins at 0xffffc90000000000, lie multiples of up to 2^45: 0xffffe00000000000.
            assert_eq!(served, (0..=45).collect::<Vec<_>>());
        });
    });
}

#[test]
fn vm_map_ram() {
    case(|m| {
        m.on_cpu(1, |on| {
            let pages: Vec<_> = (0..80)
                .map(|_| on.allocator.get_free_pages(on.context, Gfp::GFP_KERNEL, Order::ZERO).unwrap())
                .collect();
            for n in 0..rounds(400) {
                let count = [1, 3, 64, 80][n as usize % 4];
                let at = m.vmalloc.vm_map_ram(on, &pages[..count]).unwrap();
                m.mmu.store(1, at, false, &n.to_le_bytes()).unwrap();
                m.vmalloc.vm_unmap_ram(on, at, count as u64).unwrap();
            }
            m.vmalloc.vm_unmap_aliases(on);
            for pfn in pages {
                on.allocator.free_pages_at(on.context, pfn, Order::ZERO).unwrap();
            }
        });
    });
}
