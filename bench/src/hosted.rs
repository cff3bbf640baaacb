//! Boots machines built in code, with nobody listening.

use pagewright::{Quiet, Workspace, boot};
use pagewright_addr::{NodeId, PfnRange, PhysAddr};
use pagewright_firmware::acpi::{NumaTables, SratMemory};
use pagewright_firmware::cmdline::CommandLine;
use pagewright_firmware::config::KernelConfig;
use pagewright_firmware::e820::E820Entry;
use pagewright_firmware::{Arch, BuildFacts, Cpus, Firmware, KernelImage, Machine, Pc};
use pagewright_memblock::{INIT_MEMBLOCK_REGIONS, Region};
use pagewright_page::model::{MapSpace, NodeMap, SectionRun};
use pagewright_sim::with_page_allocator;
use pagewright_zone::layout::{MemFlags, MemRange, NodeLayout};
use pagewright_zone::watermark;

/// An image of 64 MiB at 16 MiB, which is all that a boot needs to know of it here.
fn image() -> KernelImage {
    let at = |mib: u64| PhysAddr::new(mib << 20);
    KernelImage {
        text_start: at(16),
        text_end: at(32),
        rodata_start: at(32),
        rodata_end: at(42),
        init_begin: at(50),
        inittext_end: at(51),
        init_end: at(53),
        data_start: at(44),
        data_end: at(48),
        bss_start: at(53),
        bss_end: at(68),
        end: at(68),
        brk_used: 0x1_1000,
        ..KernelImage::default()
    }
}

/// Boots a PC to a running page allocator and returns the pages it manages.
///
/// # Panics
/// If the machine does not boot: a benchmark of a failure measures nothing.
pub fn boot_pc(e820: &[E820Entry], memory: &[SratMemory], cpus: u32) -> u64 {
    let config = KernelConfig::for_arch(Arch::X86_64);
    let machine = Machine {
        arch: Arch::X86_64,
        config,
        image: image(),
        build: BuildFacts::for_config(&config),
        firmware: Firmware::Pc(Pc {
            e820,
            numa: NumaTables { memory, ..NumaTables::default() },
            ..Pc::default()
        }),
        initrd: None,
        cmdline: Some(CommandLine::new("")),
        cpus: Cpus { possible: cpus, gbpages: true, ..Cpus::default() },
        seed: None,
    };
    let possible = config.max_numnodes() as usize;
    let mut regions = vec![Region::default(); 2 * INIT_MEMBLOCK_REGIONS];
    let (memory, reserved) = regions.split_at_mut(INIT_MEMBLOCK_REGIONS);
    let blank = MemRange { pfns: PfnRange::default(), nid: NodeId::ZERO, flags: MemFlags::empty() };
    let mut ranges = vec![blank; 1024];
    let mut nodes = vec![NodeLayout::EMPTY; possible];
    let mut zonelists = vec![NodeId::ZERO; possible * (possible + 1)];
    let mut sections = vec![SectionRun::EMPTY; 1024];
    let mut subsections = vec![PfnRange::default(); 1024];
    let mut node_maps = vec![NodeMap::EMPTY; possible];
    let mut tables = Box::new(pagewright::Tables::new());
    let workspace = Workspace {
        memory,
        reserved,
        region_memory: None,
        ranges: &mut ranges,
        nodes: &mut nodes,
        zonelists: &mut zonelists,
        tables: &mut tables,
        maps: MapSpace { sections: &mut sections, subsections: &mut subsections, node_maps: &mut node_maps },
    };
    let mut booted = boot(&machine, workspace, &Quiet).expect("the machine boots");
    with_page_allocator(&mut booted, |booted, running| {
        let cpus = watermark::Cpus { online: cpus, on_node: &|_| cpus };
        running.initcalls(booted, &cpus);
        running.managed_pages()
    })
    .expect("the page allocator starts")
}

/// The process's peak resident memory in MiB, where the host tells (Linux).
pub fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib >> 10)
}
