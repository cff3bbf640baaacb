//! Per-CPU variables of modules: every CPU's copy begins as the file has it, relocated.

use super::tables::{ALL, address_kind};
use super::*;
use pagewright_sim::modules::FlatKernel;
use pagewright_sim::modules::elf::EXEC;

/// The number of a relocation that makes a distance of 32 bits.
fn distance_kind(arch: ModuleArch) -> u32 {
    match arch {
        ModuleArch::X86_64 | ModuleArch::I386 => 2,
        ModuleArch::Arm64 => 261,
        ModuleArch::Arm => 3,
    }
}

fn load_into(host: &mut FlatKernel, elf: Elf) -> Result<Module, String> {
    let bytes = elf.build();
    let file = ModuleFile::parse(&bytes, machine_of(&bytes)).unwrap();
    let mut places = vec![Place::Nowhere; file.sections()];
    let layout = ModuleLayout::new(&file, PAGE, &mut places).map_err(|why| why.to_string())?;
    Module::load(&file, &layout, host).map_err(|why| why.to_string())
}

/// Two sections of per-CPU variables: bytes, an address of the module's text, one of the other section's, and zeroes.
fn elf(arch: ModuleArch) -> (Elf, [u16; 4]) {
    let mut elf = Elf::new(arch);
    let text = elf.section(".text", ALLOC | EXEC, 16, &[0; 64]);
    let data = elf.section(".data", ALLOC | WRITE, 8, &[0; 8]);
    let first = elf.section(".data..percpu", ALLOC | WRITE, 8, &[1, 2, 3, 4, 5]);
    let second = elf.section(".data..percpu..shared_aligned", ALLOC | WRITE, 64, &[0; 24]);
    elf.zeroes(".data..percpu..read_mostly", ALLOC | WRITE, 8, 16);
    let (function, variable) = (elf.symbol("", text, 16), elf.symbol("", first, 3));
    elf.relocate(second, 0, function, address_kind(arch), 0);
    elf.relocate(second, 8, variable, address_kind(arch), 0);
    elf.relocate(second, 16, variable, distance_kind(arch), 0);
    elf.relocate(data, 0, variable, address_kind(arch), 0);
    (elf, [text, data, first, second])
}

#[test]
fn every_copy_begins_as_the_file_has_it_relocated() {
    for arch in ALL {
        let memory = &mut FlatKernel::new(arch, 1 << 20);
        let module = load_into(memory, elf(arch).0).unwrap();
        let text = module.group(Part::Core, Group::Text).unwrap().start.get();
        let base = memory.per_cpu_base();
        let data = module.group(Part::Core, Group::Data).unwrap().start;
        assert_eq!(pointer(arch, memory, data), base + 3, "{arch:?}: as symbols have it");
        for cpu in [0, 1] {
            let copy = memory.copies(cpu);
            assert_eq!((copy.len(), &copy[..5]), (104, &[1, 2, 3, 4, 5][..]), "{arch:?}");
            let word = arch.word() as usize;
            let number = |at: usize| copy[at..at + word].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
            assert_eq!((number(64), number(72)), (text + 16, base + 3), "{arch:?}");
            let distance = i32::from_le_bytes(copy[80..84].try_into().unwrap());
            assert_eq!(distance, 3 - 80, "{arch:?}: the same on every CPU");
            assert!(copy[88..].iter().all(|byte| *byte == 0));
        }
        module.unload(memory);
        assert_eq!(memory.live, 0, "{arch:?}");
    }
}

#[test]
fn a_distance_to_what_has_no_copies_is_refused() {
    for arch in ALL {
        let memory = &mut FlatKernel::new(arch, 1 << 20);
        let (mut elf, [text, _, _, second]) = elf(arch);
        let function = elf.symbol("", text, 32);
        elf.relocate(second, 20, function, distance_kind(arch), 0);
        let why = load_into(memory, elf).unwrap_err();
        let kind = distance_kind(arch);
        let expected = format!(
            "relocation of kind {kind} at 0x14 of section 4: a distance from per-CPU data, which is another one on each CPU"
        );
        assert_eq!((why, memory.live), (expected, 0), "{arch:?}");
    }
}

#[test]
fn variables_without_room_leave_nothing() {
    for arch in ALL {
        let memory = &mut FlatKernel::new(arch, 1 << 20);
        let (mut elf, _) = elf(arch);
        elf.zeroes(".data..percpu..large", ALLOC | WRITE, 4096, 2 << 20);
        let why = load_into(memory, elf).unwrap_err();
        let bytes = (2 << 20) + 4096;
        assert_eq!((why, memory.live), (format!("no room for {bytes} bytes of per-CPU variables"), 0));
    }
}
