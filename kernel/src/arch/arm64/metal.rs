//! The processor, as the image's common part asks for it.

use super::console::CONSOLE;
use super::image::{CONFIG, Loaded};
use super::{clock, cpu, gic, smp, start, tlb};
use aarch64_cpu::registers::{PAR_EL1, Readable};
use arrayvec::ArrayVec;
use core::arch::asm;
use pagewright::Boot;
use pagewright::pgtable::arm64::Arm64Format;
use pagewright::pgtable::{KernelFormat, KernelTables};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_kernel::console::Console;
use pagewright_kernel::direct_map::DirectMap;
#[cfg(feature = "tests")]
use pagewright_kernel::metal::ModuleFiles;
use pagewright_kernel::metal::{Access, Metal, NewStack, WxProbe};
use pagewright_kernel::pages::Pages;
use pagewright_kernel::team::Team;
#[cfg(feature = "tests")]
use pagewright_kspace::module::ModuleArch;
use pagewright_pagetable::Attr;
use pagewright_pagetable::format::MemoryTypes;
use pagewright_pagetable::format::arm64::{Arm64Config, Half};

/// The modules that the build script has compiled.
#[cfg(feature = "tests")]
const MODULES: ModuleFiles = ModuleFiles {
    arch: ModuleArch::Arm64,
    sample: include_bytes!(concat!(env!("OUT_DIR"), "/sample.o")),
    user: include_bytes!(concat!(env!("OUT_DIR"), "/user.o")),
};

unsafe extern "C" {
    /// See `entry.s`.
    fn probe(at: u64, what: u64, value: u64) -> u64;
    fn ret_in_text();
    static ret_in_rodata: u8;
    static ret_in_data: u8;
}

/// The format of a process's half.
pub(super) fn low_format() -> Option<KernelFormat> {
    half(Half::Low)
}

/// The format of the kernel's half.
pub(super) fn high_format() -> Option<KernelFormat> {
    half(Half::High)
}

fn half(half: Half) -> Option<KernelFormat> {
    let config = Arm64Config { half, memory: MemoryTypes::ARM64, ..Arm64Config::default() };
    Arm64Format::new(CONFIG.page_shift.get(), u32::from(CONFIG.va_bits), config).map(KernelFormat::Arm64)
}

/// Tables and attributes of a mapping of registers.
pub(crate) fn device_mapping<'b>(boot: &Boot<'b>) -> Option<(KernelTables<'b>, Attr)> {
    Some((boot.pgtable?, start::DEVICE))
}

/// A byte that can be read.
pub(super) fn readable(at: u64) -> bool {
    // SAFETY: reads one byte, and comes back if that faults.
    unsafe { probe(at, 0, 0) == 0 }
}

/// A word at an address that may not be mapped.
pub(super) fn word(at: u64) -> Option<u64> {
    let there = at.is_multiple_of(8) && readable(at);
    // SAFETY: the address is mapped and aligned; any bytes are a number, and nobody depends on what they are.
    there.then(|| unsafe { core::ptr::with_exposed_provenance::<u64>(at as usize).read_volatile() })
}

/// The image's processors.
pub(super) struct Arm64 {
    reserved_pg_dir: PhysAddr,
    probes: ArrayVec<WxProbe, 16>,
    virt_offset: u64,
    team: Team,
}

impl Arm64 {
    /// The processors of a machine with this image in its RAM.
    pub(super) fn new(image: &Loaded, ram: &DirectMap, team: Team) -> Self {
        let mut probes = ArrayVec::new();
        let text = VirtAddr::new(ret_in_text as *const () as u64);
        let rodata = VirtAddr::new(&raw const ret_in_rodata as u64);
        let data = VirtAddr::new(&raw const ret_in_data as u64);
        // The same bytes in the linear map.
        let alias = |at: VirtAddr| ram.virt(PhysAddr::new(at.get().wrapping_sub(image.virt_offset())));
        for (what, at, rights) in [
            ("text", text, "rx"),
            ("text's alias", alias(text), "r"),
            ("constants", rodata, "r"),
            ("constants' alias", alias(rodata), "r"),
            ("data", data, "rw"),
            ("data's alias", alias(data), "rw"),
        ] {
            for (access, letter) in [(Access::Read, 'r'), (Access::Write, 'w'), (Access::Execute, 'x')] {
                let allowed = rights.contains(letter);
                // Reading shows nothing that the others do not, where it is allowed.
                if access != Access::Read {
                    probes.push(WxProbe { what, at, access, allowed });
                }
            }
        }
        let init = VirtAddr::new(image.facts().init_begin.get().wrapping_add(image.virt_offset()));
        probes.push(WxProbe { what: "freed init text", at: init, access: Access::Read, allowed: false });
        probes.push(WxProbe {
            what: "address 8",
            at: VirtAddr::new(8),
            access: Access::Read,
            allowed: false,
        });
        let virt_offset = image.virt_offset();
        Self { reserved_pg_dir: image.reserved_pg_dir(), probes, virt_offset, team }
    }
}

impl Metal for Arm64 {
    fn console(&self) -> &dyn Console {
        &CONSOLE
    }

    fn probe(&self, at: VirtAddr, access: Access) -> bool {
        let at = at.get();
        let (what, value) = match access {
            Access::Read => (0, 0),
            // What is there already; what cannot be read gets 0, and faults as well.
            Access::Write => {
                let old = if readable(at) {
                    // SAFETY: it was just read.
                    unsafe { core::ptr::with_exposed_provenance::<u8>(at as usize).read_volatile() }
                } else {
                    0
                };
                (1, u64::from(old))
            }
            Access::Execute => (2, 0),
        };
        // SAFETY: the byte keeps its value; what is called returns at once or faults, and then `probe` comes back.
        unsafe { probe(at, what, value) == 0 }
    }

    fn translate(&self, at: VirtAddr, access: Access) -> Option<Option<PhysAddr>> {
        let at = at.get();
        // SAFETY: address translation instructions touch nothing but PAR_EL1.
        unsafe {
            match access {
                Access::Read => {
                    asm!("at s1e1r, {}", "isb", in(reg) at, options(nomem, nostack, preserves_flags))
                }
                Access::Write => {
                    asm!("at s1e1w, {}", "isb", in(reg) at, options(nomem, nostack, preserves_flags))
                }
                // There is no such instruction before FEAT_ATS1A.
                Access::Execute => return None,
            }
        }
        let par = PAR_EL1.get();
        let page = par & 0x0000_ffff_ffff_f000;
        Some((par & 1 == 0).then(|| PhysAddr::new(page | at & 0xfff)))
    }

    fn flush_tlb(&self) {
        tlb::flush_all();
    }

    fn publish(&self) {
        tlb::publish();
    }

    fn wx_probes(&self, _: &DirectMap) -> &[WxProbe] {
        &self.probes
    }

    fn space_order(&self) -> u8 {
        0
    }

    fn space<'m>(&self, root: PhysAddr, ram: &'m DirectMap) -> KernelTables<'m> {
        // The configuration is one that there is: `start` has booted with it.
        let format =
            low_format().unwrap_or_else(|| unreachable!("a format of the kernel's own configuration"));
        KernelTables { memory: ram, root, format }
    }

    fn load_space(&self, space: Option<&KernelTables<'_>>) {
        let root = space.map_or(self.reserved_pg_dir, |s| s.root);
        // SAFETY: the lower half is a process's; the kernel has nothing there.
        unsafe { tlb::set_ttbr0(root.get()) };
    }

    fn team(&self) -> &Team {
        &self.team
    }

    fn start_others(&self, boot: &Boot<'_>, pages: &Pages, stack: &mut NewStack<'_>) {
        smp::start_others(&self.team, boot, pages, self.virt_offset, stack);
    }

    // `swapper_pg_dir`.
    fn root_is_sealed(&self) -> bool {
        true
    }

    #[cfg(feature = "tests")]
    fn modules(&self) -> Option<ModuleFiles> {
        Some(MODULES)
    }

    fn sync_code(&self, range: VirtRange) {
        cpu::sync_code(range);
    }

    fn has_timer(&self) -> bool {
        gic::is_there()
    }

    fn ticks(&self) -> u64 {
        clock::ticks()
    }
}
