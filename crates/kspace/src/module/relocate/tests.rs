//! Words as assemblers and linkers make them.

use super::super::error::RelocationProblem::{NotZero, Range, Unaligned, Unknown};
use super::ModuleArch::{Arm, Arm64, I386, X86_64};
use super::*;

fn patched(arch: ModuleArch, kind: u32, word: u64, place: u64, symbol: u64, addend: i64) -> Patched {
    let addend = arch.has_addends().then_some(addend);
    arch.patch(kind, word, &Values { place, symbol, addend })
}

#[test]
fn x86_64_reaches_2_gib_and_sign_extends() {
    let at = 0xffff_ffff_a000_1000;
    let p = |kind, symbol, addend| patched(X86_64, kind, 0, at, symbol, addend);
    assert_eq!(p(4, at + 0x104, -4).map(|w| w as u32), Ok(0x100));
    assert_eq!(p(2, at - 0x100, -4).map(|w| w as u32), Ok(0xffff_fefc));
    assert_eq!(p(1, 0xffff_ffff_8100_0000, 8), Ok(0xffff_ffff_8100_0008));
    assert_eq!(p(11, 0xffff_ffff_8100_0000, 0).map(|w| w as u32), Ok(0x8100_0000));
    assert_eq!(p(24, at + 16, 0), Ok(16));
    assert_eq!(p(11, 0x8100_0000, 0), Err(Range { value: 0x8100_0000 }), "no sign to extend");
    assert_eq!(p(10, 0xffff_ffff_8100_0000, 0), Err(Range { value: -0x7f00_0000 }));
    assert_eq!(p(2, at - (1 << 31) - 1, 0), Err(Range { value: -(1 << 31) - 1 }));
    assert_eq!(p(3, 0, 0), Err(Unknown));
    assert_eq!(patched(X86_64, 1, 7, at, 0, 0), Err(NotZero { word: 7 }), "what is there would be lost");
    assert_eq!(
        (X86_64.width(3), X86_64.width(0), X86_64.width(1), X86_64.width(2)),
        (None, Some(0), Some(8), Some(4))
    );
}

#[test]
fn i386_adds_what_the_place_has_and_wraps() {
    let p = |kind, word, place, symbol| patched(I386, kind, word, place, symbol, 0);
    // A call's distance is reckoned from the end of its four bytes, which the place says.
    for call in [2, 4] {
        assert_eq!(p(call, 0xffff_fffc, 0xf800_1001, 0xc100_0000), Ok(0xc8ff_effb));
        assert_eq!(p(call, 0xffff_fffc, 0xffff_f000, 0x1000), Ok(0x1ffc));
    }
    assert_eq!(p(1, 0xffff_fff8, 0, 0xc100_0000), Ok(0xc0ff_fff8));
    assert_eq!(p(1, 0x10, 0, 0xffff_fff8), Ok(8), "addresses wrap");
    for kind in [3, 8, 9, 10, 20, 22] {
        assert_eq!((I386.width(kind), p(kind, 0, 0, 0)), (None, Err(Unknown)), "{kind}");
    }
    assert_eq!(
        (I386.width(0), I386.width(1), I386.veneer(), I386.is_branch(4)),
        (Some(0), Some(4), 0, false)
    );
}

#[test]
fn arm64_instructions_take_their_fields() {
    let symbol = 0x1234_5678;
    let p = |kind, word, place, symbol| patched(Arm64, kind, word, place, symbol, 0);
    // bl and b, forwards and back, to their ends.
    assert_eq!(p(283, 0x9400_0000, 0x1000, 0x2000), Ok(0x9400_0400));
    assert_eq!(p(282, 0x1400_0000, 0x2000, 0x1000), Ok(0x17ff_fc00));
    assert_eq!(p(283, 0x9400_0000, 0x1000, 0x1000 + (128 << 20) - 4), Ok(0x95ff_ffff));
    assert_eq!(p(283, 0x9400_0000, 0x1000, 0x1000 + (128 << 20)), Err(Range { value: 128 << 20 }));
    assert_eq!(p(283, 0x9400_0000, 0x1000, 0x2002), Err(Unaligned { value: 0x1002 }));
    // b.eq and tbz.
    assert_eq!(p(280, 0x5400_0000, 0x1000, 0xff0), Ok(0x54ff_ff80));
    assert_eq!(p(279, 0x3600_0000, 0x1000, 0x1008), Ok(0x3600_0040));
    assert_eq!(p(279, 0x3600_0000, 0x1000, 0x1000 + (1 << 15)), Err(Range { value: 1 << 15 }));
    // adrp, add, ldrb, ldr.
    assert_eq!(p(275, 0x9000_0000, 0x1000, symbol), Ok(0x9009_1a20));
    assert_eq!(p(275, 0x9000_0000, 0x1000, 0x1000 + (1 << 33)), Err(Range { value: 1 << 21 }));
    assert_eq!(p(276, 0x9000_0000, 0x1000, 0x1000 + (1 << 33)), Ok(0x9000_0000), "unchecked");
    assert_eq!(p(274, 0x1000_0000, 0x1000, 0x0fff), Ok(0x70ff_ffe0));
    assert_eq!(p(277, 0x9100_0000, 0, symbol), Ok(0x9119_e000));
    assert_eq!(p(278, 0x3940_0000, 0, symbol), Ok(0x3959_e000));
    assert_eq!(p(286, 0xf940_0000, 0, symbol), Ok(0xf943_3c00));
    assert_eq!(p(286, 0xf940_0000, 0, symbol + 4), Err(Unaligned { value: symbol as i64 + 4 }));
    assert_eq!(p(299, 0x3dc0_0000, 0, 0x20), Ok(0x3dc0_0800));
    // movz, movk, and movn where the value is negative.
    assert_eq!(p(269, 0xd2e0_0000, 0, 0xffff_8000_1234_5678), Ok(0xd2ff_ffe0));
    assert_eq!(p(266, 0xf2a0_0000, 0, 0xffff_8000_1234_5678), Ok(0xf2a2_4680));
    assert_eq!(p(265, 0xd2a0_0000, 0, 1 << 32), Err(Range { value: 1 << 32 }));
    assert_eq!(p(270, 0xd280_0000, 0, (-2_i64) as u64), Ok(0x9280_0020));
    assert_eq!(p(270, 0x9280_0000, 0, 3), Ok(0xd280_0060));
    // Data.
    assert_eq!(p(257, 0, 0, u64::MAX), Ok(u64::MAX));
    assert_eq!(p(261, 0, 0x1000, 0x800).map(|w| w as u32), Ok(0xffff_f800));
    assert_eq!(p(261, 0, 0x1000, 0x1000 + (1 << 31)), Err(Range { value: 1 << 31 }), "no sign to extend");
    assert_eq!(
        (p(258, 0, 0, 0xffff_fff0), p(258, 0, 0, u64::MAX)),
        (Ok(0xffff_fff0), Err(Range { value: -1 }))
    );
    assert_eq!(p(259, 0, 0, 0x1_0000), Err(Range { value: 0x1_0000 }));
    assert_eq!(p(281, 0, 0, 0), Err(Unknown));
}

#[test]
fn arm_adds_what_the_place_has() {
    let p = |kind, word, place, symbol| patched(Arm, kind, word, place, symbol, 0);
    // bl's distance is reckoned from 8 bytes behind it, which the place says.
    assert_eq!(p(28, 0xebff_fffe, 0x8000, 0x9000), Ok(0xeb00_03fe));
    assert_eq!(p(29, 0xeaff_fffe, 0x9000, 0x8000), Ok(0xeaff_fbfe));
    assert_eq!(p(28, 0xebff_fffe, 0x8000, 0x8000 + (32 << 20) + 8), Err(Range { value: 32 << 20 }));
    assert_eq!(p(28, 0xebff_fffe, 0x8000, 0x9001), Err(Unaligned { value: 0xff9 }));
    // Addresses wrap.
    assert_eq!(p(28, 0xebff_fffe, 0xffff_f000, 0x1000), Ok(0xeb00_07fe));
    assert_eq!(p(2, 0xffff_fffc, 0, 0xc000_0000), Ok(0xbfff_fffc));
    assert_eq!(p(3, 4, 0xc000_0000, 0xbfff_0000), Ok(0xffff_0004));
    assert_eq!(p(42, 0x8000_0000, 0x8000, 0x9000), Ok(0x8000_1000));
    assert_eq!(p(42, 0x7fff_fffc, 0x9000, 0x8000), Ok(0x7fff_effc));
    // movw and movt.
    assert_eq!(p(43, 0xe300_0000, 0, 0x1234_5678), Ok(0xe305_0678));
    assert_eq!(p(44, 0xe340_0000, 0, 0x1234_5678), Ok(0xe341_0234));
    assert_eq!(p(45, 0xe300_0000, 0x1000, 0x3000), Ok(0xe302_0000));
    assert_eq!(p(10, 0, 0, 0), Err(Unknown), "Thumb");
    assert_eq!((Arm.width(40), Arm.width(28), Arm.width(10)), (Some(0), Some(4), None));
}

#[test]
fn veneers_lead_where_the_branch_did() {
    let far = Values { place: 0x8000, symbol: 0x9000_0000, addend: None };
    assert_eq!(Arm.branch_target(0xebff_fffe, &far), (0x9000_0000, -8));
    assert_eq!(Arm.branch_target(0xeb00_0000, &far), (0x9000_0008, -8), "two instructions on");
    assert_eq!(Arm.veneer_to(0x9000_0000)[..8], [0x04, 0xf0, 0x1f, 0xe5, 0, 0, 0, 0x90]);
    let far = Values { place: 0x8000, symbol: 1 << 40, addend: Some(12) };
    assert_eq!(Arm64.branch_target(0x9400_0000, &far), ((1 << 40) + 12, 0));
}
