//! Random bytes as tables: the MMU gives a translation or a fault, and always comes to an end.

use super::super::arm64::tcr;
use super::*;
use pagewright_addr::VirtRange;
use pagewright_pagetable::{FlushScope, TlbFlush};
use proptest::prelude::*;

/// Registers of every kind with random contents.
fn registers() -> impl Strategy<Value = Registers> {
    let x86 = (any::<[u64; 6]>(), any::<u32>(), any::<bool>(), 32..53u32).prop_map(
        |([cr0, cr3, cr4, efer, pat, mask], pkru, ac, phys_bits)| {
            Registers::X86(X86Registers {
                cr0: cr0 | 1 << 31,
                cr3: cr3 & 0xff_ffff,
                cr4,
                efer,
                pat,
                pkru,
                ac,
                phys_bits,
                gigabyte_pages: cr0 & 1 != 0,
                pse36: cr0 & 2 != 0,
                encryption_mask: if mask & 1 != 0 { 1 << 47 } else { 0 },
                ..X86Registers::long(0, false)
            })
        },
    );
    let arm64 = (any::<[u64; 4]>(), any::<bool>(), 32..53u32).prop_map(
        |([tcr, ttbr0, ttbr1, mair], pan, phys_bits)| {
            let tcr = if mair & 1 != 0 { tcr & !0x3f_003f | tcr::sizes(48) } else { tcr };
            let registers = Arm64Registers::new(ttbr0 & 0xff_ffff, ttbr1 & 0xff_ffff, tcr, mair);
            Registers::Arm64(Arm64Registers { pan, phys_bits, large_va: phys_bits > 48, ..registers })
        },
    );
    let arm = any::<[u32; 8]>().prop_map(|[sctlr, ttbcr, ttbr0, ttbr1, dacr, prrr, nmrr, id]| {
        Registers::Arm(ArmRegisters {
            sctlr: sctlr | 1,
            ttbcr,
            ttbr0: u64::from(ttbr0 & 0xff_ffff),
            ttbr1: u64::from(ttbr1 & 0xff_ffff),
            dacr,
            prrr_mair0: prrr,
            nmrr_mair1: nmrr,
            contextidr: id,
            pan: sctlr & 2 != 0,
            pxn: sctlr & 4 != 0,
        })
    });
    prop_oneof![x86, arm64, arm]
}

/// Fills memory so that many entries are present and lead to memory: addresses of 16 MiB, low bits at random.
fn fill(memory: &PhysMemory, seed: u64) {
    let mut state = seed | 1;
    for at in (0..if cfg!(miri) { 0x1000 } else { 0x4_0000u64 }).step_by(8) {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let sparse = if state >> 62 == 0 { u64::MAX } else { 0xff_ffff | 1 << 63 | 7 << 52 };
        put64(memory, at, (state ^ (state >> 29)) & sparse);
        // The rest of the 16 MiB is reached by copies.
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 3 } else { 400 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn any_bytes_are_a_translation_or_a_fault(
        registers in registers(),
        seed in any::<u64>(),
        narrow in any::<bool>(),
        checked in any::<bool>(),
        addresses in proptest::collection::vec(any::<u64>(), 1..24),
    ) {
        let memory = memory(if narrow { EntryWidth::Bits32 } else { EntryWidth::Bits64 });
        fill(&memory, seed);
        let strictness = if checked { Strictness::STRICT } else { Strictness::HARDWARE };
        let Ok(mmu) = Mmu::new(&memory, 1, registers, strictness) else { return Ok(()) };
        for (i, address) in addresses.iter().enumerate() {
            // All bits, 32 of them, or a canonical address.
            let at = match i % 3 {
                0 => *address,
                1 => address & 0xffff_ffff,
                _ => ((address << 16) as i64 >> 16) as u64,
            };
            for access in Access::ALL {
                let done = mmu.access(0, va(at), access);
                if let Err(error) = &done {
                    // Tables that share memory with themselves may change under their own walk.
                    prop_assert!(!error.to_string().is_empty());
                }
            }
            let scope = FlushScope {
                range: VirtRange::from_len(va(at & !0xfff), address.rotate_left(9) >> 40),
                stride_bytes: 4096,
                level: None,
                tables_freed: address & 1 != 0,
                asid: (address & 2 != 0).then_some(*address as u16),
            };
            mmu.all_cpus().flush(&scope);
            let _ = mmu.violations();
        }
    }
}
