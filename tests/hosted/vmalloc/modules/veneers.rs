//! Many far functions: each has one veneer, which all its callers share.

use super::*;
use pagewright_sim::modules::FlatKernel;

/// Far functions, and calls of each.
const FUNCTIONS: u64 = if cfg!(miri) { 20 } else { 300 };
const CALLS: u64 = 2;

#[test]
fn each_far_function_has_one_veneer_and_room_is_left() {
    let arch = ModuleArch::Arm64;
    let mut elf = Elf::new(arch);
    let calls = 0x9400_0000_u32.to_le_bytes().repeat((FUNCTIONS * CALLS) as usize);
    let text = elf.section(".text", ALLOC | EXEC, 16, &calls);
    let far = elf.symbol("far", UNDEFINED, 0);
    for call in 0..FUNCTIONS * CALLS {
        // R_AARCH64_CALL26: the functions lie one behind the other.
        elf.relocate(text, call * 4, far, 283, (call % FUNCTIONS * 16) as i64);
    }
    let bytes = elf.build();
    let file = ModuleFile::parse(&bytes, arch).unwrap();
    let mut places = vec![Place::Nowhere; file.sections()];
    let layout = ModuleLayout::new(&file, PAGE, &mut places).unwrap();
    let memory = &mut FlatKernel::new(arch, 1 << 20);
    let module = Module::load(&file, &layout, memory).unwrap();
    assert_eq!(u64::from(module.veneers[0]), FUNCTIONS);
    let text = module.group(Part::Core, Group::Text).unwrap();
    let functions: Vec<u64> = (0..FUNCTIONS * CALLS)
        .map(|call| {
            let (at, mut bytes) = (text.start.get() + call * 4, [0; 4]);
            memory.read(va(at), &mut bytes);
            let veneer = target(arch, at, bytes);
            assert!(text.contains(va(veneer)));
            pointer(arch, memory, va(veneer + arch.veneer() - arch.word()))
        })
        .collect();
    let first = functions[0];
    for (call, function) in (0..).zip(functions) {
        assert_eq!(function, first + call % FUNCTIONS * 16, "call {call}");
    }
    module.unload(memory);
}
