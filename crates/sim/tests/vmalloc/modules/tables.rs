//! What a module brings for the kernel: symbols that others use, and where it may fault.

use super::*;
use pagewright_kspace::module::{Export, Fixup, ModuleHost};
use pagewright_kspace::vmalloc::VmallocError;
use pagewright_pagetable::{AttrChange, UnmapError};
use pagewright_sim::modules::FlatKernel;
use pagewright_sim::modules::elf::EXEC;

const ALL: [ModuleArch; 3] = [ModuleArch::X86_64, ModuleArch::Arm64, ModuleArch::Arm];

/// A word that leads to a symbol: PC32, PREL32, ABS32.
fn kind(arch: ModuleArch) -> u32 {
    match arch {
        ModuleArch::X86_64 => 2,
        ModuleArch::Arm64 => 261,
        ModuleArch::Arm => 2,
    }
}

/// Faults at 40, 8, 24 and 0 bytes into the text, in this order; where to go on lies 4 bytes behind each.
const FAULTS: [u64; 4] = [40, 8, 24, 0];

/// A module that exports the address 16 bytes into its text as `served`, 32 bytes as `restricted`.
fn exporting(arch: ModuleArch) -> Vec<u8> {
    let mut elf = Elf::new(arch);
    let text = elf.section(".text", ALLOC | EXEC, 16, &[0; 64]);
    let names = elf.section("__ksymtab_strings", ALLOC, 1, b"serve\0served\0restricted\0");
    for (table, at, name) in [("__ksymtab", 16, 6), ("__ksymtab_gpl", 32, 13)] {
        let section = elf.section(table, ALLOC, 4, &[0; 12]);
        let value = elf.symbol("", text, at);
        let name = elf.symbol("", names, name);
        elf.relocate(section, 0, value, kind(arch), 0);
        elf.relocate(section, 4, name, kind(arch), 0);
    }
    let size = if arch == ModuleArch::Arm { 8 } else { 12 };
    let mut entries = vec![0; size * FAULTS.len()];
    if size == 12 {
        for (n, at) in FAULTS.iter().enumerate() {
            entries[n * size + 8] = *at as u8 + 1;
        }
    }
    let section = elf.section("__ex_table", ALLOC, 4, &entries);
    for (n, at) in FAULTS.iter().enumerate() {
        for (offset, at) in [(0, *at), (4, at + 4)] {
            let symbol = elf.symbol("", text, at);
            elf.relocate(section, (n * size + offset) as u64, symbol, kind(arch), 0);
        }
    }
    elf.build()
}

fn load_into(host: &mut impl ModuleHost, bytes: &[u8]) -> Result<Module, String> {
    let file = ModuleFile::parse(bytes, machine_of(bytes)).unwrap();
    let mut places = vec![Place::Nowhere; file.sections()];
    let layout = ModuleLayout::new(&file, PAGE, &mut places).unwrap();
    Module::load(&file, &layout, host).map_err(|why| why.to_string())
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

    fn alloc(&mut self, bytes: u64, align: u64) -> Result<VirtAddr, VmallocError> {
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
        let first = load_into(memory, &exporting(arch)).unwrap();
        let text = first.group(Part::Core, Group::Text).unwrap().start.get();
        let export = |address, gpl| Some(Export { address, gpl });
        assert_eq!(first.find_export(memory, "served"), export(text + 16, false), "{arch:?}");
        assert_eq!(first.find_export(memory, "restricted"), export(text + 32, true), "{arch:?}");
        for other in ["serve", "serve\0served", "servedx", "", "strict"] {
            assert_eq!(first.find_export(memory, other), None, "{arch:?} {other:?}");
        }
        let using = |name: &str| {
            let mut elf = Elf::new(arch);
            let data = elf.section(".data", ALLOC | WRITE, 8, &[0; 8]);
            let symbol = elf.symbol(name, UNDEFINED, 0);
            let pointer = match arch {
                ModuleArch::X86_64 => 1,
                ModuleArch::Arm64 => 257,
                ModuleArch::Arm => 2,
            };
            elf.relocate(data, 0, symbol, pointer, 0);
            elf.build()
        };
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
        let module = load_into(memory, &exporting(arch)).unwrap();
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
