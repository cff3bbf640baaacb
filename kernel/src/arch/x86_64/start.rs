//! From the image's link address to the running page allocator.

use super::console::CONSOLE;
use super::end::{print, stop};
use super::exit::exit;
use super::firmware::{self, Kept};
use super::image::{self, START_KERNEL_MAP, page_offset};
use super::metal::X86;
use super::{cpu, metal, sequence, smp, tlb, window};
use arrayvec::ArrayVec;
use core::cell::Cell;
use pagewright::Boot;
use pagewright::pgtable::x86::Places;
use pagewright::pgtable::{KernelTables, TableEvent};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::{Cpus, Machine};
use pagewright_kernel::bench::steps::Steps;
use pagewright_kernel::console::line;
use pagewright_kernel::direct_map::{DirectMap, MAX_RANGES};
use pagewright_kernel::early_tables::EarlyTables;
use pagewright_kernel::exit::Exit;
use pagewright_kernel::fault;
use pagewright_kernel::options::Options;
use pagewright_kernel::pages::Pages;
use pagewright_pagetable::format::x86::X86Config;
use pagewright_pagetable::{Attr, AttrFlags, MapOptions};

/// Data that the kernel alone reads and writes.
const DATA: Attr = Attr::normal(
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::GLOBAL).union(AttrFlags::ACCESSED),
);
const PAGE: u64 = 4096;
const GIB: u64 = 1 << 30;

/// Called by `entry.s` at the image's link address, with the head's tables in force; `info` is the start information's
/// physical address.
pub(super) extern "C" fn start(info: u64) -> ! {
    let steps = Steps::new(cpu::time_stamp, metal::entry_ticks());
    steps.begin("image");
    CONSOLE.start();
    // SAFETY: this processor is the only one, and the table is the image's own; its stack for faults is nothing else's.
    let set_up = unsafe {
        cpu::fill_idt();
        cpu::set_up(cpu::FIRST, cpu::boot_fault_stack())
    };
    if !set_up {
        exit(Exit::BootFailed);
    }
    print(format_args!(
        "Pagewright {} for x86_64, loaded at {:#x}, start information at {info:#x}",
        env!("CARGO_PKG_VERSION"),
        image::_text()
    ));
    if !cpu::has_no_execute() {
        stop(Exit::BootFailed, format_args!("this processor cannot keep pages from being executed"));
    }
    let (kept, options) = match firmware::read(PhysAddr::new(info)) {
        Ok(read) => read,
        Err(why) => stop(why.exit(), format_args!("{why}")),
    };
    kept.acpi.log(&mut |text| line(&CONSOLE, text), &window::io_apic_version);
    let cpus = cpu::describe(kept.acpi.madt.enabled.max(1));
    let ram = match early_direct_map(kept, &cpus) {
        Ok(ram) => ram,
        Err(why) => stop(Exit::BootFailed, format_args!("{why}")),
    };
    if let Some(at) = missing_ram(&ram) {
        stop(Exit::BootFailed, format_args!("the memory map: there is no RAM at {at:#x}, where it says so"));
    }
    let machine = kept.machine(cpus);
    // The first tables that the boot fills lie behind the image.
    let tables = Places::of(&machine).decompressor.get() + (6 + u64::from(machine.cpus.la57)) * PAGE;
    let end = ram.ranges().iter().find(|r| r.contains(image::_text())).map(|r| r.end.get());
    match end {
        Some(end) if end < tables => {
            let short = tables - end;
            stop(Exit::BootFailed, format_args!("too little memory: the image is {short} bytes short"));
        }
        Some(_) => {}
        None => stop(Exit::BootFailed, format_args!("the image does not lie in RAM")),
    }
    boot(&machine, kept, &ram, &options, &steps)
}

/// Runs the boot sequence, up to the running page allocator.
fn boot(machine: &Machine<'_>, kept: &Kept, ram: &DirectMap, options: &Options<'_>, steps: &Steps) -> ! {
    let loaded = Cell::new(false);
    let hook = |event: TableEvent| {
        if let TableEvent::LoadCr3 { root } = event {
            // SAFETY: the tables map the image where it is, and all RAM where the head's tables have it.
            unsafe { tlb::load(root) };
            tlb::flush_here();
            loaded.set(true);
        }
    };
    let log = sequence::log(machine, steps, &hook);
    let mut boot = sequence::boot(machine, ram, &log, |_| {});
    if !loaded.get() {
        stop(Exit::BootFailed, format_args!("the boot built no tables"));
    }
    // What the command line cut off is no longer mapped.
    let mapped: ArrayVec<PhysRange, MAX_RANGES> = boot
        .mb
        .regions(pagewright_memblock::Set::Memory)
        .iter()
        .map(|r| PhysRange::from_len(r.base(), r.size()))
        .take(MAX_RANGES)
        .collect();
    // SAFETY: the tables that are loaded map memblock's memory there, which the boot does with every byte of it.
    let ram = unsafe { DirectMap::new(mapped, page_offset()) };
    let running = sequence::allocator(&mut boot, &ram, options, steps);
    tlb::flush_here();
    fault::set_ram(&ram);

    // SAFETY: what is masked are all interrupts that this image takes, and each processor has its number in a register of its own.
    let pages = unsafe { sequence::serve(&boot, running, ram.clone(), smp::PROCESSOR) };
    let [stack, faults] = [0, 1].map(|n| sequence::stack(&boot, &pages, n));
    // SAFETY: the stack was just made for this.
    if !unsafe { cpu::set_up(0, faults) } {
        exit(Exit::BootFailed);
    }
    cpu::load_idt(metal::idt(&boot));
    let kernel = Kernel { boot: &boot, pages: &pages, kept, options, steps };
    // SAFETY: the stack was just made and is this processor's alone.
    unsafe { sequence::go_on(stack, &kernel, on_own_stack) }
}

/// What goes on with the second stack.
struct Kernel<'k, 'a> {
    boot: &'k Boot<'a>,
    pages: &'k Pages,
    kept: &'k Kept,
    options: &'k Options<'k>,
    steps: &'k Steps,
}

/// Runs what the command line asks for, on a stack below which nothing is mapped.
extern "C" fn on_own_stack(kernel: &Kernel<'_, '_>) -> ! {
    let (boot, pages) = (kernel.boot, kernel.pages);
    // SAFETY: `pages` is on the first stack, which nobody leaves.
    let team = unsafe { smp::start_first(boot, pages) };
    let metal = X86::new(boot, pages.ram(), &kernel.kept.acpi.apic_ids, team);
    sequence::finish(&metal, boot, pages, kernel.options, kernel.steps)
}

/// Maps all RAM where the direct map will be, in the head's tables, which have the first 4 GiB: whoever builds tables reaches
/// them there, before and after the kernel's own direct map takes its place.
fn early_direct_map(kept: &Kept, cpus: &Cpus) -> Result<DirectMap, &'static str> {
    let mut banks: ArrayVec<PhysRange, MAX_RANGES> = ArrayVec::new();
    for bank in kept.ram() {
        if bank.end.get() > 1 << cpus.phys_bits.min(if cpus.la57 { 52 } else { 46 }) {
            return Err("the memory map: RAM where this processor has no addresses");
        }
        if banks.try_push(bank).is_err() {
            return Err("more banks of RAM than the image has room for");
        }
    }
    if banks.is_empty() {
        return Err("the firmware describes no memory");
    }
    // SAFETY: the head's tables map the image there.
    let image = unsafe { DirectMap::new([image::range()], START_KERNEL_MAP) };
    let mut early = EarlyTables::new(PhysRange::new(image::early_tables(), image::early_tables_end()));
    let config = X86Config { gigabyte_pages: cpus.gbpages, ..X86Config::default() };
    let head = KernelTables { memory: &image, root: image::head_root(), format: image::format(config) };
    for bank in banks.iter().filter(|b| b.end.get() > 4 * GIB) {
        let start = bank.start.max(PhysAddr::new(4 * GIB));
        let at = VirtAddr::new(page_offset() + start.get());
        let range = VirtRange::from_len(at, bank.end.get() - start.get());
        let mapped = head.with(|tree| tree.map(range, start, DATA, &MapOptions::default(), &mut early));
        mapped.map_err(|_| "RAM cannot be mapped: too few early tables, or banks that overlap")?;
    }
    // SAFETY: the ranges are mapped at this offset; the kernel's own direct map has the same addresses.
    Ok(unsafe { DirectMap::new(banks, page_offset()) })
}

/// The first place where the map has RAM and nothing keeps what is written: both ends of each range and every gigabyte
/// in between are tried. What is there stays.
fn missing_ram(ram: &DirectMap) -> Option<PhysAddr> {
    let keeps = |at: PhysAddr| {
        let Some(word) = ram.pointer(at, 8) else { return true };
        let word = word.cast::<u64>().as_ptr();
        // SAFETY: mapped, aligned, and nothing but this code runs: the word is put back before anybody looks.
        unsafe {
            let before = word.read_volatile();
            word.write_volatile(!before);
            let after = word.read_volatile();
            word.write_volatile(before);
            after == !before
        }
    };
    // The first megabyte belongs to the firmware.
    let ranges = ram.ranges().iter().filter(|r| r.start.get() >= 1 << 20);
    let mut places = ranges.flat_map(|r| {
        let inside = (r.start.get().next_multiple_of(GIB)..r.end.get()).step_by(GIB as usize);
        [r.start.get(), r.end.get() - 8].into_iter().chain(inside).map(PhysAddr::new)
    });
    places.find(|at| !keeps(*at))
}
