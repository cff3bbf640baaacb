//! The processor, as the image's common part asks for it.

use super::console::CONSOLE;
use super::image::{self, START_KERNEL_MAP};
use super::{apic, cpu, smp, tlb};
use arrayvec::ArrayVec;
use core::sync::atomic::Ordering;
use pagewright::Boot;
use pagewright::pgtable::KernelTables;
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_kernel::console::Console;
use pagewright_kernel::direct_map::DirectMap;
#[cfg(feature = "tests")]
use pagewright_kernel::metal::ModuleFiles;
use pagewright_kernel::metal::{Access, Metal, NewStack, WxProbe};
use pagewright_kernel::pages::Pages;
use pagewright_kernel::team::Team;
#[cfg(feature = "tests")]
use pagewright_kspace::module::ModuleArch;
use pagewright_kspace::{Facts, Kind, Layout};
use pagewright_pagetable::format::x86::X86Config;

/// The modules that the build script has compiled.
#[cfg(feature = "tests")]
const MODULES: ModuleFiles = ModuleFiles {
    arch: ModuleArch::X86_64,
    sample: include_bytes!(concat!(env!("OUT_DIR"), "/sample.o")),
    user: include_bytes!(concat!(env!("OUT_DIR"), "/user.o")),
};

unsafe extern "C" {
    /// See `entry.s`.
    fn probe(at: u64, what: u64) -> u64;
    fn same_word(one: u64, other: u64) -> u64;
    fn ret_in_text();
    static ret_in_rodata: u8;
    static ret_in_data: u8;
    #[link_name = "entry_ticks"]
    static ENTRY_TICKS: u64;
}

/// A byte that can be read.
pub(super) fn readable(at: u64) -> bool {
    // SAFETY: reads one byte, and comes back if that faults.
    unsafe { probe(at, 0) == 0 }
}

/// A word at an address that may not be mapped.
pub(super) fn word(at: u64) -> Option<u64> {
    let there = at.is_multiple_of(8) && readable(at);
    // SAFETY: the address is mapped and aligned; any bytes are a number, and nobody depends on what they are.
    there.then(|| unsafe { core::ptr::with_exposed_provenance::<u64>(at as usize).read_volatile() })
}

/// The counter at the image's first instructions.
pub(super) fn entry_ticks() -> u64 {
    // SAFETY: `entry.s` wrote it before any Rust ran.
    unsafe { ENTRY_TICKS }
}

/// The image's processors.
pub(super) struct X86<'k> {
    root: PhysAddr,
    ram: DirectMap,
    probes: ArrayVec<WxProbe, 24>,
    /// All processors' local APICs.
    ids: &'k [u32],
    team: Team,
}

/// Where the processor is to read the table of interrupts, read-only: at the start of the entry areas.
pub(super) fn idt(boot: &Boot<'_>) -> VirtAddr {
    let areas = Layout::of(&Facts::of(boot.machine, &boot.params)).ok();
    let areas = areas.and_then(|layout| layout.get(Kind::CpuEntryArea));
    areas.map_or(linked(image::idt_table()), |area| area.start)
}

/// The image's address of a physical one.
fn linked(at: PhysAddr) -> VirtAddr {
    VirtAddr::new(START_KERNEL_MAP.wrapping_add(at.get()))
}

impl<'k> X86<'k> {
    /// The processors of a machine that has booted.
    pub(super) fn new(boot: &Boot<'_>, ram: &DirectMap, ids: &'k [u32], team: Team) -> Self {
        let alias = |at: VirtAddr| ram.virt(PhysAddr::new(at.get().wrapping_sub(START_KERNEL_MAP)));
        let text = VirtAddr::new(ret_in_text as *const () as u64);
        let rodata = VirtAddr::new(&raw const ret_in_rodata as u64);
        let data = VirtAddr::new(&raw const ret_in_data as u64);
        let mut probes = ArrayVec::new();
        for (what, at, rights) in [
            ("text", text, "rx"),
            ("text's alias", alias(text), "r"),
            ("constants", rodata, "r"),
            ("constants' alias", alias(rodata), "r"),
            ("data", data, "rw"),
            ("data's alias", alias(data), "rw"),
            ("the interrupt table", linked(image::idt_table()), "r"),
            ("the interrupt table's alias", ram.virt(image::idt_table()), "r"),
            ("the interrupt table in the entry areas", idt(boot), "r"),
        ] {
            for (access, letter) in [(Access::Write, 'w'), (Access::Execute, 'x')] {
                probes.push(WxProbe { what, at, access, allowed: rights.contains(letter) });
            }
        }
        let init = linked(image::__init_begin());
        probes.push(WxProbe { what: "freed init text", at: init, access: Access::Execute, allowed: false });
        let first = VirtAddr::new(8);
        probes.push(WxProbe { what: "address 8", at: first, access: Access::Read, allowed: false });
        let root = boot.pgtable.map_or(tlb::root(), |t| t.root);
        Self { root, ram: ram.clone(), probes, ids, team }
    }
}

impl X86<'_> {
    /// The kernel's tables.
    fn tables(&self) -> KernelTables<'_> {
        let format = image::format(X86Config::default());
        KernelTables { memory: &self.ram, root: self.root, format }
    }
}

impl Metal for X86<'_> {
    fn console(&self) -> &dyn Console {
        &CONSOLE
    }

    fn probe(&self, at: VirtAddr, access: Access) -> bool {
        let at = at.get();
        let what = match access {
            Access::Read => 0,
            Access::Write => 1,
            Access::Execute => 2,
        };
        // SAFETY: the byte keeps its value; what is called returns at once or faults, and then `probe` comes back.
        unsafe { probe(at, what) == 0 }
    }

    // The processor has no instruction that translates. It is asked whether the address and the frame that the tables lead to are the same
    // memory: by the identity map of the head's tables, which `entry.s` filled without the library.
    fn translate(&self, at: VirtAddr, access: Access) -> Option<Option<PhysAddr>> {
        let walked = self.tables().with(|tree| {
            let (leaf, _, start) = tree.leaf(at).ok()?;
            Some(PhysAddr::new(leaf.phys.get() + (at.get() - start.get())))
        });
        // Devices' registers are no memory to try.
        let phys = walked?;
        self.ram.pointer(phys.align_down(8), 8)?;
        if access == Access::Execute {
            return None;
        }
        if !self.probe(at, access) {
            return Some(None);
        }
        let same = smp::with_all_memory(|| {
            // SAFETY: the head's tables are never given back; they have all RAM one to one, and the kernel's half is this
            // processor's own.
            unsafe { tlb::load(image::head_root()) };
            // SAFETY: both are RAM that is mapped, aligned, and nobody else looks at memory now; the identity map may be
            // written.
            let same = unsafe { same_word(phys.align_down(8).get(), at.align_down(8).get()) } != 0;
            // SAFETY: the tables that were loaded.
            unsafe { tlb::load(self.root) };
            same
        });
        Some(same.then_some(phys))
    }

    fn flush_tlb(&self) {
        smp::flush_everywhere();
    }

    fn wx_probes(&self, _: &DirectMap) -> &[WxProbe] {
        &self.probes
    }

    fn space_order(&self) -> u8 {
        0
    }

    fn space<'m>(&self, root: PhysAddr, ram: &'m DirectMap) -> KernelTables<'m> {
        // The kernel's half is the same in every space.
        if let (Some(new), Some(kernel)) = (ram.words64(root, 512), ram.words64(self.root, 512)) {
            for (to, from) in new.iter().zip(kernel).skip(256) {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        KernelTables { memory: ram, root, format: image::format(X86Config::default()) }
    }

    fn load_space(&self, space: Option<&KernelTables<'_>>) {
        // SAFETY: the upper half of every space is the kernel's.
        unsafe { tlb::load(space.map_or(self.root, |s| s.root)) };
    }

    fn team(&self) -> &Team {
        &self.team
    }

    fn start_others(&self, boot: &Boot<'_>, pages: &Pages, stack: &mut NewStack<'_>) {
        smp::start_others(&self.team, boot, pages, self.ids, stack);
    }

    #[cfg(feature = "tests")]
    fn modules(&self) -> Option<ModuleFiles> {
        Some(MODULES)
    }

    fn has_timer(&self) -> bool {
        apic::is_there()
    }

    fn ticks(&self) -> u64 {
        cpu::time_stamp()
    }
}
