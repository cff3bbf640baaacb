//! What a module brings for the kernel: symbols that others use, and where it may fault.

use super::*;
use pagewright_kspace::module::{Export, Fixup, ModuleHost, RegisterChange};
use pagewright_kspace::vmalloc::NoArea;
use pagewright_pagetable::{AttrChange, UnmapError};
use pagewright_sim::modules::{FAULTS, FlatKernel, exporting};

pub(super) const ALL: [ModuleArch; 4] =
    [ModuleArch::X86_64, ModuleArch::I386, ModuleArch::Arm64, ModuleArch::Arm];

fn load_into(host: &mut impl ModuleHost, bytes: &[u8]) -> Result<Module, String> {
    let file = ModuleFile::parse(bytes, machine_of(bytes)).unwrap();
    let mut places = vec![Place::Nowhere; file.sections()];
    let layout = ModuleLayout::new(&file, PAGE, &mut places).unwrap();
    Module::load(&file, &layout, host).map_err(|why| why.to_string())
}

/// The relocation that makes an address of a symbol.
pub(super) const fn address_kind(arch: ModuleArch) -> u32 {
    match arch {
        ModuleArch::X86_64 | ModuleArch::I386 => 1,
        ModuleArch::Arm64 => 257,
        ModuleArch::Arm => 2,
    }
}

/// A module whose data begins with the address of a symbol that somebody else has, and that says so much of itself.
pub(super) fn using(arch: ModuleArch, name: &str, modinfo: &str) -> Elf {
    let mut elf = Elf::new(arch);
    let data = elf.section(".data", ALLOC | WRITE, 8, &[0; 8]);
    elf.section(".modinfo", ALLOC, 1, modinfo.as_bytes());
    let symbol = elf.symbol(name, UNDEFINED, 0);
    elf.relocate(data, 0, symbol, address_kind(arch), 0);
    elf
}

/// A kernel that has no symbols but those that its first module exports.
struct Linked<'m> {
    memory: &'m mut FlatKernel,
    first: &'m Module,
}

impl CodeMemory for Linked<'_> {
    fn read(&mut self, at: VirtAddr, into: &mut [u8]) {
        self.memory.read(at, into);
    }

    fn write(&mut self, at: VirtAddr, bytes: &[u8]) {
        self.memory.write(at, bytes);
    }

    fn sync(&mut self, range: VirtRange) {
        self.memory.sync(range);
    }
}

impl ModuleHost for Linked<'_> {
    fn page(&self) -> u64 {
        PAGE
    }

    fn alloc(&mut self, bytes: u64, align: u64) -> Result<VirtAddr, NoArea> {
        self.memory.alloc(bytes, align)
    }

    fn free(&mut self, at: VirtAddr) {
        self.memory.free(at);
    }

    fn protect(&mut self, range: VirtRange, change: &AttrChange) -> Result<(), UnmapError> {
        self.memory.protect(range, change)
    }

    fn symbol(&mut self, name: &str) -> Option<u64> {
        self.first.find_export(self.memory, name).map(|export| export.address)
    }
}

#[test]
fn what_one_module_exports_another_uses() {
    for arch in ALL {
        let memory = &mut FlatKernel::new(arch, 1 << 20);
        let first = load_into(memory, &exporting(arch).build()).unwrap();
        let text = first.group(Part::Core, Group::Text).unwrap().start.get();
        let export = |address, gpl| Some(Export { address, gpl });
        assert_eq!(first.find_export(memory, "served"), export(text + 16, false), "{arch:?}");
        assert_eq!(first.find_export(memory, "restricted"), export(text + 32, true), "{arch:?}");
        for other in ["serve", "serve\0served", "servedx", "", "strict"] {
            assert_eq!(first.find_export(memory, other), None, "{arch:?} {other:?}");
        }
        let using = |name: &str| using(arch, name, "").build();
        let mut host = Linked { memory, first: &first };
        let second = load_into(&mut host, &using("served")).unwrap();
        let data = second.group(Part::Core, Group::Data).unwrap().start;
        assert_eq!(pointer(arch, &mut host, data), text + 16, "{arch:?}");
        let refused = load_into(&mut host, &using("missing")).unwrap_err();
        assert!(refused.contains("missing"), "{refused}");
        second.unload(&mut host);
        first.unload(memory);
    }
}

#[test]
fn tables_of_faults_are_sorted_and_searched() {
    for arch in ALL {
        let memory = &mut FlatKernel::new(arch, 1 << 20);
        let module = load_into(memory, &exporting(arch).build()).unwrap();
        let text = module.group(Part::Core, Group::Text).unwrap().start.get();
        for at in FAULTS {
            let kind = if arch == ModuleArch::Arm { 0 } else { at as u32 + 1 };
            let expected = Fixup { address: text + at + 4, kind };
            assert_eq!(module.search_extable(memory, va(text + at)), Some(expected), "{arch:?} {at}");
        }
        for at in [4, 12, 44, 60] {
            assert_eq!(module.search_extable(memory, va(text + at)), None, "{arch:?} {at}");
        }
        module.unload(memory);
    }
}

#[test]
fn a_fixup_says_which_registers_change_by_the_numbers_of_6_1() {
    let set = |register, value| Some(RegisterChange { register, value });
    let registers = |arch, kind| Fixup { address: 0, kind }.registers(arch);
    for arch in [ModuleArch::X86_64, ModuleArch::I386] {
        for plain in [1, 3, 14] {
            assert_eq!(registers(arch, plain), Some([None; 3]), "{arch:?} {plain}");
        }
        // EX_TYPE_EFAULT_REG of cx, EX_TYPE_ZERO_REG of bx, EX_TYPE_ONE_REG of di with both flags.
        assert_eq!(registers(arch, 0xfff2_0111), Some([set(1, -14), None, None]), "{arch:?}");
        assert_eq!(registers(arch, 0x0000_0311), Some([set(3, 0), None, None]), "{arch:?}");
        assert_eq!(registers(arch, 0x0001_3711), Some([set(7, 1), set(0, 0), set(2, 0)]), "{arch:?}");
        assert_eq!(registers(arch, 0x2001), Some([None, None, set(2, 0)]), "{arch:?}");
        // The trap's number in ax, BPF, a stack that is popped.
        for other in [0, 2, 7, 16, 18, 0x101_0010] {
            assert_eq!(registers(arch, other), None, "{arch:?} {other}");
        }
    }
    assert_eq!(registers(ModuleArch::X86_64, 0xfff2_0f11), Some([set(15, -14), None, None]));
    assert_eq!(registers(ModuleArch::I386, 0xfff2_0811), None, "a segment's register");
    let arm64 =
        |what: u32, error: u32, zero: u32| registers(ModuleArch::Arm64, what | (error | zero << 5) << 16);
    for what in [2, 3] {
        assert_eq!(arm64(what, 31, 31), Some([None; 3]), "go on elsewhere");
        assert_eq!(arm64(what, 0, 30), Some([set(0, -14), set(30, 0), None]));
        assert_eq!(arm64(what, 31, 7), Some([None, set(7, 0), None]));
    }
    for other in [0, 1, 4, 5] {
        assert_eq!(arm64(other, 0, 1), None, "{other}");
    }
    assert_eq!(registers(ModuleArch::Arm, 0), Some([None; 3]));
}

#[test]
fn faults_of_init_are_nobodys_once_init_is_gone_and_others_never() {
    for arch in ALL {
        let memory = &mut FlatKernel::new(arch, 1 << 20);
        let mut module = load_into(memory, &exporting(arch).build()).unwrap();
        let text = module.group(Part::Core, Group::Text).unwrap().start.get();
        let init = module.group(Part::Init, Group::Text).unwrap().start.get();
        let found = |module: &Module, memory: &mut FlatKernel| {
            [text + 8, text + 48, init, init + 8, text + 56]
                .map(|at| module.search_extable(memory, va(at)).map(|fixup| fixup.address))
        };
        let expected = [Some(text + 12), Some(init + 12), Some(init + 4), Some(text + 44), None];
        assert_eq!(found(&module, memory), expected, "{arch:?}");
        module.finish_init(memory).unwrap();
        // Whoever has these addresses now is not to go on where the module once would have.
        assert_eq!(found(&module, memory), [Some(text + 12), None, None, None, None], "{arch:?}");
        module.unload(memory);
    }
}

#[test]
fn what_init_exported_is_gone_with_it() {
    for arch in ALL {
        let memory = &mut FlatKernel::new(arch, 1 << 20);
        let mut module = load_into(memory, &exporting(arch).build()).unwrap();
        let init = module.group(Part::Init, Group::Text).unwrap().start.get();
        let early = Some(Export { address: init + 4, gpl: false });
        assert_eq!(module.find_export(memory, "early"), early, "{arch:?}");
        module.finish_init(memory).unwrap();
        assert_eq!(module.find_export(memory, "early"), None, "{arch:?}");
        assert!(module.find_export(memory, "served").is_some(), "{arch:?}");
        module.unload(memory);
    }
}

#[test]
fn tables_without_bytes_in_the_file_have_no_entries() {
    for arch in ALL {
        let memory = &mut FlatKernel::new(arch, 8 << 20);
        let mut elf = Elf::new(arch);
        elf.section(".text", ALLOC | EXEC, 16, &[0; 64]);
        elf.zeroes("__ex_table", ALLOC, 4, 4 << 20);
        elf.zeroes("__ksymtab", ALLOC, 4, 1 << 20);
        let module = load_into(memory, &elf.build()).unwrap();
        let data = module.group(Part::Core, Group::ReadOnly).unwrap();
        // Words of zero as distances would lead to themselves.
        for at in (0..120).step_by(4).map(|n| data.start.get() + n) {
            assert_eq!(module.search_extable(memory, va(at)), None, "{arch:?} {at:#x}");
            assert_eq!(word(memory, va(at)), 0, "{arch:?} {at:#x}: nothing was sorted");
        }
        assert_eq!(module.find_export(memory, ""), None, "{arch:?}");
        module.unload(memory);
    }
}

fn word(memory: &mut FlatKernel, at: VirtAddr) -> u32 {
    let mut bytes = [0; 4];
    memory.read(at, &mut bytes);
    u32::from_le_bytes(bytes)
}
