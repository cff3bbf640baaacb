//! vmalloc of booted machines: over the boot's own tables, beside what the boot mapped, gone to the page.

use crate::support::Spec;
use crate::support::spec::{RAM, arm64, pc, pc_of};
use crate::support::tree::{cpus, memory, node, reserved_memory, root};
use crate::support::{GIB, MIB};
use pagewright::platform::Carve;
use pagewright::vmalloc::ioremap::{IoremapError, RamMap};
use pagewright::vmalloc::{
    OnPages, Seen, VmFlags, VmRequest, Vmalloc, VmallocError, VmallocInitError, VmallocSetup,
};
use pagewright::zone::figures::ZoneSource;
use pagewright::{Boot, Quiet, Tables as BootTables, Workspace, workspace_words};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_pagetable::format::FormatKind;
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{Format, NotLive, TableMemory, Tables};
use pagewright_sim::mmu::{Mmu, Strictness, kernel_registers};
use pagewright_sim::pages::NoContents;
use pagewright_sim::pages::{Pages, with_service};
use pagewright_sim::vmalloc::{BootedVmalloc, BootedVmallocError, WithVmalloc, with_booted_vmalloc};
use pagewright_sim::{EntryWidth, PhysMemory, with_page_allocator};

const PAGE: u64 = 4096;
/// A device's registers, in nobody's RAM.
const DEVICE: u64 = 0x2000_0000;

/// Boots with memory for tables, and puts the page allocator in service.
pub(crate) fn serving(
    spec: &Spec,
    tables: bool,
    look: impl FnOnce(&Boot<'_>, &Pages<'_, '_, '_, '_, NoContents>, &PhysMemory),
) {
    let wide = spec.config.is_64bit() || spec.config.lpae;
    let width = if wide { EntryWidth::Bits64 } else { EntryWidth::Bits32 };
    let ram = PhysMemory::new([PhysRange::from_len(PhysAddr::ZERO, 3 * GIB)], width);
    let done = spec.lend(|machine| {
        let (mut room, mut fixed) = (vec![0; workspace_words(&machine.config)], Box::new(BootTables::new()));
        let workspace = Workspace::new(&machine.config, &mut room, &mut fixed).unwrap();
        let mut boot = Boot::new(machine, workspace, &Quiet).unwrap();
        if tables {
            boot.set_table_memory(&ram);
        }
        boot.run().unwrap();
        with_page_allocator(&mut boot, |boot, running| {
            running.start_cpus(boot);
            with_service(boot, running, NoContents, |pages, _| look(boot, pages, &ram)).unwrap();
        })
        .unwrap();
    });
    done.expect("the firmware's tables can be read");
}

pub(crate) fn free_pages(pages: &Pages<'_, '_, '_, '_, NoContents>) -> u64 {
    for cpu in 0..pages.cpus() {
        pages.on_cpu(cpu, |cx| pages.allocator.drain_local_pages(cx));
    }
    let zones: &dyn ZoneSource = &pages.allocator;
    zones.zones().map(|zone| zone.free).sum()
}

/// An i.MX6, whose board maps registers from the start.
fn imx6() -> Spec {
    let root = root().text("compatible", "fsl,imx6q").with(cpus(1)).with(memory(RAM, 256 * MIB));
    Spec::tree(KernelConfig::debian(Flavour::Armmp), root, RAM + 3 * MIB)
}

/// Each kind of kernel, and the format of its tables.
pub(crate) fn machines() -> [(Spec, FormatKind); 4] {
    [
        (pc(128), FormatKind::X86Level4),
        (arm64(256), FormatKind::Arm64Page4kVa48),
        (imx6(), FormatKind::ArmShort),
        (pc_of(Flavour::I686, 128), FormatKind::I386),
    ]
}

/// The machine's RAM.
struct Ram(Vec<PhysRange>);

impl Ram {
    fn of(boot: &Boot<'_>) -> Self {
        Self(boot.mb.mem_ranges().collect())
    }
}

impl RamMap for Ram {
    fn next_ram(&self, range: PhysRange) -> Option<PhysRange> {
        self.0.iter().map(|ram| ram.intersection(&range)).find(|part| !part.is_empty())
    }
}

/// Where the lowest gap with room for so many bytes begins.
fn lowest_gap<F: Format>(vmalloc: &Vmalloc<'_, '_, F, &dyn TableMemory>, bytes: u64) -> VirtAddr {
    let mut at = vmalloc.range().start;
    while let Some(seen) = vmalloc.next_area(at) {
        let place = seen.range();
        if place.start.get() - at.get() >= bytes {
            break;
        }
        at = place.last().checked_add(1).unwrap();
    }
    at
}

/// Areas come and go, are reached by the processors of the machine, and leave what the boot mapped alone.
struct Use<'r, 'b> {
    boot: &'r Boot<'b>,
    kind: FormatKind,
    ram: &'r PhysMemory,
}

impl<'s, 'a> WithVmalloc<'s, 'a, NoContents> for Use<'_, '_> {
    type Out = ();

    fn run<F: Format>(self, m: &BootedVmalloc<'_, '_, '_, '_, 's, 'a, F, NoContents>) {
        let Self { boot, kind, ram } = self;
        let registers = kernel_registers(kind, boot.pgtable.unwrap().root.get());
        let mmu = Mmu::new(ram, 1, registers, Strictness::STRICT).unwrap();
        let before = free_pages(m.pages);
        m.on_cpu(0, &mut mmu.all_cpus(), |on| {
            let stacks = m.vmalloc.nr_pages();
            let lowest = lowest_gap(&m.vmalloc, 6 * PAGE);
            let at = m.vmalloc.vmalloc(on, 5 * PAGE).unwrap();
            assert_eq!(at, lowest, "6.1 has no pools");
            assert!(boot.early_areas.iter().all(|early| !early.range.contains(at)), "{at:#x}");
            assert_eq!(m.vmalloc.nr_pages() - stacks, 5);
            let last = at.checked_add(5 * PAGE - 4).unwrap();
            mmu.store(0, last, false, &[1, 2, 3, 4]).unwrap();
            let mut read = [0; 4];
            ram.read(m.vmalloc.translate(last).unwrap(), &mut read).unwrap();
            assert_eq!(read, [1, 2, 3, 4]);
            assert!(mmu.load(0, at.checked_add(5 * PAGE).unwrap(), false, &mut read).is_err(), "the guard");
            m.vmalloc.vfree(on, at).unwrap();
            m.vmalloc.give_all_back(on);
            assert!(mmu.load(0, last, false, &mut read).is_err());
            for early in
                boot.early_areas.iter().filter(|early| m.vmalloc.range().contains_range(&early.range))
            {
                let area = m.vmalloc.find_vm_area(early.range.start).expect("taken over");
                assert_eq!((area.range(), area.phys), (early.range, early.phys));
                let inside = VmRequest { within: Some(early.range), ..VmRequest::new(PAGE) };
                let refused = m.vmalloc.vmalloc_request(on, &inside);
                assert!(matches!(refused, Err(VmallocError::Space { .. })), "{refused:?}");
            }
            let mut places = [None; 4];
            let all = Ram::of(boot);
            let io = boot.ioremap_init(on, &m.vmalloc, &all, &mut places).unwrap();
            // The image's pages are reserved, those that the page allocator gives are not.
            let image = boot.machine.image.text_start;
            let taken = m.vmalloc.vmalloc(on, PAGE).unwrap();
            let free = m.vmalloc.translate(taken).unwrap();
            let x86 = matches!(kind, FormatKind::X86Level4 | FormatKind::I386);
            let refused = |done: Result<VirtAddr, _>| matches!(done, Err(IoremapError::Ram(_)));
            assert!(refused(io.ioremap(on, free, PAGE)));
            m.vmalloc.vfree(on, taken).unwrap();
            let reserved = io.ioremap(on, image, PAGE);
            assert_eq!(refused(reserved), !x86, "{reserved:?}");
            if let Ok(at) = reserved {
                io.iounmap(on, at).unwrap();
            }
            let own = io.ioremap(on, PhysAddr::new(DEVICE + 0x40), 64).unwrap();
            assert_eq!(m.vmalloc.translate(own).unwrap(), PhysAddr::new(DEVICE + 0x40));
            let statics: Vec<_> = boot.static_maps().collect();
            assert_eq!(statics.is_empty(), kind != FormatKind::ArmShort);
            for map in statics {
                let used = io.ioremap(on, map.phys.checked_add(0x10).unwrap(), 4).unwrap();
                assert_eq!(used, map.virt.start.checked_add(0x10).unwrap(), "as the boot mapped it");
                assert_eq!(m.vmalloc.translate(used).unwrap().get(), map.phys.get() + 0x10);
                io.iounmap(on, used).unwrap();
                assert!(m.vmalloc.translate(used).is_ok(), "and for good");
            }
            io.iounmap(on, own).unwrap();
            m.vmalloc.give_all_back(on);
            m.vmalloc.release_tables(on);
            m.vmalloc.validate().unwrap();
        });
        assert_eq!(free_pages(m.pages), before);
        boot.pgtable.unwrap().with(|tree| tree.validate(u64::MAX).map(drop)).unwrap();
    }
}

#[test]
fn vmalloc_serves_over_the_boots_tables_and_every_page_comes_back() {
    for (spec, kind) in machines() {
        serving(&spec, true, |boot, pages, ram| {
            with_booted_vmalloc(boot, pages, &mut NotLive, Use { boot, kind, ram }).unwrap();
        });
    }
}

/// The areas of a machine's stacks for interrupts: bytes with the guard page, pages of their own, flags, what is mapped first.
type Stacks = Vec<(u64, u32, VmFlags, u64)>;

struct IrqStacks;
impl<'s, 'a> WithVmalloc<'s, 'a, NoContents> for IrqStacks {
    type Out = Stacks;
    fn run<F: Format>(self, m: &BootedVmalloc<'_, '_, '_, '_, 's, 'a, F, NoContents>) -> Stacks {
        let mut at = m.vmalloc.range().start;
        let mut found = Vec::new();
        while let Some(seen) = m.vmalloc.next_area(at) {
            if let Seen::Area(area) = seen
                && area.caller.is_some_and(|at| at.file().ends_with("irq_stacks.rs"))
            {
                let first = m.vmalloc.translate(area.addr).unwrap();
                found.push((area.size, area.pages, area.flags, first.get()));
            }
            let Some(next) = seen.range().last().checked_add(1) else { break };
            at = next;
        }
        found
    }
}

#[test]
fn interrupts_have_stacks_with_guards_as_in_linux() {
    let stacks = |spec: &Spec| {
        let mut found = Vec::new();
        serving(spec, true, |boot, pages, _| {
            found = with_booted_vmalloc(boot, pages, &mut NotLive, IrqStacks).unwrap();
            assert_eq!(boot.irq_stacks().count(), found.len());
            let unit = boot.percpu.as_ref().unwrap().groups[0].base.get();
            let units = boot.percpu.as_ref().unwrap().alloc_size;
            for (_, _, flags, first) in &found {
                assert_eq!(flags.contains(VmFlags::MAP), (unit..unit + units).contains(first));
            }
        });
        found.into_iter().map(|(size, pages, flags, _)| (size, pages, flags)).collect::<Vec<_>>()
    };
    // The lines of captured kernels: `20480 irq_init_percpu_irqstack vmap`, `20480 start_kernel pages=4 vmalloc`, `12288 start_kernel pages=2 vmalloc`.
    assert_eq!(stacks(&pc(128)), [(20480, 0, VmFlags::MAP)]);
    assert_eq!(stacks(&arm64(256)), [(20480, 4, VmFlags::ALLOC)]);
    assert_eq!(stacks(&imx6()), [(12288, 2, VmFlags::ALLOC)]);
    let four = root().text("compatible", "fsl,imx6q").with(cpus(4)).with(memory(RAM, 256 * MIB));
    let four = Spec::tree(KernelConfig::debian(Flavour::Armmp), four, RAM + 3 * MIB).cpus(4);
    assert_eq!(stacks(&four), [(12288, 2, VmFlags::ALLOC); 4]);
    // Processors that are only possible have one on arm; on x86 it comes when one starts.
    assert_eq!(stacks(&four.cmdline("maxcpus=2")).len(), 4);
    assert_eq!(stacks(&pc(128).cpus(4)).len(), 4);
    assert_eq!(stacks(&pc(128).cpus(4).cmdline("maxcpus=2")).len(), 2);
    assert_eq!(stacks(&pc_of(Flavour::I686, 128)), [], "they are plain pages");
}

#[test]
fn an_embedder_chooses_between_pools_and_the_lowest_gap() {
    serving(&pc(64), true, |boot, pages, ram| {
        assert!(!boot.has_vmap_pools(), "6.1");
        let root = boot.pgtable.unwrap().root;
        let tree = Tables::new(X86Level4::default(), ram as &dyn TableMemory, root);
        for pools in [false, true] {
            let bytes = Vmalloc::<'_, '_, X86Level4, &dyn TableMemory>::bytes(64, pages.cpus());
            let mut room = vec![0_u64; bytes.div_ceil(8) as usize];
            let (map, cpus) = (*pages.base.map(), pages.cpus());
            let setup = VmallocSetup { tables: &tree, map, areas: 64, more: None, cpus, pools };
            pages.on_cpu(0, |context| {
                let on = &mut OnPages { allocator: &pages.allocator, context, cpu: 0, tlb: &mut NotLive };
                let vmalloc = boot.vmalloc_init(on, &setup, &mut Carve::of(&mut room)).unwrap();
                let first = vmalloc.vmalloc(on, PAGE).unwrap();
                let second = vmalloc.vmalloc(on, PAGE).unwrap();
                vmalloc.vfree(on, first).unwrap();
                vmalloc.purge_vmap_area_lazy(on);
                // Another size wants the gap as well; what is kept is for one of its own size.
                let third = vmalloc.vmalloc_request(on, &VmRequest::new(PAGE).aligned(2 * PAGE)).unwrap();
                assert_eq!(third == first, !pools, "{first:#x} {third:#x}");
                for at in [second, third] {
                    vmalloc.vfree(on, at).unwrap();
                }
                vmalloc.give_all_back(on);
            });
        }
    });
}

#[test]
fn what_is_mapped_from_the_start_is_an_early_area() {
    let early = |spec: &Spec| {
        let mut seen = Vec::new();
        serving(spec, true, |boot, _, _| {
            seen =
                boot.early_areas.iter().map(|area| (area.range.len, area.phys.get(), area.caller)).collect();
        });
        seen
    };
    // Text, constants, init text, init data, and data with a guard page.
    let image = arm64(256).image;
    let parts = [image.text_start, image.text_end, image.init_begin, image.inittext_end, image.data_start];
    let ends = parts[1..].iter().chain([&image.end]).zip([0, 0, 0, 0, PAGE]);
    let lens = ends.zip(parts).map(|((end, guard), start)| end.get() - start.get() + guard);
    let expected: Vec<_> = lens.zip(parts).map(|(len, at)| (len, at.get(), "paging_init")).collect();
    assert_eq!(early(&arm64(256)), expected);
    assert_eq!(
        early(&imx6()),
        [
            (16 * MIB, RAM + 240 * MIB, "iotable_init"),
            (PAGE, 0xa0_0000, "iotable_init"),
            (2 * MIB, 0, "pci_reserve_io")
        ],
        "a contiguous area that is mapped anew, the snoop control unit, and the window of PCI's ports"
    );
    assert_eq!(early(&pc(128)), []);
}

#[test]
fn more_static_maps_than_there_can_be_early_areas_end_no_boot() {
    let pool = |i: u64| {
        let pool = node(&format!("pool@{i}")).text("compatible", "shared-dma-pool").flag("reusable");
        pool.reg(RAM + (128 + 8 * i) * MIB, 8 * MIB)
    };
    let root = root().text("compatible", "fsl,imx6q").with(cpus(1)).with(memory(RAM, GIB));
    let root = root.with(reserved_memory((0..64).map(pool)));
    let spec = Spec::tree(KernelConfig::debian(Flavour::Armmp), root, RAM + 3 * MIB);
    let spec = spec.cmdline("cma=0").config(|c| c.cma.as_mut().expect("CMA").areas = 64);
    serving(&spec, true, |boot, _, _| {
        assert_eq!((boot.cma.len(), boot.early_areas.iter().count()), (64, 64));
        assert!(
            boot.early_areas.iter().all(|area| area.range.len == 8 * MIB),
            "the registers are one too many"
        );
        assert_eq!(boot.static_maps().count(), 0);
    });
}

#[test]
fn a_machine_whose_tables_were_only_counted_has_no_vmalloc() {
    struct Nothing;
    impl<'s, 'a> WithVmalloc<'s, 'a, NoContents> for Nothing {
        type Out = ();
        fn run<F: Format>(self, _: &BootedVmalloc<'_, '_, '_, '_, 's, 'a, F, NoContents>) {}
    }
    serving(&pc(64), false, |boot, pages, _| {
        let refused = with_booted_vmalloc(boot, pages, &mut NotLive, Nothing);
        assert_eq!(refused, Err(BootedVmallocError::NoTables));
        assert_eq!((boot.page_kernel(), boot.vmalloc_config().is_none()), (None, true));
    });
}

#[test]
fn too_little_memory_and_addresses_that_somebody_holds_are_errors() {
    serving(&pc(64), true, |boot, pages, ram| {
        let before = free_pages(pages);
        let root = boot.pgtable.unwrap().root;
        let tree = Tables::new(X86Level4::default(), ram as &dyn TableMemory, root);
        let bytes = Vmalloc::<'_, '_, X86Level4, &dyn TableMemory>::bytes(64, pages.cpus());
        let start = |bytes: u64| {
            let mut room = vec![0_u64; bytes.div_ceil(8) as usize];
            let map = *pages.base.map();
            let cpus = pages.cpus();
            let setup = VmallocSetup { tables: &tree, map, areas: 64, more: None, cpus, pools: true };
            pages.on_cpu(0, |context| {
                let on = &mut OnPages { allocator: &pages.allocator, context, cpu: 0, tlb: &mut NotLive };
                boot.vmalloc_init(on, &setup, &mut Carve::of(&mut room)).map(|vmalloc| vmalloc.range())
            })
        };
        let range = start(bytes).unwrap();
        // Room for aligning may be left over.
        for part in (0..bytes - 256).step_by(97) {
            assert!(matches!(start(part), Err(VmallocInitError::Setup(_))), "{part}");
        }
        let held = tree.lock(range).unwrap();
        assert!(matches!(start(bytes), Err(VmallocInitError::Tables(_))));
        drop(held);
        assert_eq!(start(bytes), Ok(range));
        assert_eq!(free_pages(pages), before);
    });
}

#[test]
fn the_command_line_and_the_machine_say_how_the_area_works() {
    let config = |spec: Spec| {
        let mut found = None;
        serving(&spec, true, |boot, _, _| found = boot.vmalloc_config());
        found.unwrap()
    };
    assert!(config(pc(64)).huge && !config(pc(64).cmdline("nohugevmalloc")).huge);
    assert!(!config(imx6()).huge, "arm maps no blocks there");
    assert_eq!((config(imx6()).shmlba, config(arm64(256)).shmlba, config(pc(64)).shmlba), (4 * PAGE, 1, 1));
    let no_dma32 = pc(64).config(|c| c.zone_dma32 = false);
    assert_eq!(
        (config(pc(64)).below_4g, config(no_dma32).below_4g),
        (pagewright::zone::Gfp::DMA32, pagewright::zone::Gfp::DMA)
    );
}

#[test]
fn the_guides_shortest_program_runs() {
    crate::areas::main();
}
