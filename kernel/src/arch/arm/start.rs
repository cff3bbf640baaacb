//! From the image's link address to the running page allocator.

use super::console::{self, CONSOLE, print};
use super::exit::{self, exit};
use super::image::{CONFIG, LOWMEM, LPAE, Loaded, SECTION_BYTES};
use super::metal::{self, Arm};
use super::{cp15, fault};
use arrayvec::ArrayVec;
use core::sync::atomic::Ordering;
use pagewright::pgtable::arm::MapType;
use pagewright::{Boot, Tables};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::devicetree::{DeviceTree, DtError};
use pagewright_firmware::{Cpus, Firmware, Machine};
use pagewright_kernel::bench::steps::Steps;
use pagewright_kernel::boot::{StartError, Stopped, initcalls, start_allocator};
use pagewright_kernel::carve::Carve;
use pagewright_kernel::console::Log;
use pagewright_kernel::direct_map::{DirectMap, MAX_RANGES};
use pagewright_kernel::exit::Exit;
use pagewright_kernel::options::{Inject, Options};
use pagewright_kernel::pages::Pages;
use pagewright_kernel::run::{closing, run, show};
use pagewright_kernel::stack::{io_range, map_stack};
use pagewright_kernel::take::Take;
use pagewright_kernel::workspace::{workspace, workspace_bytes};
use pagewright_kernel::{devices, inject, percpu};
use pagewright_memblock::Set;
use pagewright_pagetable::{MapOptions, NoTables, TableMemory};
use pagewright_view::log::LogOptions;

const PAGE: u64 = 4096;
/// The most bytes of a device tree: what two sections hold wherever in the first it begins.
const MAX_FDT_BYTES: u64 = 1 << 20;

const ROOM_WORDS: usize = workspace_bytes(&CONFIG).div_ceil(8) as usize;
static ROOM: Take<[u64; ROOM_WORDS]> = Take::new([0; ROOM_WORDS]);
static TABLES: Take<Tables> = Take::new(Tables::new());

unsafe extern "C" {
    fn on_stack(work: u32, argument: u32, top: u32) -> !;
}

/// Ends with a line that says why.
fn stop(how: Exit, why: core::fmt::Arguments<'_>) -> ! {
    print(format_args!("pagewright: {why}"));
    print(format_args!("{how}"));
    exit(how)
}

/// Called by `entry.s` at the image's link address, with the first tables in force: `LOWMEM` bytes from `memstart` on are mapped
/// where the linear map has them, RAM or not.
pub(super) extern "C" fn start(memstart: u32, fdt: u32) -> ! {
    let steps = Steps::new(metal::ticks, metal::entry_ticks());
    steps.begin("image");
    let image = Loaded::new(PhysAddr::new(memstart.into()));
    let low = PhysRange::from_len(image.memstart(), LOWMEM);
    // SAFETY: `entry.s` mapped all of it there; only what is known to be RAM, image and device tree, is looked at.
    let first = unsafe { DirectMap::new([low], image.virt_offset()) };
    let at = PhysAddr::new(fdt.into());
    // Without a tree there is no console to say so on.
    let Ok(tree) = device_tree(&first, at) else { exit(Exit::BootFailed) };
    exit::set_psci(devices::psci(&tree));
    let uart = devices::stdout(&tree, &console::COMPATIBLE);
    let total = tree.total_size();
    let inject = Options::parse(tree.chosen().bootargs.unwrap_or("")).ok().and_then(|o| o.inject);
    if let Some(uart) = uart {
        early_console(&image, &first, uart);
    }
    print(format_args!(
        "Pagewright {} for arm{}, loaded above {memstart:#x}, device tree at {fdt:#x}",
        env!("CARGO_PKG_VERSION"),
        if LPAE { " with long descriptors" } else { "" }
    ));
    if let (Some(inject), Some(blob)) = (inject, first.pointer(at, total)) {
        // SAFETY: the same bytes, which nobody else looks at: `tree` is not used from here on.
        let bytes = unsafe { core::slice::from_raw_parts_mut(blob.as_ptr(), total as usize) };
        match inject {
            Inject::Fdt => inject::damage_fdt(bytes),
            Inject::Map => inject::damage_memory(bytes),
            Inject::Acpi => stop(Exit::Usage, format_args!("inject=acpi: this image takes no ACPI tables")),
        }
    }
    let tree = match device_tree(&first, at) {
        Ok(tree) => tree,
        Err(e) => stop(Exit::BootFailed, format_args!("device tree: {e}")),
    };
    let ram = match low_memory(&image, &first, &tree) {
        Ok(ram) => ram,
        Err(why) => stop(Exit::BootFailed, format_args!("{why}")),
    };
    if ram.pointer(at, total).is_none() {
        stop(Exit::BootFailed, format_args!("the device tree at {fdt:#x} does not lie in low memory"));
    }
    let len = image.end().get() - image.memstart().get();
    if ram.pointer(image.memstart(), len).is_none() {
        stop(Exit::BootFailed, format_args!("the image does not lie in RAM"));
    }
    let options = match Options::parse(tree.chosen().bootargs.unwrap_or("")) {
        Ok(options) => options,
        Err(e) => stop(Exit::Usage, format_args!("{e}")),
    };
    let possible = tree.cpus().count().max(1) as u32;
    let boot_id = u64::from(cp15::mpidr() & 0xff_ffff);
    let cpus = Cpus { possible, boot_id: Some(boot_id), ..Cpus::default() };
    let firmware =
        Firmware::DeviceTree { tree, at: Some(at), memory: &[], efi: Default::default(), acpi: None };
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
    let (Some(room), Some(tables)) = (ROOM.take(), TABLES.take()) else { exit(Exit::BootFailed) };
    let Some(workspace) = workspace(&machine.config, &mut Carve::of(room), tables) else {
        stop(Exit::BootFailed, format_args!("the boot's workspace is too small"))
    };
    let params = machine.command_line().parse_for(&machine.config).0;
    // The tables are loaded when the boot has filled them.
    let log = Log::new(&CONSOLE, LogOptions::of(&params), steps, &|_| {});
    let mut boot = match Boot::new(machine, workspace, &log) {
        Ok(boot) => boot,
        Err(e) => stop(Exit::BootFailed, format_args!("the boot stopped: {e}")),
    };
    boot.set_table_memory(ram);
    if let Err(e) = boot.run() {
        stop(Exit::BootFailed, format_args!("the boot stopped: {}", Stopped::new(&boot, e)));
    }
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
    let mapped: ArrayVec<PhysRange, MAX_RANGES> =
        mapped.filter(|r| r.start < r.end).take(MAX_RANGES).collect();
    // SAFETY: the tables in force have these ranges there, and so have the boot's, which maps memblock's memory up to that
    // limit.
    let ram = &unsafe { DirectMap::new(mapped, image.virt_offset()) };
    steps.begin("hand_over");
    let mut running = match start_allocator(&mut boot, ram) {
        Ok(running) => running,
        Err(e @ StartError::Metadata { .. }) => {
            stop(Exit::BootFailed, format_args!("too little memory: {e}"))
        }
        Err(e) => stop(Exit::BootFailed, format_args!("{e}")),
    };
    initcalls(&mut boot, &mut running);
    steps.end();
    if let Err(how) = show(&CONSOLE, &boot, &running, options) {
        print(format_args!("{how}"));
        exit(how)
    }

    let pages = Pages::new(running, ram.clone(), machine.config.page_shift);
    let stack = match map_stack(&boot, &pages, 0) {
        Ok(stack) => stack,
        Err(e) => stop(Exit::BootFailed, format_args!("{e}")),
    };
    let window = uart.and_then(|uart| late_console(&boot, &pages, uart));
    // SAFETY: the boot's tables have the image and low memory where the first ones have them. The device tree lies in low memory.
    unsafe { cp15::load(tables.root) };
    if let Some(at) = window {
        // SAFETY: `late_console` has mapped the registers' page there as device memory, for good.
        unsafe { CONSOLE.at(at) };
    }
    fault::set_ram(ram);
    let kernel = Kernel { boot: &boot, pages: &pages, image, root: tables.root, options, steps };
    let work: extern "C" fn(&Kernel<'_, '_>) -> ! = on_own_stack;
    // SAFETY: the stack was just made and is this processor's alone; what `kernel` refers to is on the first stack, to which
    // nobody returns.
    unsafe { on_stack(work as *const () as u32, &raw const kernel as u32, (stack.last().get() + 1) as u32) }
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
    let local = percpu::make(kernel.boot, kernel.pages.ram(), 0);
    if let Some(local) = local {
        local.arrive(0);
    }
    let metal = Arm::new(kernel.image, kernel.root, local);
    let how = run(&metal, kernel.boot, kernel.pages, kernel.options, kernel.steps);
    closing(&metal, how);
    exit(how)
}

/// The device tree at a physical address.
fn device_tree(memory: &DirectMap, at: PhysAddr) -> Result<DeviceTree<'static>, DtError> {
    // A header is 40 bytes.
    let Some(first) = memory.pointer(at, 40).filter(|_| at.is_aligned(4)) else {
        return DeviceTree::parse(&[]);
    };
    // SAFETY: it is mapped, as is all low memory, and nobody writes it while the tree is in use.
    let header = unsafe { core::slice::from_raw_parts(first.as_ptr(), 40) };
    // totalsize, the second cell.
    let total = header.get(4..8).and_then(|c| c.try_into().ok()).map_or(0, u32::from_be_bytes);
    let total = u64::from(total).min(MAX_FDT_BYTES);
    let Some(first) = memory.pointer(at, total) else { return DeviceTree::parse(&[]) };
    // SAFETY: the same.
    DeviceTree::parse(unsafe { core::slice::from_raw_parts(first.as_ptr(), total as usize) })
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
    let tables = metal::device_tables(boot.pgtable?.root, pages.ram());
    let at = io_range(boot, 0).ok()?.start;
    let page = uart.start.align_down(PAGE);
    let attr = MapType::Device.attr(&tables.format, true);
    let range = VirtRange::from_len(at, PAGE);
    let mapped = tables.with(|tree| tree.map(range, page, attr, &MapOptions::PAGES, &mut pages.tables()));
    mapped.ok()?;
    at.checked_add(uart.start.get() - page.get())
}

/// RAM that the first tables have; what is none is no longer mapped.
fn low_memory(image: &Loaded, first: &DirectMap, tree: &DeviceTree<'_>) -> Result<DirectMap, &'static str> {
    let low = PhysRange::from_len(image.memstart(), LOWMEM);
    let mut banks: ArrayVec<PhysRange, MAX_RANGES> = ArrayVec::new();
    let mut any = false;
    for bank in tree.memory_banks().map(|b| b.range) {
        any = true;
        let start = bank.start.align_up(PAGE).max(low.start);
        let end = bank.end.align_down(PAGE).min(low.end);
        if start < end && banks.try_push(PhysRange::new(start, end)).is_err() {
            return Err("more banks of RAM than the image has room for");
        }
    }
    if !any {
        return Err("the firmware describes no memory");
    }
    let held = |at: PhysAddr| {
        let end = at.saturating_add(SECTION_BYTES);
        banks.iter().any(|b| b.start < end && at < b.end)
    };
    if !held(image.memstart()) || !held(image.end().saturating_sub(1).align_down(SECTION_BYTES)) {
        return Err("the firmware describes no memory where the image is");
    }
    let root = image.early_pg_dir();
    let page_offset = image.memstart().get().wrapping_add(image.virt_offset());
    for n in 0..LOWMEM / SECTION_BYTES {
        if held(image.memstart().saturating_add(n * SECTION_BYTES)) {
            continue;
        }
        let index = page_offset / SECTION_BYTES + n;
        if LPAE {
            if let Some(entry) = first.word64(root.saturating_add(PAGE + index * 8)) {
                entry.store(0, Ordering::Relaxed);
            }
        } else if let Some(entry) = first.word32(root.saturating_add(index * 4)) {
            entry.store(0, Ordering::Relaxed);
        }
    }
    cp15::flush_all();
    // SAFETY: the ranges are mapped at this offset; the kernel's own linear map has the same addresses, which `boot` checks.
    Ok(unsafe { DirectMap::new(banks, image.virt_offset()) })
}
