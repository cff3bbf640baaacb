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
                cr0: cr0 | (1 << 31),
                cr3: cr3 & 0xf_ffff,
                cr4,
                efer: efer | if mask & 2 != 0 { 1 << 11 } else { 0 },
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
            // Mostly something that translates: 4 KiB granules, 48 bits.
            let sane = tcr::sizes(48) | tcr::TG1_4K | tcr::ips(48) | (tcr & (tcr::HA | tcr::HD));
            let tcr = if mair & 3 != 0 { sane } else { tcr };
            let registers = Arm64Registers::new(ttbr0 & 0xf_ffff, ttbr1 & 0xf_ffff, tcr, mair);
            Registers::Arm64(Arm64Registers { pan, phys_bits, large_va: phys_bits > 48, ..registers })
        },
    );
    let arm = any::<[u32; 8]>().prop_map(|[sctlr, ttbcr, ttbr0, ttbr1, dacr, prrr, nmrr, id]| {
        Registers::Arm(ArmRegisters {
            sctlr: sctlr | 1,
            ttbcr,
            ttbr0: u64::from(ttbr0 & 0xf_ffff),
            ttbr1: u64::from(ttbr1 & 0xf_ffff),
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

/// Fills the lowest megabyte so that most entries are valid and most of their addresses are in it.
fn fill(memory: &PhysMemory, seed: u64) {
    let mut state = seed | 1;
    for at in (0..if cfg!(miri) { 0x1000 } else { 0x10_0000u64 }).step_by(8) {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let word = state ^ (state >> 29);
        // Kept of both halves, for entries of 32 bits: the address' low 20 bits and bit 31. Some keep all.
        let kept = if state >> 60 == 0 { u64::MAX } else { 0x800f_ffff_000f_ffff };
        let long = if state & 1 != 0 { 0xffff_ffff } else { u64::MAX };
        let valid = if state >> 58 & 3 == 0 { 0 } else { 0x0000_0403_0000_0403 };
        put64(memory, at, ((word & kept) | valid) & long);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 400 },
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
            // All bits, or as many as the machine has.
            let at = match (i % 3, registers.arch()) {
                (0, _) => *address,
                (_, Arch::ArmShort | Arch::ArmLong) => address & 0xffff_ffff,
                (1, Arch::X86) => address & 0x7fff_ffff,
                _ => ((address << 16) as i64 >> 16) as u64,
            };
            for access in Access::ALL {
                let done = mmu.access(0, va(at), access);
                if let Err(error) = &done {
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
