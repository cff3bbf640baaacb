//! The debug mode: what the MMU lets through and KASAN would not, by name; and nothing that is right.

use super::*;
use pagewright_kspace::vmalloc::{BadAccess, VmFlags};
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_sim::random::Random;
use pagewright_sim::vmalloc::{CheckedError, kernel_data, with_vmalloc};

#[test]
fn what_lands_in_mapped_pages_and_is_nobody_s_is_caught() {
    let machine = VmallocMachine { config: lowest_first, ..machine(FormatKind::X86Level4, 16, 2) };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            let cpu = m.checked(0);
            let at = m.vmalloc.vmalloc(on, 5000).unwrap();
            let byte = |n: u64| va(at.get() + n);
            cpu.store(byte(4990), &[7; 10]).unwrap();
            // The rest of the last page is mapped.
            assert_eq!(m.mmu.store(0, byte(5000), false, &[7]), Ok(()));
            let beyond = cpu.store(byte(4990), &[9; 11]);
            let Err(CheckedError::Bad(BadAccess::OutOfBounds { at: first, .. })) = beyond else {
                panic!("{beyond:?}")
            };
            assert_eq!(first, byte(5000));
            let mut kept = [0; 10];
            cpu.load(byte(4990), &mut kept).unwrap();
            assert_eq!(kept, [7; 10], "nothing of a bad store is done");
            // From one area into the next: both are somebody's.
            let next = m.vmalloc.vmalloc(on, PAGE).unwrap();
            let far = cpu.load(byte(0), &mut vec![0; (next.get() - at.get()) as usize + 1]);
            assert!(matches!(far, Err(CheckedError::Bad(BadAccess::OutOfBounds { .. }))), "{far:?}");
            m.vmalloc.vfree(on, at).unwrap();
            let freed = cpu.load(byte(0), &mut [0]);
            assert!(matches!(freed, Err(CheckedError::Bad(BadAccess::Freed { .. }))), "{freed:?}");
            m.vmalloc.vfree(on, next).unwrap();
            // Outside of the region the MMU alone decides.
            let elsewhere = cpu.load(va(PAGE), &mut [0]);
            assert!(matches!(elsewhere, Err(CheckedError::Mmu(_))), "{elsewhere:?}");
        });
    });
}

/// A stale translation is in the TLB until the flush: the page may be anybody's by then.
#[test]
fn a_use_after_free_is_caught_although_a_tlb_still_leads_there() {
    let lax = |machine| VmallocMachine { strictness: Strictness::HARDWARE, ..machine };
    with_vmalloc(&lax(machine(FormatKind::ArmShort, 16, 2)), ArmShort::default(), |m| {
        m.on_cpu(0, |on| {
            let at = m.vmalloc.vmalloc(on, PAGE).unwrap();
            m.checked(1).store(at, &[1, 2, 3]).unwrap();
            m.vmalloc.vfree(on, at).unwrap();
            assert_eq!(m.mmu.load(1, at, false, &mut [0; 3]), Ok(()), "CPU 1 has not been told");
            let freed = m.checked(1).load(at, &mut [0; 3]);
            assert!(matches!(freed, Err(CheckedError::Bad(BadAccess::Freed { .. }))), "{freed:?}");
        });
    });
}

#[test]
fn pieces_of_vm_map_ram_are_known_one_by_one() {
    let machine = VmallocMachine { config: lowest_first, ..machine(FormatKind::X86Level4, 16, 1) };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            let own = m.vmalloc.vmalloc(on, 4 * PAGE).unwrap();
            let pages: Vec<_> =
                (0..4).map(|n| m.vmalloc.vmalloc_to_pfn(va(own.get() + n * PAGE)).unwrap()).collect();
            let (first, second) =
                (m.vmalloc.vm_map_ram(on, &pages[..2]).unwrap(), m.vmalloc.vm_map_ram(on, &pages).unwrap());
            let cpu = m.checked(0);
            cpu.store(first, &[1; 8]).unwrap();
            let whole = &mut vec![0; 4 * PAGE as usize];
            cpu.load(second, whole).unwrap();
            assert_eq!(whole[..9], [1, 1, 1, 1, 1, 1, 1, 1, 0], "the same pages");
            m.vmalloc.vm_unmap_ram(on, first, 2).unwrap();
            let bad = |at: u64, bytes: usize| match cpu.load(va(at), &mut vec![0; bytes]) {
                Err(CheckedError::Bad(BadAccess::NoPiece { at })) => at.get(),
                other => panic!("{other:?}"),
            };
            // Given back; never given; and from one that is somebody's into one that is nobody's.
            assert_eq!(bad(first.get() + 100, 1), first.get() + 100);
            let behind = second.get() + 4 * PAGE;
            assert_eq!(bad(behind + 8, 8), behind + 8);
            assert_eq!(bad(behind - 8, 16), behind);
            m.vmalloc.vm_unmap_ram(on, second, 4).unwrap();
            m.vmalloc.vfree(on, own).unwrap();
        });
    });
}

/// Areas of all kinds, written and read to the byte: the debug mode has nothing to say, and sees each byte too many.
#[test]
fn right_accesses_are_never_refused_and_one_byte_more_always_is() {
    let rounds = if cfg!(miri) { 20 } else { 2000 };
    with_vmalloc(&machine(FormatKind::X86Level4, 32, 2), X86Level4::default(), |m| {
        let (mut random, mut held) = (Random::new(0x5eed), Vec::new());
        let attr = kernel_data(&X86Level4::default());
        for round in 0..rounds {
            let number = random.below(2) as usize;
            let (cpu, other) = (m.checked(number), m.checked(1 - number));
            m.on_cpu(number, |on| {
                if held.len() > 20 {
                    let (at, bytes, stamp, alias): (VirtAddr, u64, u8, Option<VirtAddr>) =
                        held.swap_remove(random.below(20) as usize);
                    let mut last = [0];
                    other.load(va(at.get() + bytes - 1), &mut last).unwrap();
                    assert_eq!(last, [stamp]);
                    if let Some(alias) = alias {
                        cpu.load(alias, &mut last).unwrap();
                        m.vmalloc.vunmap(on, alias).unwrap();
                        assert!(cpu.load(alias, &mut last).is_err());
                    }
                    m.vmalloc.vfree(on, at).unwrap();
                    assert!(matches!(cpu.load(at, &mut last), Err(CheckedError::Bad(_))));
                }
                let bytes = 1 + random.below(6 * PAGE);
                let at = m.vmalloc.vmalloc(on, bytes).unwrap();
                let stamp = round as u8;
                cpu.store(at, &vec![stamp; bytes as usize]).unwrap();
                assert!(matches!(cpu.store(at, &vec![0; bytes as usize + 1]), Err(CheckedError::Bad(_))));
                let page = m.vmalloc.vmalloc_to_pfn(at).unwrap();
                let alias =
                    (round % 3 == 0).then(|| m.vmalloc.vmap(on, &[page], VmFlags::empty(), attr).unwrap());
                held.push((at, bytes, stamp, alias));
            });
        }
        m.on_cpu(0, |on| {
            for (at, _, _, alias) in held {
                alias.into_iter().for_each(|alias| m.vmalloc.vunmap(on, alias).unwrap());
                m.vmalloc.vfree(on, at).unwrap();
            }
        });
    });
}
