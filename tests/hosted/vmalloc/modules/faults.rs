//! What cannot be loaded: each reason by its name, nothing left behind, and no file that makes the loader panic.

use super::*;
use pagewright_pagetable::format::arm64::Arm64Page4kVa48;
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_sim::modules::FlatKernel;
use pagewright_sim::random::Random;

type Change = fn(&mut Elf);

/// Loads a changed module into the machine, whose pages are all back afterwards; what the loader said.
fn refused(change: Change, helper: Option<u64>) -> String {
    let mut said = String::new();
    with_vmalloc(&machine(FormatKind::Arm64Page4kVa48, 16, 2), Arm64Page4kVa48::default(), |m| {
        let before = buddyinfo_with_borders(m);
        let mut elf = sample(ModuleArch::Arm64);
        change(&mut elf);
        let helper = helper.unwrap_or(m.vmalloc.range().start.get() + NEAR);
        m.on_cpu(0, |on| {
            load(m, on, &elf.build(), helper, |loaded, _| said = loaded.unwrap_err().to_string());
        });
        expect_all_back(m, &before);
    });
    said
}

#[test]
fn each_reason_has_its_name() {
    let cases: [(Change, &str); 11] = [
        (
            |elf| elf.relocate(5, 0, 1, 311, 0),
            "relocation of kind 311 at 0x0 of section 5: through a global offset table, which modules do not have: compile with -fno-pie",
        ),
        (
            |elf| {
                let other = elf.symbol("other", UNDEFINED, 0);
                elf.relocate(4, 0, other, 257, 0);
            },
            "Unknown symbol other",
        ),
        (
            |elf| {
                let common = elf.symbol("shared", COMMON, 8);
                elf.relocate(5, 0, common, 257, 0);
            },
            "shared is common: compile with -fno-common",
        ),
        (
            |elf| elf.relocate(5, 0, 1, 999, 0),
            "relocation of kind 999 at 0x0 of section 5: not a kind that is known",
        ),
        (
            |elf| elf.relocate(5, 25, 1, 257, 0),
            "relocation of kind 257 at 0x19 of section 5: outside of its section",
        ),
        (
            |elf| elf.relocate(7, 0, 1, 257, 0),
            "relocation of kind 257 at 0x0 of section 7: outside of its section",
        ),
        (
            |elf| elf.relocate(5, 0, 99, 257, 0),
            "relocation of kind 257 at 0x0 of section 5: against a symbol that is not loaded",
        ),
        (
            |elf| {
                let note = elf.symbol("note", 2, 0);
                elf.relocate(5, 0, note, 257, 0);
            },
            "relocation of kind 257 at 0x0 of section 5: against a symbol that is not loaded",
        ),
        (
            |elf| {
                elf.section(".data..percpu", ALLOC | WRITE, 8, &[0; 24]);
            },
            "no room for 24 bytes of per-CPU variables",
        ),
        (
            |elf| {
                elf.zeroes(".huge", ALLOC | WRITE, 8, 1 << 40);
            },
            "section 10: it is larger than a module may be",
        ),
        (
            |elf| {
                elf.section(".both", ALLOC | WRITE | EXEC, 8, &[0; 8]);
            },
            "section 10: it is writable and executable",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(refused(change, None), expected);
    }
    let unreadable = refused(
        |elf| {
            let nameless = elf.symbol("\u{0}", UNDEFINED, 0);
            elf.relocate(5, 0, nameless, 257, 0);
        },
        None,
    );
    assert!(unreadable.ends_with("against a symbol that is not loaded"), "{unreadable}");
    let large = refused(
        |elf| {
            elf.zeroes(".large", ALLOC | WRITE, 8, 64 << 20);
        },
        None,
    );
    assert!(large.contains("bytes for its core part"), "{large}");
}

#[test]
fn what_is_no_module_is_refused() {
    let good = sample(ModuleArch::Arm64).build();
    let parse = |bytes: &[u8], arch| ModuleFile::parse(bytes, arch).map(|_| ()).unwrap_err().to_string();
    assert_eq!(parse(&good, ModuleArch::X86_64), "a module for machine 183; this kernel is for machine 62");
    assert_eq!(parse(b"\x7fELF", ModuleArch::Arm64), "no ELF file, or a damaged one");
    let mut executable = good.clone();
    executable[16] = 2;
    assert_eq!(parse(&executable, ModuleArch::Arm64), "an ELF file of type 2; a module is relocatable (1)");
    let mut stripped = good.clone();
    let word = |at: usize| u64::from_le_bytes(good[at..at + 8].try_into().unwrap()) as usize;
    let (headers, count) = (word(40), usize::from(u16::from_le_bytes([good[60], good[61]])));
    for kind in (0..count).map(|n| headers + n * 64 + 4).filter(|&at| good[at] == 2) {
        // The symbol table is some bytes now.
        stripped[kind] = 1;
    }
    assert_eq!(parse(&stripped, ModuleArch::Arm64), "no symbol table: the file was stripped");
    for section in [0xff00, 0xff20, 0xffff] {
        let mut elf = sample(ModuleArch::Arm64);
        elf.symbol("odd", section, 0);
        let said = parse(&elf.build(), ModuleArch::Arm64);
        assert_eq!(said, format!("symbol odd is of section {section:#x}, a number that is reserved"));
    }
    let file = ModuleFile::parse(&good, ModuleArch::Arm64).unwrap();
    let mut places = vec![Place::Nowhere; 3];
    let few = ModuleLayout::new(&file, PAGE, &mut places).unwrap_err();
    assert!(matches!(few, ModuleError::Sections { places: 3, .. }), "{few}");
    assert_eq!(file.modinfo().collect::<Vec<_>>(), [("license", "MIT"), ("name", "first"), ("depends", "")]);
    assert_eq!(file.undefined().collect::<Vec<_>>(), ["helper"]);
}

#[test]
fn the_layout_of_another_file_is_refused() {
    let file = |bytes: &[u8]| {
        let mut elf = Elf::new(ModuleArch::X86_64);
        elf.section(".text", ALLOC | EXEC, 16, &[0; 64]);
        elf.section(".data", ALLOC | WRITE, 8, bytes);
        elf.build()
    };
    let (small, large) = (file(&[1; 8]), file(&[1; 3 * PAGE as usize]));
    let small = ModuleFile::parse(&small, ModuleArch::X86_64).unwrap();
    let large = ModuleFile::parse(&large, ModuleArch::X86_64).unwrap();
    let mut places = vec![Place::Nowhere; small.sections()];
    let layout = ModuleLayout::new(&small, PAGE, &mut places).unwrap();
    let memory = &mut FlatKernel::new(ModuleArch::X86_64, 1 << 20);
    let why = Module::load(&large, &layout, memory).unwrap_err().to_string();
    assert_eq!((why.as_str(), memory.live), ("section 2: the layout is another file's", 0));
}

/// So many tables share their bytes that their relocations do not fit 32 bits.
#[test]
fn tables_that_share_their_relocations_are_refused_before_they_are_counted_through() {
    let mut elf = sample(ModuleArch::Arm);
    let far = elf.symbol("far", UNDEFINED, 0);
    // R_ARM_CALL.
    (0..1000).for_each(|_| elf.relocate(4, 0, far, 28, 0));
    let mut bytes = elf.build();
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (headers, count) = (word(&bytes, 32) as usize, u16::from_le_bytes([bytes[48], bytes[49]]));
    // SHT_REL, for section 4; the table of headers is the last of the file.
    let mut all = bytes[headers..].chunks(40);
    let table = all.find(|header| word(header, 4) == 9 && word(header, 28) == 4).unwrap().to_vec();
    let more = 60_000 - count;
    (0..more).for_each(|_| bytes.extend(&table));
    bytes[48..50].copy_from_slice(&60_000_u16.to_le_bytes());
    let file = ModuleFile::parse(&bytes, ModuleArch::Arm).unwrap();
    let mut places = vec![Place::Nowhere; file.sections()];
    let why = ModuleLayout::new(&file, PAGE, &mut places).unwrap_err().to_string();
    assert!(why.ends_with("its relocations are another's"), "{why}");
}

/// A branch that is too far goes by a veneer, one for each target in each part; x86_64 has none.
#[test]
fn far_functions_are_reached_by_veneers() {
    with_vmalloc(&machine(FormatKind::Arm64Page4kVa48, 16, 2), Arm64Page4kVa48::default(), |m| {
        let before = buddyinfo_with_borders(m);
        let far = m.vmalloc.range().start.get() + (1 << 30);
        m.on_cpu(0, |on| {
            load(m, on, &sample(ModuleArch::Arm64).build(), far, |loaded, host| {
                let module = loaded.unwrap();
                assert_eq!(module.veneers, [1, 1], "both branches of the core share one");
                let text = module.group(Part::Core, Group::Text).unwrap();
                let mut bytes = [0; 4];
                host.code.read(text.start, &mut bytes);
                let veneer = target(ModuleArch::Arm64, text.start.get(), bytes);
                assert!(text.contains(va(veneer)));
                let mut code = [0; 16];
                host.code.read(va(veneer), &mut code);
                assert_eq!(code[..8], [0x50, 0, 0, 0x58, 0, 2, 0x1f, 0xd6], "ldr x16, .+8; br x16");
                assert_eq!(code[8..], far.to_le_bytes());
                module.unload(host);
            });
        });
        expect_all_back(m, &before);
    });
    with_vmalloc(&machine(FormatKind::X86Level4, 16, 2), X86Level4::default(), |m| {
        let far = m.vmalloc.range().start.get() + (1 << 32);
        m.on_cpu(0, |on| {
            load(m, on, &sample(ModuleArch::X86_64).build(), far, |loaded, _| {
                let why = loaded.unwrap_err();
                let ModuleError::Relocation { problem: RelocationProblem::Range { value }, .. } = why else {
                    panic!("{why}");
                };
                assert!(value > i64::from(i32::MAX), "{why}");
            });
        });
    });
}

#[test]
fn whichever_allocation_fails_nothing_is_left() {
    with_vmalloc(&machine(FormatKind::X86Level4, 16, 2), X86Level4::default(), |m| {
        let before = buddyinfo_with_borders(m);
        let bytes = sample(ModuleArch::X86_64).build();
        let helper = m.vmalloc.range().start.get() + NEAR;
        let mut failures = 0;
        for nth in 1.. {
            m.pages.allocator.fail_nth(nth);
            let mut done = false;
            m.on_cpu(0, |on| {
                load(m, on, &bytes, helper, |loaded, host| match loaded {
                    Ok(module) => {
                        done = true;
                        module.unload(host);
                    }
                    Err(why) => {
                        assert!(matches!(why, ModuleError::Area { .. }), "{why}");
                        failures += 1;
                    }
                });
            });
            m.pages.allocator.fail_nth(0);
            expect_all_back(m, &before);
            if done && failures > 2 {
                break;
            }
            assert!(nth < 100, "{failures} failures");
        }
    });
}

/// Files with some bytes changed are loaded or refused, and leave nothing.
#[test]
fn no_damage_makes_the_loader_panic() {
    let rounds = if cfg!(miri) { 20 } else { 3000 };
    with_vmalloc(&machine(FormatKind::Arm64Page4kVa48, 16, 2), Arm64Page4kVa48::default(), |m| {
        let before = buddyinfo_with_borders(m);
        let good = sample(ModuleArch::Arm64).build();
        let helper = m.vmalloc.range().start.get() + NEAR;
        let mut random = Random::new(0x0e1f);
        let (mut loaded_ones, mut refused) = (0, 0);
        for _ in 0..rounds {
            let mut bytes = good.clone();
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.below(256) as u8;
            }
            bytes.truncate(bytes.len() - if random.below(8) == 0 { random.below(200) as usize } else { 0 });
            m.on_cpu(0, |on| {
                load(m, on, &bytes, helper, |loaded, host| match loaded {
                    Ok(mut module) => {
                        loaded_ones += 1;
                        module.finish_init(host).unwrap();
                        module.unload(host);
                    }
                    Err(_) => refused += 1,
                });
            });
        }
        assert!(loaded_ones > rounds / 8 && refused > rounds / 20, "{loaded_ones} and {refused}");
        expect_all_back(m, &before);
    });
}
