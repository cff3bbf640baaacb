//! The processor, as the image's common part asks for it.

use super::console::CONSOLE;
use super::image::{LPAE, Loaded, PAGE_OFFSET};
use super::{clock, cp15, gic, smp};
use arrayvec::ArrayVec;
use core::sync::atomic::Ordering;
use pagewright::Boot;
use pagewright::pgtable::arm::{DOMAIN_IO, MapType};
use pagewright::pgtable::{KernelFormat, KernelTables};
use pagewright::vmalloc::VmallocInitError;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_hot::{SpaceError, SpaceSetup, WithSpace};
#[cfg(feature = "bench")]
use pagewright_kernel::bench::kmap;
use pagewright_kernel::console::Console;
use pagewright_kernel::direct_map::DirectMap;
#[cfg(feature = "tests")]
use pagewright_kernel::metal::ModuleFiles;
use pagewright_kernel::metal::{Access, Metal, NewStack, WxProbe};
use pagewright_kernel::pages::Pages;
#[cfg(feature = "tests")]
use pagewright_kernel::selftest::{Note, Subject, highmem, note};
use pagewright_kernel::team::Team;
#[cfg(feature = "tests")]
use pagewright_kspace::module::ModuleArch;
use pagewright_pagetable::Attr;
use pagewright_pagetable::format::arm::lpae::ArmLpae;
use pagewright_pagetable::format::arm::short::{ArmShort, ArmShortConfig};

/// The modules that the build script has compiled.
#[cfg(feature = "tests")]
const MODULES: ModuleFiles = ModuleFiles {
    arch: ModuleArch::Arm,
    sample: include_bytes!(concat!(env!("OUT_DIR"), "/sample.o")),
    user: include_bytes!(concat!(env!("OUT_DIR"), "/user.o")),
};

unsafe extern "C" {
    /// See `entry.s`.
    fn probe(at: u32, what: u32) -> u32;
    fn ret_in_text();
    static ret_in_rodata: u8;
    static ret_in_data: u8;
}

/// Tables of the image's format with this top table, for mappings of registers: with short descriptors these have a domain of their
/// own.
pub(super) fn device_tables(root: PhysAddr, memory: &DirectMap) -> KernelTables<'_> {
    KernelTables { memory, root, format: format(DOMAIN_IO) }
}

/// Tables and attributes of a mapping of registers in the kernel's tables.
pub(crate) fn device_mapping<'b>(boot: &Boot<'b>) -> Option<(KernelTables<'b>, Attr)> {
    let tables = KernelTables { format: format(DOMAIN_IO), ..boot.pgtable? };
    Some((tables, MapType::Device.attr(&tables.format, true)))
}

/// The image's format; new tables are in this domain.
pub(super) fn format(table_domain: u8) -> KernelFormat {
    if LPAE {
        KernelFormat::ArmLpae(ArmLpae::default())
    } else {
        KernelFormat::ArmShort(ArmShort {
            config: ArmShortConfig { table_domain, ..ArmShortConfig::default() },
        })
    }
}

/// A word at an address that may not be mapped.
pub(super) fn word(at: u64) -> Option<u64> {
    let at = u32::try_from(at).ok().filter(|at| at.is_multiple_of(4))?;
    // SAFETY: reads one byte, and comes back if that faults.
    let there = unsafe { probe(at, 0) == 0 };
    let word = core::ptr::with_exposed_provenance::<u32>(at as usize);
    // SAFETY: the address is mapped and aligned; any bytes are a number, and nobody depends on what they are.
    there.then(|| u64::from(unsafe { word.read_volatile() }))
}

/// The image's processors.
pub(super) struct Arm {
    root: PhysAddr,
    probes: ArrayVec<WxProbe, 16>,
    virt_offset: u64,
    team: Team,
}

impl Arm {
    /// The processors of a machine that has booted with the tables below `root`.
    pub(super) fn new(image: &Loaded, root: PhysAddr, team: Team) -> Self {
        let mut probes = ArrayVec::new();
        // The linear map is the image's only one.
        for (what, at, rights) in [
            ("text", ret_in_text as *const () as usize, "x"),
            ("constants", (&raw const ret_in_rodata) as usize, ""),
            ("data", (&raw const ret_in_data) as usize, "w"),
            ("before the text", PAGE_OFFSET as usize, "w"),
            ("behind the image", (image.end().get().wrapping_add(image.virt_offset())) as usize, "w"),
        ] {
            for (access, letter) in [(Access::Write, 'w'), (Access::Execute, 'x')] {
                let (at, allowed) = (VirtAddr::new(at as u64), rights.contains(letter));
                probes.push(WxProbe { what, at, access, allowed });
            }
        }
        let first = VirtAddr::new(8);
        probes.push(WxProbe { what: "address 8", at: first, access: Access::Read, allowed: false });
        Self { root, probes, virt_offset: image.virt_offset(), team }
    }
}

impl Metal for Arm {
    fn console(&self) -> &dyn Console {
        &CONSOLE
    }

    fn probe(&self, at: VirtAddr, access: Access) -> bool {
        let what = match access {
            Access::Read => 0,
            Access::Write => 1,
            Access::Execute => 2,
        };
        // SAFETY: the byte keeps its value; what is called returns at once or faults, and then `probe` comes back.
        unsafe { probe(at.get() as u32, what) == 0 }
    }

    fn translate(&self, at: VirtAddr, access: Access) -> Option<Option<PhysAddr>> {
        // There is no such instruction for executing.
        (access != Access::Execute).then(|| cp15::translate(at.get() as u32, access == Access::Write))
    }

    fn flush_tlb(&self) {
        cp15::flush_all();
    }

    fn flush_here(&self, at: VirtAddr) {
        cp15::flush_page(at.get() as u32);
    }

    fn publish(&self) {
        cp15::publish();
    }

    fn wx_probes(&self, _: &DirectMap) -> &[WxProbe] {
        &self.probes
    }

    fn space_order(&self) -> u8 {
        // 16 KiB of entries for 1 MiB each; or four entries.
        if LPAE { 0 } else { 2 }
    }

    fn space<'m>(&self, root: PhysAddr, ram: &'m DirectMap) -> KernelTables<'m> {
        // The kernel's part is the same in every space.
        if LPAE {
            if let (Some(new), Some(kernel)) = (ram.words64(root, 4), ram.words64(self.root, 4)) {
                let first = (PAGE_OFFSET >> 30) as usize;
                for (to, from) in new.iter().zip(kernel).skip(first) {
                    to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
                }
            }
        } else if let (Some(new), Some(kernel)) = (ram.words32(root, 4096), ram.words32(self.root, 4096)) {
            let first = (PAGE_OFFSET >> 20) as usize;
            for (to, from) in new.iter().zip(kernel).skip(first) {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        KernelTables { memory: ram, root, format: format(0) }
    }

    fn load_space(&self, space: Option<&KernelTables<'_>>) {
        // SAFETY: every space has the kernel's part.
        unsafe { cp15::load(space.map_or(self.root, |s| s.root)) };
    }

    fn team(&self) -> &Team {
        &self.team
    }

    fn start_others(&self, boot: &Boot<'_>, pages: &Pages, stack: &mut NewStack<'_>) {
        smp::start_others(&self.team, boot, pages, self.virt_offset, stack);
    }

    fn serve_space(&self, setup: &SpaceSetup<'_, '_>, work: &mut WithSpace<'_>) -> Result<(), SpaceError> {
        match setup.tables.format {
            #[cfg(feature = "lpae")]
            KernelFormat::ArmLpae(format) => setup.serve_with(format, work),
            #[cfg(not(feature = "lpae"))]
            KernelFormat::ArmShort(format) => setup.serve_with(format, work),
            _ => Err(SpaceError::Vmalloc(VmallocInitError::NoTables)),
        }
    }

    #[cfg(feature = "tests")]
    fn modules(&self) -> Option<ModuleFiles> {
        Some(MODULES)
    }

    #[cfg(feature = "tests")]
    fn try_highmem(&self, subject: &Subject<'_>) -> Result<Note, Note> {
        match subject.tables.format {
            #[cfg(feature = "lpae")]
            KernelFormat::ArmLpae(format) => highmem::over_one(subject, format),
            #[cfg(not(feature = "lpae"))]
            KernelFormat::ArmShort(format) => highmem::over_one(subject, format),
            _ => Err(note(format_args!("the tables are not the image's"))),
        }
    }

    #[cfg(feature = "bench")]
    fn with_kmaps(&self, with: &kmap::Windows<'_>, work: &mut dyn FnMut(&kmap::Pairs<'_>)) {
        match with.tables.format {
            #[cfg(feature = "lpae")]
            KernelFormat::ArmLpae(format) => {
                kmap::over_one(with, format, pagewright_hot::lpae_kmap_pairs, work)
            }
            #[cfg(not(feature = "lpae"))]
            KernelFormat::ArmShort(format) => {
                kmap::over_one(with, format, pagewright_hot::short_kmap_pairs, work)
            }
            _ => {}
        }
    }

    #[cfg(feature = "bench")]
    fn empty_kmap_pairs(&self, page: PhysAddr, count: u64) {
        pagewright_hot::empty_kmap_pairs(page, count);
    }

    fn sync_code(&self, range: VirtRange) {
        cp15::sync_code(range);
    }

    fn has_timer(&self) -> bool {
        gic::is_there()
    }

    fn ticks(&self) -> u64 {
        clock::ticks()
    }
}
