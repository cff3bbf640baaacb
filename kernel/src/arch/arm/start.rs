//! From the image's link address to the running page allocator.

use super::console::{self, CONSOLE};
use super::end::{print, stop};
use super::exit;
use super::image::{LOWMEM, LPAE, Loaded, SECTION_BYTES};
use super::metal::{self, Arm};
use super::tree::{self, Banks};
use super::{clock, cp15, secondary, sequence, smp};
use core::fmt;
use core::sync::atomic::Ordering;
use pagewright::Boot;
use pagewright::pgtable::arm::{FDT_FIXED_BASE, MapType};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::Machine;
use pagewright_firmware::devicetree::{DeviceTree, DtError};
use pagewright_kernel::bench::steps::Steps;
use pagewright_kernel::direct_map::{DirectMap, MAX_RANGES};
use pagewright_kernel::exit::Exit;
use pagewright_kernel::options::Options;
use pagewright_kernel::pages::Pages;
use pagewright_kernel::{devices, fault};
use pagewright_memblock::Set;
use pagewright_pagetable::{MapOptions, NoTables, TableMemory};

const PAGE: u64 = 4096;
/// The most bytes of a device tree: what two sections hold wherever in the first it begins.
const MAX_FDT_BYTES: u64 = 1 << 20;

/// Called by `entry.s` at the image's link address, with the first tables in force: `LOWMEM` bytes from `memstart` on are mapped
/// where the linear map has them, RAM or not.
pub(super) extern "C" fn start(memstart: u32, fdt: u32) -> ! {
    let steps = Steps::new(clock::ticks, clock::entry_ticks());
    steps.begin("image");
    let image = Loaded::new(PhysAddr::new(memstart.into()));
    let low = PhysRange::from_len(image.memstart(), LOWMEM);
    // SAFETY: `entry.s` mapped all of it there; only what is known to be RAM, image and device tree, is looked at.
    let first = unsafe { DirectMap::new([low], image.virt_offset()) };
    let at = PhysAddr::new(fdt.into());
    // A loader that does not know how much the image takes may put the tree where bss is, which was zeroed.
    if PhysRange::new(image.start(), image.end()).contains(at) {
        let short = image.end().get() - at.get();
        stop(
            Exit::BootFailed,
            format_args!(
                "the device tree at {fdt:#x} lies in the image: too little memory, {short} bytes short"
            ),
        );
    }
    let window = tree_window(&image, &first, at);
    // Without a tree there is no console to say so on but semihosting's.
    let tree = tree::usable(at, device_tree(&window, at));
    exit::set_psci(devices::psci(&tree));
    let uart = devices::stdout(&tree, &console::COMPATIBLE);
    if let Some(uart) = uart {
        early_console(&image, &first, uart);
    }
    print(format_args!(
        "Pagewright {} for arm{}, loaded above {memstart:#x}, device tree at {fdt:#x}",
        env!("CARGO_PKG_VERSION"),
        if LPAE { " with long descriptors" } else { "" }
    ));
    let (total, inject) = (tree.total_size(), tree::injected(&tree));
    // SAFETY: the bytes are mapped; nobody looks at `tree` from here on.
    unsafe { tree::damage(inject, window.pointer(at, total), total) };
    let tree = tree::usable(at, device_tree(&window, at));
    let ram = match low_memory(&image, &first, &tree) {
        Ok(ram) => ram,
        Err(why) => stop(Exit::BootFailed, format_args!("{why}")),
    };
    if let Err(why) = in_memory(&tree, PhysRange::from_len(at, total)) {
        stop(Exit::BootFailed, format_args!("the device tree at {fdt:#x} does not lie in RAM{why}"));
    }
    let len = image.end().get() - image.memstart().get();
    if ram.pointer(image.memstart(), len).is_none() {
        stop(Exit::BootFailed, format_args!("the image does not lie in RAM"));
    }
    let options = tree::options(&tree);
    let (firmware, cpus) = tree::firmware(tree, at);
    let machine = image.machine(firmware, cpus);
    boot(&image, &machine, &ram, uart, &options, &steps)
}

/// Runs the boot sequence, up to the running page allocator.
fn boot(
    image: &Loaded,
    machine: &Machine<'_>,
    ram: &DirectMap,
    uart: Option<PhysRange>,
    options: &Options<'_>,
    steps: &Steps,
) -> ! {
    // The tables are loaded when the boot has filled them.
    let log = sequence::log(machine, steps, &|_| {});
    let mut boot = sequence::boot(machine, ram, &log, |_| {});
    let Some(tables) = boot.pgtable else {
        stop(Exit::BootFailed, format_args!("the boot built no tables"));
    };
    if boot.memstart != image.memstart() {
        stop(Exit::BootFailed, format_args!("the linear map is not where the head put it"));
    }
    // What is mapped permanently, and was before.
    let limit = boot.high_memory;
    let mapped = boot.mb.regions(Set::Memory).iter().flat_map(|r| {
        let low = PhysRange::new(r.base(), r.base().saturating_add(r.size()).min(limit));
        ram.ranges().iter().map(move |bank| PhysRange::new(low.start.max(bank.start), low.end.min(bank.end)))
    });
    let mapped: Banks = mapped.filter(|r| r.start < r.end).take(MAX_RANGES).collect();
    // SAFETY: the tables in force have these ranges there, and so have the boot's, which maps memblock's memory up to that
    // limit.
    let ram = &unsafe { DirectMap::new(mapped, image.virt_offset()) };
    let running = sequence::allocator(&mut boot, ram, options, steps);

    // SAFETY: what is masked are all interrupts that this image takes, and each processor has its number in a register of its own.
    let pages = unsafe { sequence::serve(&boot, running, ram.clone(), smp::PROCESSOR) };
    let stack = sequence::stack(&boot, &pages, 0);
    let window = uart.and_then(|uart| late_console(&boot, &pages, uart));
    // SAFETY: the boot's tables have the image and low memory where the first ones have them. The device tree lies in low memory.
    unsafe { cp15::load(tables.root) };
    if let Some(at) = window {
        // SAFETY: `late_console` has mapped the registers' page there as device memory, for good.
        unsafe { CONSOLE.at(at) };
    }
    fault::set_ram(ram);
    let kernel = Kernel { boot: &boot, pages: &pages, image, root: tables.root, options, steps };
    // SAFETY: the stack was just made and is this processor's alone.
    unsafe { sequence::go_on(stack, &kernel, on_own_stack) }
}

/// What goes on with the second stack.
struct Kernel<'k, 'a> {
    boot: &'k Boot<'a>,
    pages: &'k Pages,
    image: &'k Loaded,
    root: PhysAddr,
    options: &'k Options<'k>,
    steps: &'k Steps,
}

/// Runs what the command line asks for, on a stack below which nothing is mapped.
extern "C" fn on_own_stack(kernel: &Kernel<'_, '_>) -> ! {
    let (boot, pages, image) = (kernel.boot, kernel.pages, kernel.image);
    secondary::set_first(image);
    // SAFETY: `pages` is on the first stack, which nobody leaves.
    let team = unsafe { smp::start_first(boot, pages) };
    sequence::finish(&Arm::new(image, kernel.root, team), boot, pages, kernel.options, kernel.steps)
}

/// Maps the two sections that the device tree begins in where the kernel's own tables will have them (FDT_FIXED_BASE), in the first
/// tables: whatever becomes of the memory that it lies in, the tree can be read there from now on.
fn tree_window(image: &Loaded, first: &DirectMap, at: PhysAddr) -> DirectMap {
    let sections = PhysRange::from_len(at.align_down(SECTION_BYTES), 2 * SECTION_BYTES);
    for n in 0..2 {
        let word = (sections.start.get() + n * SECTION_BYTES) | u64::from(super::SECTION);
        set_entry(image, first, FDT_FIXED_BASE / SECTION_BYTES + n, word);
    }
    cp15::publish();
    // SAFETY: they have just been mapped at this offset; the boot's tables have them at the same addresses.
    unsafe { DirectMap::new([sections], FDT_FIXED_BASE.wrapping_sub(sections.start.get())) }
}

/// Writes the first tables' entry for the `index`th section of addresses.
fn set_entry(image: &Loaded, first: &DirectMap, index: u64, word: u64) {
    let root = image.early_pg_dir();
    if LPAE {
        if let Some(entry) = first.word64(root.saturating_add(PAGE + index * 8)) {
            entry.store(word, Ordering::Relaxed);
        }
    } else if let Some(entry) = first.word32(root.saturating_add(index * 4)) {
        entry.store(word as u32, Ordering::Relaxed);
    }
}

/// How much of the device tree is not in RAM.
struct Outside(u64);

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            short => write!(f, ": too little memory, {short} bytes short"),
        }
    }
}

/// Whether the device tree lies in the memory that it describes.
fn in_memory(tree: &DeviceTree<'_>, bytes: PhysRange) -> Result<(), Outside> {
    let bank = tree.memory_banks().map(|b| b.range).find(|b| b.contains(bytes.start));
    match bank {
        Some(bank) if bytes.end <= bank.end => Ok(()),
        bank => Err(Outside(bank.map_or(0, |bank| bytes.end.get() - bank.end.get()))),
    }
}

/// The device tree at a physical address.
fn device_tree(memory: &DirectMap, at: PhysAddr) -> Result<DeviceTree<'static>, DtError> {
    // SAFETY: `tree_window` mapped it, and nobody writes the tree's memory while it is in use.
    unsafe { tree::parse(MAX_FDT_BYTES, |len| memory.pointer(at, len).filter(|_| at.is_aligned(4))) }
}

/// Maps the 2 MiB around the console one to one, below the kernel's addresses, in the first tables.
fn early_console(image: &Loaded, memory: &DirectMap, uart: PhysRange) {
    const BLOCK: u64 = 2 << 20;
    let block = uart.start.align_down(BLOCK);
    let range = VirtRange::from_len(VirtAddr::new(block.get()), BLOCK);
    let tables = metal::device_tables(image.early_pg_dir(), memory);
    let attr = MapType::Device.attr(&tables.format, true);
    let mapped = tables.with(|tree| tree.map(range, block, attr, &MapOptions::default(), &mut NoTables));
    cp15::publish();
    if mapped.is_ok() {
        // SAFETY: the registers' block has just been mapped as device memory; the other mapping comes with another call.
        unsafe { CONSOLE.at(VirtAddr::new(uart.start.get())) };
    }
}

/// Maps the console's page in the boot's tables. Returns where the registers will be.
fn late_console(boot: &Boot<'_>, pages: &Pages, uart: PhysRange) -> Option<VirtAddr> {
    let page = PhysRange::from_len(uart.start.align_down(PAGE), PAGE);
    let window = smp::map_registers(boot, pages, 0, page)?;
    window.start.checked_add(uart.start.get() - page.start.get())
}

/// RAM that the first tables have; what is none is no longer mapped.
fn low_memory(image: &Loaded, first: &DirectMap, tree: &DeviceTree<'_>) -> Result<DirectMap, &'static str> {
    let low = PhysRange::from_len(image.memstart(), LOWMEM);
    let banks = tree::banks(tree)?.into_iter();
    let banks = banks.map(|b| PhysRange::new(b.start.max(low.start), b.end.min(low.end)));
    let banks: Banks = banks.filter(|b| b.start < b.end).collect();
    let held = |at: PhysAddr| {
        let end = at.saturating_add(SECTION_BYTES);
        banks.iter().any(|b| b.start < end && at < b.end)
    };
    if !held(image.memstart()) || !held(image.end().saturating_sub(1).align_down(SECTION_BYTES)) {
        return Err("the firmware describes no memory where the image is");
    }
    let page_offset = image.memstart().get().wrapping_add(image.virt_offset());
    for n in 0..LOWMEM / SECTION_BYTES {
        if !held(image.memstart().saturating_add(n * SECTION_BYTES)) {
            set_entry(image, first, page_offset / SECTION_BYTES + n, 0);
        }
    }
    cp15::flush_all();
    // SAFETY: the ranges are mapped at this offset; the kernel's own linear map has the same addresses, which `boot` checks.
    Ok(unsafe { DirectMap::new(banks, image.virt_offset()) })
}
