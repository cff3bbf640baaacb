//! From a memory map to vmalloc and a mapped device: a small PC boots in simulated RAM, and its kernel makes an area, writes through the software MMU, maps
//! a device's registers, and gives everything back.
//!
//! `cargo run -p pagewright-sim --example areas`. A kernel does the same with its own RAM in place of [`PhysMemory`] and its own TLB flush in place of the MMU's
//! (`kernel/src/space.rs`).

use pagewright::firmware::config::{Flavour, KernelConfig};
use pagewright::firmware::e820::{E820Entry, E820Kind};
use pagewright::firmware::{BuildFacts, Firmware, KernelImage, Machine, Pc};
use pagewright::vmalloc::ioremap::RamMap;
use pagewright::{Boot, Quiet, Tables, Workspace, workspace_words};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_pagetable::Format;
use pagewright_pagetable::format::FormatKind;
use pagewright_sim::mmu::{Mmu, Strictness, kernel_registers};
use pagewright_sim::pages::NoContents;
use pagewright_sim::pages::with_service;
use pagewright_sim::vmalloc::{BootedVmalloc, WithVmalloc, with_booted_vmalloc};
use pagewright_sim::{EntryWidth, PhysMemory, with_page_allocator};
use pagewright_zone::figures::ZoneSource;

const E820: [E820Entry; 2] =
    [E820Entry::new(0, 0x9_fc00, E820Kind::Ram), E820Entry::new(0x10_0000, 127 << 20, E820Kind::Ram)];
/// A device's registers.
const DEVICE: PhysAddr = PhysAddr::new(0xfebd_4000);

fn machine() -> Machine<'static> {
    let config = KernelConfig::debian(Flavour::Amd64);
    let at = |mib: u64| PhysAddr::new(mib << 20);
    // Where the linker put the image's parts.
    let image = KernelImage {
        text_start: at(16),
        text_end: at(30),
        rodata_start: at(32),
        rodata_end: at(40),
        data_start: at(42),
        data_end: at(44),
        init_begin: at(46),
        inittext_end: at(47),
        init_end: at(48),
        bss_start: at(48),
        bss_end: at(62),
        end: at(62),
        ..KernelImage::default()
    };
    let build = BuildFacts::for_config(&config);
    let firmware = Firmware::Pc(Pc { e820: &E820, ..Pc::default() });
    Machine { build, ..Machine::new(config, image, firmware) }
}

/// What is RAM, for ioremap to refuse.
struct Ram(Vec<PhysRange>);

impl RamMap for Ram {
    fn next_ram(&self, range: PhysRange) -> Option<PhysRange> {
        self.0.iter().map(|ram| ram.intersection(&range)).find(|part| !part.is_empty())
    }
}

/// What the kernel does with its addresses, whatever the format of its tables.
struct Work<'w, 'b> {
    boot: &'w Boot<'b>,
    ram: &'w PhysMemory,
}

impl<'s, 'a> WithVmalloc<'s, 'a, NoContents> for Work<'_, '_> {
    type Out = ();

    fn run<F: Format>(self, m: &BootedVmalloc<'_, '_, '_, '_, 's, 'a, F, NoContents>) {
        let Self { boot, ram } = self;
        let tables = boot.pgtable.expect("built by the boot");
        let registers = kernel_registers(FormatKind::X86Level4, tables.root.get());
        let mmu = Mmu::new(ram, 1, registers, Strictness::STRICT).expect("a format that it knows");
        m.on_cpu(0, &mut mmu.all_cpus(), |on| {
            let at = m.vmalloc.vmalloc(on, 64 << 10).expect("memory and addresses");
            let last = at.checked_add((64 << 10) - 5).expect("inside");
            mmu.store(0, last, false, b"hello").expect("mapped, and writable");
            println!(
                "64 KiB at {at:#x}, whose last page is at {:#x}",
                m.vmalloc.translate(last).expect("mapped")
            );
            let beyond = at.checked_add(64 << 10).expect("the guard page");
            println!("beyond them: {}", mmu.load(0, beyond, false, &mut [0]).expect_err("nothing is there"));

            let known = Ram(boot.mb.mem_ranges().collect());
            let io = boot.ioremap_init(on, &m.vmalloc, &known, &mut []).expect("a PC has no static maps");
            let registers = io.ioremap(on, DEVICE, 4096).expect("nobody's RAM");
            println!("the device at {DEVICE:#x} is reached at {registers:#x}");
            let page = m.vmalloc.translate(at).expect("mapped");
            println!("its own pages: {}", io.ioremap(on, page, 4096).expect_err("RAM is no device"));

            io.iounmap(on, registers).expect("it was mapped");
            m.vmalloc.vfree(on, at).expect("it was allocated");
            // Pages and addresses that were freed wait for a flush, or for the next area of their size: now they go back.
            m.vmalloc.give_all_back(on);
        });
    }
}

pub(crate) fn main() {
    let machine = machine();
    let ram = PhysMemory::new([PhysRange::from_len(PhysAddr::ZERO, 128 << 20)], EntryWidth::Bits64);
    let (mut room, mut fixed) = (vec![0; workspace_words(&machine.config)], Box::new(Tables::new()));
    let workspace = Workspace::new(&machine.config, &mut room, &mut fixed).expect("room for the boot");
    let mut boot = Boot::new(&machine, workspace, &Quiet).expect("a machine that makes sense");
    boot.set_table_memory(&ram);
    boot.run().expect("enough memory");
    with_page_allocator(&mut boot, |boot, running| {
        running.start_cpus(boot);
        with_service(boot, running, NoContents, |pages, _| {
            let free = || -> u64 {
                pages.on_cpu(0, |cx| pages.allocator.drain_local_pages(cx));
                let zones: &dyn ZoneSource = &pages.allocator;
                zones.zones().map(|zone| zone.free).sum()
            };
            let before = free();
            let mut nobody = pagewright_pagetable::NotLive;
            with_booted_vmalloc(boot, pages, &mut nobody, Work { boot, ram: &ram })
                .expect("tables were built");
            println!(
                "{} of {before} free pages are free again, {} are tables and interrupts' stacks",
                free(),
                before - free()
            );
        })
        .expect("memory for per-CPU lists");
    })
    .expect("memory for page metadata");
}
