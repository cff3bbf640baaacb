//! Modules: loaded into simulated memory through the MMU, protected, spilled, and given back.

mod faults;
mod per_cpu;
mod spill;
mod tables;
mod uses;
mod veneers;

use super::*;
use pagewright_kspace::module::{
    CodeMemory, Group, Module, ModuleArch, ModuleError, ModuleFile, ModuleLayout, ModuleWindows, OnVmalloc,
    Part, Place, RelocationProblem,
};
use pagewright_kspace::vmalloc::VmContext;
use pagewright_pagetable::AttrFlags;
use pagewright_pagetable::format::WithFormat;
use pagewright_sim::mmu::{Access, AccessKind, Mmu};
use pagewright_sim::modules::elf::{ALLOC, COMMON, EXEC, Elf, UNDEFINED, WRITE};
use pagewright_sim::modules::{machine_of, sample};
use pagewright_sim::vmalloc::{kernel_data, with_vmalloc};

/// Where the kernel's function is that modules call, as seen from the region's start.
const NEAR: u64 = 1 << 20;

/// Bytes through a CPU's MMU.
struct Code<'p, 'm> {
    mmu: &'p Mmu<'m>,
    synced: Vec<VirtRange>,
}

impl CodeMemory for Code<'_, '_> {
    fn read(&mut self, at: VirtAddr, into: &mut [u8]) {
        self.mmu.load(0, at, false, into).unwrap();
    }

    fn write(&mut self, at: VirtAddr, bytes: &[u8]) {
        self.mmu.store(0, at, false, bytes).unwrap();
    }

    fn sync(&mut self, range: VirtRange) {
        self.synced.push(range);
    }
}

fn arch(kind: FormatKind) -> ModuleArch {
    match kind {
        FormatKind::X86Level4 => ModuleArch::X86_64,
        FormatKind::Arm64Page4kVa48 => ModuleArch::Arm64,
        FormatKind::I386 | FormatKind::I386Pae => ModuleArch::I386,
        _ => ModuleArch::Arm,
    }
}

/// Where a branch leads, by its bytes.
fn target(arch: ModuleArch, at: u64, bytes: [u8; 4]) -> u64 {
    let word = u32::from_le_bytes(bytes);
    match arch {
        ModuleArch::X86_64 => at.wrapping_add_signed(i64::from(word as i32) + 4),
        ModuleArch::I386 => u64::from((at as u32).wrapping_add(word).wrapping_add(4)),
        ModuleArch::Arm64 => {
            assert_eq!(word >> 26, 0x25, "still bl");
            at.wrapping_add_signed(i64::from((word << 6) as i32 >> 6) * 4)
        }
        ModuleArch::Arm => {
            assert_eq!(word >> 24, 0xeb, "still bl");
            u64::from((at as u32).wrapping_add_signed(((word << 8) as i32 >> 6) + 8))
        }
    }
}

/// Reads an address as the module has it.
fn pointer(arch: ModuleArch, code: &mut impl CodeMemory, at: VirtAddr) -> u64 {
    let mut bytes = [0; 8];
    code.read(at, &mut bytes[..arch.word() as usize]);
    u64::from_le_bytes(bytes)
}

fn load<'v, 'a, F: Format, C: VmContext<'a>>(
    m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
    on: &mut C,
    bytes: &[u8],
    helper: u64,
    then: impl FnOnce(
        Result<Module, ModuleError<'_>>,
        &mut OnVmalloc<'_, 'v, 'a, F, &'v pagewright_sim::PhysMemory, C, Code<'_, 'v>>,
    ),
) {
    let mut code = Code { mmu: m.mmu, synced: Vec::new() };
    let symbols = |name: &str| (name == "helper").then_some(helper);
    let windows = ModuleWindows::only(m.vmalloc.range());
    let mut host =
        OnVmalloc { regions: &[&m.vmalloc], windows, on, code: &mut code, symbols: &symbols, per_cpu: None };
    let arch = machine_of(bytes);
    match ModuleFile::parse(bytes, arch) {
        Err(why) => then(Err(why), &mut host),
        Ok(file) => {
            let mut places = vec![Place::Nowhere; file.sections()];
            match ModuleLayout::new(&file, PAGE, &mut places) {
                Err(why) => then(Err(why), &mut host),
                Ok(layout) => then(Module::load(&file, &layout, &mut host), &mut host),
            }
        }
    }
}

fn is_allowed(mmu: &Mmu<'_>, at: VirtAddr, kind: AccessKind) -> bool {
    mmu.access(1, at, Access { kind, ..Access::READ }).is_ok()
}

fn loaded_protected_and_freed<F: Format>(kind: FormatKind, format: F, no_execute: bool) {
    with_vmalloc(&machine(kind, 16, 2), format, |m| {
        let arch = arch(kind);
        let before = buddyinfo_with_borders(m);
        let helper = m.vmalloc.range().start.get() + NEAR;
        m.on_cpu(0, |on| {
            load(m, on, &sample(arch).build(), helper, |loaded, host| {
                let mut module = loaded.unwrap();
                let text = module.group(Part::Core, Group::Text).unwrap();
                let data = module.group(Part::Core, Group::Data).unwrap();
                let constants = module.group(Part::Core, Group::ReadOnly).unwrap();
                let after = module.group(Part::Core, Group::ReadOnlyAfterInit).unwrap();
                let init = module.range(Part::Init).unwrap();
                assert_eq!(module.veneers, [0, 0], "all is near");
                assert!(host.code.synced.contains(&text));
                // Relocated: branches and pointers lead where they should.
                for (at, to) in [
                    (text.start.get(), helper),
                    (text.start.get() + 4, helper),
                    (init.start.get(), helper),
                    (init.start.get() + 8, text.start.get() + 16),
                ] {
                    let mut bytes = [0; 4];
                    host.code.read(va(at), &mut bytes);
                    assert_eq!(target(arch, at, bytes), to);
                }
                let values = [text.start.get() + 16, helper, 0, init.start.get() + 4];
                for (n, value) in values.into_iter().enumerate() {
                    assert_eq!(pointer(arch, host.code, va(data.start.get() + 8 * n as u64)), value);
                }
                assert_eq!(module.exit_function, Some(va(values[0])));
                assert_eq!(module.init_function, Some(va(values[3])));
                let mut bytes = [0; 9];
                host.code.read(constants.start, &mut bytes);
                assert_eq!(&bytes, b"constants");
                // Protected, on the other CPU as well.
                let allowed = |at, kind| is_allowed(m.mmu, at, kind);
                use AccessKind::{Execute, Read, Write};
                for (range, write, execute) in [
                    (text, false, true),
                    (constants, false, false),
                    (after, true, false),
                    (data, true, false),
                ] {
                    for at in [range.start, range.last()] {
                        assert!(allowed(at, Read));
                        assert_eq!(allowed(at, Write), write, "{at:?}");
                        assert_eq!(allowed(at, Execute), execute || !no_execute, "{at:?}");
                    }
                }
                assert!(allowed(init.start, Execute) && !allowed(init.start, Write));
                // What init alone needed goes, what it wrote stays as it is.
                module.finish_init(host).unwrap();
                assert!(
                    !allowed(after.start, Write) && allowed(after.start, Read) && allowed(data.start, Write)
                );
                assert_eq!((module.range(Part::Init), module.init_function), (None, None));
                m.vmalloc.purge_vmap_area_lazy(host.on);
                assert!(!allowed(init.start, Read));
                let start = text.start;
                module.unload(host);
                m.vmalloc.purge_vmap_area_lazy(host.on);
                assert!(!allowed(start, Read));
            });
        });
        expect_all_back(m, &before);
    });
}

struct LoadedProtectedAndFreed(FormatKind);

impl WithFormat for LoadedProtectedAndFreed {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        let no_execute = !kernel_data(&format).flags.contains(AttrFlags::EXEC);
        loaded_protected_and_freed(self.0, format, no_execute);
    }
}

#[test]
fn a_module_is_loaded_protected_and_freed() {
    for kind in [
        FormatKind::X86Level4,
        FormatKind::Arm64Page4kVa48,
        FormatKind::ArmShort,
        FormatKind::ArmLpae,
        FormatKind::I386,
        FormatKind::I386Pae,
    ] {
        kind.with(LoadedProtectedAndFreed(kind));
    }
}
