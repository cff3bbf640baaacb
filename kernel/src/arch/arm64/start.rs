//! From the image's link address to the running page allocator.

use super::console::{self, CONSOLE, print};
use super::exit::{self, exit};
use super::fault;
use super::head::Left;
use super::image::Loaded;
use super::metal::{self, Arm64, high_format};
use super::smp;
use super::tlb;
use arrayvec::ArrayVec;
use core::cell::Cell;
use pagewright::pgtable::arm64::head::Head;
use pagewright::pgtable::{KernelTables, TableEvent};
use pagewright::{Boot, Tables};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::devicetree::{DeviceTree, DtError};
use pagewright_firmware::{Cpus, Firmware, Machine};
use pagewright_kernel::bench::steps::Steps;
use pagewright_kernel::boot::{StartError, Stopped, initcalls, start_allocator};
use pagewright_kernel::carve::Carve;
use pagewright_kernel::console::Log;
use pagewright_kernel::devices;
use pagewright_kernel::direct_map::{DirectMap, MAX_RANGES};
use pagewright_kernel::exit::Exit;
use pagewright_kernel::inject;
use pagewright_kernel::options::{Inject, Options};
use pagewright_kernel::pages::Pages;
use pagewright_kernel::run::{closing, run, show};
use pagewright_kernel::stack::map_stack;
use pagewright_kernel::take::Take;
use pagewright_kernel::workspace::{workspace, workspace_bytes};
use pagewright_kspace::{Facts, Fixmap, Slot};
use pagewright_pagetable::{Attr, AttrFlags, MapOptions, MemoryType, NoTables, TableSource};
use pagewright_view::log::LogOptions;

/// Data that the kernel alone reads and writes.
const DATA: Attr = Attr::normal(
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::GLOBAL).union(AttrFlags::ACCESSED),
);
/// A device's registers.
pub(super) const DEVICE: Attr = DATA.with_memory(MemoryType::Device);
const PAGE: u64 = 4096;

const ROOM_WORDS: usize = workspace_bytes(&super::image::CONFIG).div_ceil(8) as usize;
static ROOM: Take<[u64; ROOM_WORDS]> = Take::new([0; ROOM_WORDS]);
static TABLES: Take<Tables> = Take::new(Tables::new());

unsafe extern "C" {
    fn replace_ttbr1();
    fn on_stack(work: u64, argument: u64, top: u64) -> !;
}

/// Pages of the image for early tables, from the first on.
struct EarlyTables {
    left: PhysRange,
}

impl TableSource for EarlyTables {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        let page = self.left.start;
        let next = page.checked_add(PAGE).filter(|next| *next <= self.left.end)?;
        self.left.start = next;
        Some(page)
    }

    // What a refused mapping gives back is not needed again: the boot ends.
    fn free_table(&mut self, _: PhysAddr) {}
}

/// Ends with a line that says why.
fn stop(how: Exit, why: core::fmt::Arguments<'_>) -> ! {
    print(format_args!("pagewright: {why}"));
    print(format_args!("{how}"));
    exit(how)
}

/// Called by `entry.s` at the image's link address, with the head's tables in force.
pub(super) extern "C" fn start(load: u64, fdt: u64, left: &'static Left) -> ! {
    let steps = Steps::new(metal::ticks, metal::entry_ticks());
    steps.begin("image");
    let image = Loaded::new(PhysAddr::new(load));
    // SAFETY: the head mapped the whole image at its link address, to be read and written.
    let image_memory = unsafe { DirectMap::new([image.range()], image.virt_offset()) };
    let Some(head) = left.head(&image_memory) else { exit(Exit::BootFailed) };
    let mut early = EarlyTables { left: image.early_tables() };

    // Without a tree there is no console to say so on.
    let Ok(tree) = device_tree(head.fdt_virt) else { exit(Exit::BootFailed) };
    exit::set_psci(devices::psci(&tree));
    let uart = devices::stdout(&tree, &console::COMPATIBLE);
    let total = tree.total_size();
    let inject = Options::parse(tree.chosen().bootargs.unwrap_or("")).ok().and_then(|o| o.inject);
    if let Some(uart) = uart {
        early_console(&head, uart, &mut early);
    }
    print(format_args!(
        "Pagewright {} for arm64, loaded at {load:#x}, device tree at {fdt:#x}",
        env!("CARGO_PKG_VERSION")
    ));

    if let (Some(inject), Some(at)) = (inject, head.fdt_virt) {
        let first = core::ptr::with_exposed_provenance_mut::<u8>(at.get() as usize);
        // SAFETY: the same bytes, which nobody else looks at: neither `blob` nor `tree` is used from here on.
        let bytes = unsafe { core::slice::from_raw_parts_mut(first, total as usize) };
        match inject {
            Inject::Fdt => inject::damage_fdt(bytes),
            Inject::Map => inject::damage_memory(bytes),
            Inject::Acpi => stop(Exit::Usage, format_args!("inject=acpi: this image takes no ACPI tables")),
        }
    }
    let tree = match device_tree(head.fdt_virt) {
        Ok(tree) => tree,
        Err(e) => stop(Exit::BootFailed, format_args!("device tree: {e}")),
    };
    let ram = match early_linear_map(&head, &tree, &mut early) {
        Ok(ram) => ram,
        Err(why) => stop(Exit::BootFailed, format_args!("{why}")),
    };
    // The tree again, where it stays when the head's identity map goes.
    let at = PhysAddr::new(fdt);
    let Some(blob) = ram.pointer(at, tree.total_size()) else {
        stop(Exit::BootFailed, format_args!("the device tree at {fdt:#x} does not lie in RAM"))
    };
    // SAFETY: RAM that the boot loader filled and the boot reserves; nobody writes it.
    let blob = unsafe { core::slice::from_raw_parts(blob.as_ptr(), tree.total_size() as usize) };
    let tree = match DeviceTree::parse(blob) {
        Ok(tree) => tree,
        Err(e) => stop(Exit::BootFailed, format_args!("device tree: {e}")),
    };
    let cmdline = tree.chosen().bootargs.unwrap_or("");
    let options = match Options::parse(cmdline) {
        Ok(options) => options,
        Err(e) => stop(Exit::Usage, format_args!("{e}")),
    };
    let possible = tree.cpus().count().max(1) as u32;
    let cpus =
        Cpus { possible, phys_bits: phys_bits(), boot_id: Some(smp::hardware_id()), ..Cpus::default() };
    let firmware =
        Firmware::DeviceTree { tree, at: Some(at), memory: &[], efi: Default::default(), acpi: None };
    let machine = image.machine(firmware, cpus);
    boot(&image, &machine, left, &ram, uart, &options, &steps)
}

/// Runs the boot sequence, up to the running page allocator.
fn boot(
    image: &Loaded,
    machine: &Machine<'_>,
    left: &Left,
    ram: &DirectMap,
    uart: Option<PhysRange>,
    options: &Options<'_>,
    steps: &Steps,
) -> ! {
    let (Some(room), Some(tables)) = (ROOM.take(), TABLES.take()) else { exit(Exit::BootFailed) };
    let Some(workspace) = workspace(&machine.config, &mut Carve::of(room), tables) else {
        stop(Exit::BootFailed, format_args!("the boot's workspace is too small"))
    };
    let replaced = Cell::new(false);
    let hook = |event: TableEvent| {
        if let TableEvent::ReplaceTtbr1 { new, .. } = event {
            replace(image, new);
            keep_device_tree(machine, ram, new, image);
            replaced.set(true);
        }
    };
    let params = machine.command_line().parse_for(&machine.config).0;
    let log = Log::new(&CONSOLE, LogOptions::of(&params), steps, &hook);
    let mut boot = match Boot::new(machine, workspace, &log) {
        Ok(boot) => boot,
        Err(e) => stop(Exit::BootFailed, format_args!("the boot stopped: {e}")),
    };
    boot.set_table_memory(ram);
    if let Some(head) = left.head(ram) {
        boot.set_arm64_head(head);
    }
    if let Err(e) = boot.run() {
        stop(Exit::BootFailed, format_args!("the boot stopped: {}", Stopped::new(&boot, e)));
    }
    if !replaced.get() || ram.virt(boot.memstart) != VirtAddr::new(PAGE_OFFSET) {
        stop(Exit::BootFailed, format_args!("the linear map is not where the head put it"));
    }
    if let Some(uart) = uart {
        late_console(&boot, uart);
    }
    // SAFETY: what the identity map was used for, the device tree and the console, is reached through the kernel's half.
    unsafe { tlb::set_ttbr0(image.reserved_pg_dir().get()) };
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
    tlb::flush_all();
    fault::set_ram(ram);

    let pages = Pages::new(running, ram.clone(), machine.config.page_shift);
    let pages = pages.masking(smp::mask, smp::restore);
    let stack = match map_stack(&boot, &pages, 0) {
        Ok(stack) => stack,
        Err(e) => stop(Exit::BootFailed, format_args!("{e}")),
    };
    tlb::publish();
    let kernel = Kernel { boot: &boot, pages: &pages, image, options, steps };
    let work: extern "C" fn(&Kernel<'_, '_>) -> ! = on_own_stack;
    // SAFETY: the stack was just made and is this processor's alone; what `kernel` refers to is on the first stack, to which
    // nobody returns.
    unsafe { on_stack(work as *const () as u64, &raw const kernel as u64, stack.last().get() + 1) }
}

/// What goes on with the second stack.
struct Kernel<'k, 'a> {
    boot: &'k Boot<'a>,
    pages: &'k Pages,
    image: &'k Loaded,
    options: &'k Options<'k>,
    steps: &'k Steps,
}

/// Runs what the command line asks for, on a stack below which nothing is mapped.
extern "C" fn on_own_stack(kernel: &Kernel<'_, '_>) -> ! {
    let locals = match &kernel.boot.machine.firmware {
        // SAFETY: `pages` is on the first stack, which nobody leaves.
        Firmware::DeviceTree { tree, .. } => unsafe {
            smp::start_all(kernel.boot, kernel.pages, kernel.image, tree)
        },
        _ => Default::default(),
    };
    let metal = Arm64::new(kernel.image, kernel.pages.ram(), locals);
    let how = run(&metal, kernel.boot, kernel.pages, kernel.options, kernel.steps);
    closing(&metal, how);
    exit(how)
}

/// Where the linear map begins: the kernel's half.
const PAGE_OFFSET: u64 = 0u64.wrapping_sub(1 << 48);

/// The device tree in the identity map.
fn device_tree(at: Option<VirtAddr>) -> Result<DeviceTree<'static>, DtError> {
    let first =
        at.map_or(core::ptr::null(), |at| core::ptr::with_exposed_provenance::<u8>(at.get() as usize));
    if first.is_null() {
        return DeviceTree::parse(&[]);
    }
    // SAFETY: the head mapped 2 MiB from there on; nobody writes them while the tree is in use. A header is 40 bytes.
    let header = unsafe { core::slice::from_raw_parts(first, 40) };
    // totalsize, the second cell.
    let total = header.get(4..8).and_then(|c| c.try_into().ok()).map_or(0, u32::from_be_bytes);
    let total = u64::from(total).min(pagewright::pgtable::arm64::head::MAX_FDT_SIZE);
    // SAFETY: the same, and no more than was mapped.
    DeviceTree::parse(unsafe { core::slice::from_raw_parts(first, total as usize) })
}

/// Maps the console's page one to one, in the identity map.
fn early_console(head: &Head<'_>, uart: PhysRange, early: &mut EarlyTables) {
    let page = uart.start.align_down(PAGE);
    let range = VirtRange::from_len(VirtAddr::new(page.get()), PAGE);
    let mapped = head.idmap.with(|tree| tree.map(range, page, DEVICE, &MapOptions::PAGES, early));
    tlb::publish();
    if mapped.is_ok() {
        // SAFETY: the registers' page has just been mapped as device memory; the other console's mapping comes with another call.
        unsafe { CONSOLE.at(VirtAddr::new(uart.start.get())) };
    }
}

/// Maps the console at its fixed address and uses it there.
fn late_console(boot: &Boot<'_>, uart: PhysRange) {
    let Some(tables) = boot.pgtable else { return };
    let Some(at) = Fixmap::of(&Facts::of(boot.machine, &boot.params))
        .ok()
        .and_then(|fixmap| fixmap.address(Slot::EarlyconMemBase))
    else {
        return;
    };
    let page = uart.start.align_down(PAGE);
    let mapped = tables.with(|tree| {
        tree.map(VirtRange::from_len(at, PAGE), page, DEVICE, &MapOptions::PAGES, &mut NoTables)
    });
    tlb::publish();
    // `earlycon=` may have mapped the same page there.
    let there = boot.params.earlycon.is_some_and(|at| at.align_down(PAGE) == page);
    if mapped.is_ok() || there {
        // SAFETY: as for the early console; this mapping stays.
        unsafe { CONSOLE.at(VirtAddr::new(at.get() + (uart.start.get() - page.get()))) };
    }
}

/// Maps all RAM where the linear map will be, in the head's tables: whoever builds tables reaches them there, before and
/// after the kernel's own linear map takes its place.
fn early_linear_map(
    head: &Head<'_>,
    tree: &DeviceTree<'_>,
    early: &mut EarlyTables,
) -> Result<DirectMap, &'static str> {
    // What one entry above blocks of 2 MiB covers (ARM64_MEMSTART_ALIGN).
    const ALIGN: u64 = 1 << 30;
    let mut banks: ArrayVec<PhysRange, MAX_RANGES> = ArrayVec::new();
    for bank in tree.memory_banks().map(|b| b.range) {
        let whole = PhysRange::new(bank.start.align_up(PAGE), bank.end.align_down(PAGE));
        if whole.start < whole.end && banks.try_push(whole).is_err() {
            return Err("more banks of RAM than the image has room for");
        }
    }
    let Some(first) = banks.iter().map(|b| b.start).min() else {
        return Err("the firmware describes no memory");
    };
    let offset = PAGE_OFFSET.wrapping_sub(first.align_down(ALIGN).get());
    let virt = |at: PhysAddr| VirtAddr::new(at.get().wrapping_add(offset));
    for bank in &banks {
        let range = VirtRange::from_len(virt(bank.start), bank.len());
        let mapped =
            head.kernel.with(|tree| tree.map(range, bank.start, DATA, &MapOptions::default(), early));
        mapped.map_err(|_| "RAM cannot be mapped: too few early tables, or banks that overlap")?;
    }
    tlb::publish();
    // SAFETY: the ranges have just been mapped at this offset; the kernel's own linear map has the same addresses, which
    // `boot` checks.
    Ok(unsafe { DirectMap::new(banks, offset) })
}

/// Maps the device tree where it was mapped before, if `mem=` has left it out of the linear map: the boot reads on in it.
fn keep_device_tree(machine: &Machine<'_>, ram: &DirectMap, root: PhysAddr, image: &Loaded) {
    let Firmware::DeviceTree { tree, at: Some(at), .. } = &machine.firmware else { return };
    let Some(format) = high_format() else { return };
    let tables = KernelTables { memory: ram, root, format };
    let (first, end) = (at.align_down(PAGE), at.saturating_add(tree.total_size()).align_up(PAGE));
    // These stay: they are not among what is freed with the init sections.
    let mut source = EarlyTables { left: image.kept_tables() };
    tables.with(|tree| {
        let mut page = first;
        while page < end {
            let virt = ram.virt(page);
            if tree.leaf(virt).is_err() {
                // Without a table for it the next read faults, and is reported.
                let range = VirtRange::from_len(virt, PAGE);
                let _ = tree.map(range, page, DATA, &MapOptions::PAGES, &mut source);
            }
            page = page.saturating_add(PAGE);
        }
    });
    tlb::publish();
}

/// Loads TTBR1, from the identity map.
fn replace(image: &Loaded, new: PhysAddr) {
    let code = (replace_ttbr1 as *const () as u64).wrapping_sub(image.virt_offset());
    // SAFETY: the identity map has the image's code at its physical address.
    let code: extern "C" fn(u64, u64) = unsafe { core::mem::transmute(code as usize) };
    tlb::publish();
    // The new tree maps the image and the linear map where the old one does; the console is in the lower half.
    code(new.get(), image.reserved_pg_dir().get());
}

/// Physical address bits that the processor has.
fn phys_bits() -> u8 {
    use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, Readable};
    match ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::PARange) {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ => 52,
    }
}
