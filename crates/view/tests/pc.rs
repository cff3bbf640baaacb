//! The views and the log of a PC that boots, with page tables and without.

use pagewright::{EventSink, Quiet, Tables, Workspace};
use pagewright_addr::{NodeId, PfnRange, PhysAddr, PhysRange};
use pagewright_firmware::cmdline::CommandLine;
use pagewright_firmware::config::{CmaConfig, CmaSize, Flavour, KernelConfig};
use pagewright_firmware::e820::{E820Entry, E820Kind};
use pagewright_firmware::{BuildFacts, Cpus, Firmware, KernelImage, Machine, Pc};
use pagewright_memblock::Region;
use pagewright_page::model::{MapSpace, SectionRun};
use pagewright_sim::{EntryWidth, PhysMemory, with_page_allocator};
use pagewright_view::log::{LogOptions, LogSink};
use pagewright_view::slab::SlabFiles;
use pagewright_view::vmallocinfo::{Areas, VmallocShown};
use pagewright_view::{NotShown, State, View, ViewError, Views};
use pagewright_zone::layout::{MemFlags, MemRange, NodeLayout};
use pagewright_zone::watermark;
use std::fmt::{self, Write};

/// A vmalloc area with one line: what it shows is the caller's, the views pass it on.
struct OneArea;

impl VmallocShown for OneArea {
    fn nr_pages(&self) -> u64 {
        3
    }

    fn vmallocinfo(&self, w: &mut dyn Write) -> fmt::Result {
        w.write_str("0xffffc90000000000-0xffffc90000004000   16384 pages=3 vmalloc N0=3\n")
    }

    fn map(&self, w: &mut dyn Write) -> fmt::Result {
        w.write_str("1 gap, 34359738351 KiB free\n")
    }

    fn regions(&self, _: &mut dyn FnMut(&dyn Areas)) {}
}

/// The files of one cache.
struct OneCache;

impl SlabFiles for OneCache {
    fn write(&self, w: &mut dyn Write, _: Option<&str>) -> Result<usize, fmt::Error> {
        w.write_str("kmalloc-8/align:8\nkmalloc-8/objects:512 N0=512\n").map(|()| 1)
    }
}

const E820: [E820Entry; 3] = [
    E820Entry::new(0, 0x9_fc00, E820Kind::Ram),
    E820Entry::new(0xf_0000, 0x1_0000, E820Kind::Reserved),
    E820Entry::new(0x10_0000, 0x3fee_0000, E820Kind::Ram),
];

fn machine(cmdline: &str) -> Machine<'_> {
    let mut config = KernelConfig::debian(Flavour::Amd64);
    // Debian's kernel for PCs has none.
    config.cma =
        cmdline.starts_with("cma=").then_some(CmaConfig { size: CmaSize::Mbytes(0), alignment: 8, areas: 7 });
    let at = PhysAddr::new;
    Machine {
        arch: config.arch,
        config,
        image: KernelImage {
            text_start: at(0x100_0000),
            text_end: at(0x1e0_0000),
            rodata_start: at(0x200_0000),
            rodata_end: at(0x280_0000),
            data_start: at(0x2a0_0000),
            data_end: at(0x2c0_0000),
            init_begin: at(0x2e0_0000),
            inittext_end: at(0x2f0_0000),
            init_end: at(0x300_0000),
            bss_start: at(0x300_0000),
            bss_end: at(0x3e0_0000),
            end: at(0x3e0_0000),
            ..KernelImage::default()
        },
        build: BuildFacts::for_config(&config),
        firmware: Firmware::Pc(Pc { e820: &E820, ..Pc::default() }),
        initrd: None,
        cmdline: Some(CommandLine::new(cmdline)),
        cpus: Cpus::default(),
        seed: None,
    }
}

/// Boots the PC to its end and shows its state.
fn booted<R>(
    cmdline: &str,
    sink: &dyn EventSink,
    with_tables: bool,
    look: impl FnOnce(&State<'_, '_, '_, '_, '_>) -> R,
) -> R {
    let machine = machine(cmdline);
    let (mut memory, mut reserved) = ([Region::default(); 128], [Region::default(); 128]);
    let blank = MemRange { pfns: PfnRange::default(), nid: NodeId::ZERO, flags: MemFlags::empty() };
    let nodes = machine.config.max_numnodes() as usize;
    let mut layouts = vec![NodeLayout::EMPTY; nodes];
    let mut zonelists = vec![NodeId::ZERO; nodes * (nodes + 1)];
    let mut tables = Box::new(Tables::new());
    let workspace = Workspace {
        memory: &mut memory,
        reserved: &mut reserved,
        region_memory: None,
        ranges: &mut [blank; 128],
        nodes: &mut layouts,
        zonelists: &mut zonelists,
        tables: &mut tables,
        maps: MapSpace {
            sections: &mut [SectionRun::EMPTY; 128],
            subsections: &mut [PfnRange::default(); 128],
            node_maps: &mut [],
        },
    };
    let ram = PhysMemory::new([PhysRange::from_len(PhysAddr::ZERO, 1 << 30)], EntryWidth::Bits64);
    let mut boot = pagewright::Boot::new(&machine, workspace, sink).unwrap();
    if with_tables {
        boot.set_table_memory(&ram);
    }
    boot.run().unwrap();
    with_page_allocator(&mut boot, |boot, running| {
        running.initcalls(boot, &watermark::Cpus { online: 1, on_node: &|_| 1 });
        let state = State::new(boot, running).with_slabs(&"slabinfo - version: 2.1\n");
        look(&state.with_slab_files(&OneCache, None).with_vmalloc(&OneArea))
    })
    .unwrap()
}

fn text(view: View, state: &State<'_, '_, '_, '_, '_>) -> String {
    let mut out = String::new();
    view.write(&mut out, state).unwrap();
    out
}

/// The first number after `label` at the start of a line.
fn number(text: &str, label: &str) -> u64 {
    let line = text.lines().map(str::trim_start).find(|l| l.starts_with(label));
    let rest = &line.unwrap_or_else(|| panic!("no {label} in\n{text}"))[label.len()..];
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn all_files_tell_of_the_same_free_pages() {
    booted("", &Quiet, false, |state| {
        let free = number(&text(View::Vmstat, state), "nr_free_pages");
        assert!(free > 200_000, "{free}");
        assert_eq!(number(&text(View::Meminfo, state), "MemFree:"), free * 4);
        let zones = text(View::Zoneinfo, state);
        let by_zone = zones.lines().filter_map(|l| l.trim_start().strip_prefix("pages free"));
        assert_eq!(by_zone.map(|n| n.trim().parse::<u64>().unwrap()).sum::<u64>(), free);
        let blocks = |line: &str, skip: usize| -> u64 {
            let numbers = line.split_whitespace().skip(skip).enumerate();
            numbers.map(|(order, n)| n.parse::<u64>().unwrap() << order).sum()
        };
        let buddyinfo = text(View::Buddyinfo, state);
        assert_eq!(buddyinfo.lines().map(|l| blocks(l, 4)).sum::<u64>(), free);
        let types = text(View::Pagetypeinfo, state);
        let by_type = types.lines().filter(|l| l.contains(", type "));
        assert_eq!(by_type.map(|l| blocks(l, 6)).sum::<u64>(), free);
    });
}

#[test]
fn resources_and_regions_are_those_of_the_firmware() {
    booted("", &Quiet, false, |state| {
        assert_eq!(
            text(View::Iomem, state),
            "00000000-00000fff : Reserved\n00001000-0009fbff : System RAM\n0009fc00-0009ffff : RAM buffer\n\
             000f0000-000fffff : Reserved\n  000f0000-000fffff : System ROM\n00100000-3ffdffff : System RAM\n  01000000-01dfffff : Kernel code\n  \
             02000000-027fffff : Kernel rodata\n  02a00000-02bfffff : Kernel data\n  03000000-03dfffff : Kernel \
             bss\n3ffe0000-3fffffff : RAM buffer\nfee00000-fee00fff : Local APIC\n"
        );
        assert_eq!(
            text(View::MemblockMemory, state),
            "   0: 0x0000000000001000..0x000000000009efff\n   1: 0x0000000000100000..0x000000003ffdffff\n"
        );
        assert!(text(View::Layout, state).starts_with("virtual kernel memory layout:\n"));
    });
}

#[test]
fn areas_are_shown_with_all_that_they_can_give() {
    booted("", &Quiet, false, |state| assert_eq!(text(View::Cma, state), ""));
    booted("cma=16M@512M", &Quiet, false, |state| {
        assert_eq!(
            text(View::Cma, state),
            "reserved/base_pfn:131072\nreserved/count:4096\nreserved/order_per_bit:0\nreserved/used:0\n\
             reserved/maxchunk:4096\nreserved/alloc_pages_success:0\nreserved/alloc_pages_fail:0\n"
        );
    });
}

#[test]
fn tables_are_shown_where_they_were_built() {
    let dump = booted("", &Quiet, true, |state| text(View::PageTables, state));
    assert!(dump.contains("---[ High Kernel Mapping ]---\n"), "{dump}");
    assert!(
        dump.contains(
            "0xffffffff81000000-0xffffffff81e00000          14M     ro         PSE     GLB x  pmd\n"
        )
    );
    booted("", &Quiet, false, |state| {
        let refused = View::PageTables.write(&mut String::new(), state).unwrap_err();
        assert_eq!(refused, ViewError::NoTables);
        let list = Views::parse("buddyinfo,page-tables,vmstat").unwrap();
        let mut out = String::new();
        let not_shown = list.write(&mut out, state).unwrap_err();
        assert_eq!(not_shown, NotShown { view: View::PageTables, why: ViewError::NoTables });
        assert_eq!(not_shown.to_string(), "page-tables: no page tables, they were only counted");
        assert!(
            out.starts_with("==> buddyinfo <==\nNode 0,") && out.ends_with("==> page-tables <==\n"),
            "{out}"
        );
    });
}

/// Takes so many bytes and no more.
struct Narrow {
    taken: String,
    room: usize,
}

impl Write for Narrow {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.taken.len() + s.len() > self.room {
            return Err(fmt::Error);
        }
        self.taken.push_str(s);
        Ok(())
    }
}

#[test]
fn a_writer_that_is_full_ends_a_view_with_its_error_and_keeps_the_beginning() {
    booted("", &Quiet, true, |state| {
        for view in View::ALL {
            let whole = text(view, state);
            for room in (0..whole.len()).step_by(whole.len() / 50 + 1) {
                let mut narrow = Narrow { taken: String::new(), room };
                let full = view.write(&mut narrow, state).unwrap_err();
                assert_eq!(full, ViewError::Write(fmt::Error), "{view}");
                assert!(whole.starts_with(&narrow.taken), "{view}");
            }
        }
    });
}

#[test]
fn the_log_is_printed_while_the_machine_boots() {
    let log = |cmdline: &str| {
        let params = CommandLine::new(cmdline).parse_for(&KernelConfig::debian(Flavour::Amd64)).0;
        let sink = LogSink::new(String::new(), LogOptions::of(&params));
        booted(cmdline, &sink, false, |_| ());
        sink.into_inner()
    };
    let plain = log("");
    let order = [
        "BIOS-provided physical RAM map:",
        "Zone ranges:",
        "Kernel command line: ",
        "Memory: ",
        "Freeing unused",
    ];
    let places = order.map(|line| plain.find(line).unwrap_or_else(|| panic!("no {line} in\n{plain}")));
    assert!(places.is_sorted(), "{plain}");
    assert!(!plain.contains("memblock_reserve:") && !plain.contains("mminit::"));
    let debug = log("memblock=debug mminit_loglevel=4");
    assert!(
        debug.contains("\nmemblock_reserve: [0x") && debug.contains("\nMEMBLOCK configuration:\n"),
        "{debug}"
    );
    assert!(debug.contains("\nmminit::"), "{debug}");
}

/// A tree with what the boot knows shows the same; a driver's request appears where it belongs, and none gets what the kernel uses.
#[test]
fn drivers_requests_join_the_resources_of_the_boot() {
    use pagewright_kspace::resource::{ResourceError, ResourceNode, Resources};
    use pagewright_view::iomem;
    booted("crashkernel=64M", &Quiet, false, |state| {
        let show = |state: &State<'_, '_, '_, '_, '_>| {
            let mut out = String::new();
            iomem::write(&mut out, state).unwrap();
            out
        };
        let before = show(state);
        let mut nodes = vec![ResourceNode::EMPTY; iomem::count(state.boot) + 3];
        let all = PhysRange::new(PhysAddr::ZERO, PhysAddr::new(1 << 46));
        let mut tree = Resources::new(all, &mut nodes).unwrap();
        iomem::insert(&mut tree, state.boot).unwrap();
        tree.validate().unwrap();
        assert_eq!(show(&state.with_resources(&tree)), before);
        assert!(
            before.contains("System RAM")
                && before.lines().any(|l| l.ends_with("  Kernel code") || l.ends_with(": Kernel code"))
        );
        let range = |start, bytes| PhysRange::from_len(PhysAddr::new(start), bytes);
        tree.request_mem_region(range(0xfeff_0000, 0x400), "device").unwrap();
        let ram = tree.request_mem_region(range(0x100_0000, 0x1000), "driver").unwrap_err();
        assert!(matches!(ram, ResourceError::Busy(r) if r.name == "System RAM"), "{ram}");
        let shown = show(&state.with_resources(&tree));
        assert_eq!(shown, format!("{before}feff0000-feff03ff : device\n"));
        tree.release_mem_region(range(0xfeff_0000, 0x400)).unwrap();
        assert_eq!(show(&state.with_resources(&tree)), before);
    });
}
