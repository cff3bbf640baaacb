//! From the image's link address to the running page allocator.

use super::console::{self, CONSOLE};
use super::end::{print, stop};
use super::exit::{self, exit};
use super::head::Left;
use super::image::Loaded;
use super::metal::{Arm64, high_format};
use super::{clock, cpu};
use super::{secondary, sequence, smp, tlb, tree};
use core::cell::Cell;
use core::ptr::NonNull;
use pagewright::Boot;
use pagewright::pgtable::arm64::head::{Head, MAX_FDT_SIZE};
use pagewright::pgtable::{KernelTables, TableEvent};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::devicetree::{DeviceTree, DtError};
use pagewright_firmware::{Cpus, Firmware, Machine};
use pagewright_kernel::bench::steps::Steps;
use pagewright_kernel::direct_map::DirectMap;
use pagewright_kernel::early_tables::EarlyTables;
use pagewright_kernel::exit::Exit;
use pagewright_kernel::options::Options;
use pagewright_kernel::pages::Pages;
use pagewright_kernel::{devices, fault};
use pagewright_kspace::{Facts, Fixmap, Slot};
use pagewright_pagetable::{Attr, AttrFlags, MapOptions, MemoryType, NoTables};

/// Data that the kernel alone reads and writes.
const DATA: Attr = Attr::normal(
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::GLOBAL).union(AttrFlags::ACCESSED),
);
/// A device's registers.
pub(super) const DEVICE: Attr = DATA.with_memory(MemoryType::Device);
const PAGE: u64 = 4096;

unsafe extern "C" {
    fn replace_ttbr1();
}

/// Called by `entry.s` at the image's link address, with the head's tables in force.
pub(super) extern "C" fn start(load: u64, fdt: u64, left: &'static Left) -> ! {
    let steps = Steps::new(clock::ticks, clock::entry_ticks());
    steps.begin("image");
    let image = Loaded::new(PhysAddr::new(load));
    // SAFETY: the head mapped the whole image at its link address, to be read and written.
    let image_memory = unsafe { DirectMap::new([image.range()], image.virt_offset()) };
    let Some(head) = left.head(&image_memory) else { exit(Exit::BootFailed) };
    let mut early = EarlyTables::new(image.early_tables());

    // Without a tree there is no console to say so on but semihosting's.
    let first = tree::usable(PhysAddr::new(fdt), device_tree(head.fdt_virt));
    exit::set_psci(devices::psci(&first));
    let uart = devices::stdout(&first, &console::COMPATIBLE);
    if let Some(uart) = uart {
        early_console(&head, uart, &mut early);
    }
    print(format_args!(
        "Pagewright {} for arm64, loaded at {load:#x}, device tree at {fdt:#x}",
        env!("CARGO_PKG_VERSION")
    ));
    let (total, inject) = (first.total_size(), tree::injected(&first));
    // SAFETY: the head mapped its bytes there; nobody looks at `first` from here on.
    unsafe { tree::damage(inject, pointer(head.fdt_virt), total) };
    let first = tree::usable(PhysAddr::new(fdt), device_tree(head.fdt_virt));
    let ram = match early_linear_map(&head, &first, &mut early) {
        Ok(ram) => ram,
        Err(why) => stop(Exit::BootFailed, format_args!("{why}")),
    };
    // The tree again, where it stays when the head's identity map goes.
    let at = PhysAddr::new(fdt);
    if ram.pointer(at, total).is_none() {
        stop(Exit::BootFailed, format_args!("the device tree at {fdt:#x} does not lie in RAM"));
    }
    // SAFETY: RAM that the boot loader filled and the boot reserves; nobody writes it.
    let tree = tree::usable(at, unsafe { tree::parse(MAX_FDT_SIZE, |len| ram.pointer(at, len)) });
    let options = tree::options(&tree);
    let (firmware, cpus) = tree::firmware(tree, at);
    let machine = image.machine(firmware, Cpus { phys_bits: cpu::phys_bits(), ..cpus });
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
    let replaced = Cell::new(false);
    let hook = |event: TableEvent| {
        if let TableEvent::ReplaceTtbr1 { new, .. } = event {
            replace(image, new);
            keep_device_tree(machine, ram, new, image);
            replaced.set(true);
        }
    };
    let log = sequence::log(machine, steps, &hook);
    let mut boot = sequence::boot(machine, ram, &log, |boot| {
        if let Some(head) = left.head(ram) {
            boot.set_arm64_head(head);
        }
    });
    if !replaced.get() || ram.virt(boot.memstart) != VirtAddr::new(PAGE_OFFSET) {
        stop(Exit::BootFailed, format_args!("the linear map is not where the head put it"));
    }
    if let Some(uart) = uart {
        late_console(&boot, uart);
    }
    // SAFETY: what the identity map was used for, the device tree and the console, is reached through the kernel's half.
    unsafe { tlb::set_ttbr0(image.reserved_pg_dir().get()) };
    let running = sequence::allocator(&mut boot, ram, options, steps);
    tlb::flush_all();
    fault::set_ram(ram);

    // SAFETY: what is masked are all interrupts that this image takes, and each processor has its number in a register of its own.
    let pages = unsafe { sequence::serve(&boot, running, ram.clone(), smp::PROCESSOR) };
    let stack = sequence::stack(&boot, &pages, 0);
    tlb::publish();
    let kernel = Kernel { boot: &boot, pages: &pages, image, options, steps };
    // SAFETY: the stack was just made and is this processor's alone.
    unsafe { sequence::go_on(stack, &kernel, on_own_stack) }
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
    let (boot, pages, image) = (kernel.boot, kernel.pages, kernel.image);
    secondary::set_reserved(image.reserved_pg_dir());
    // SAFETY: `pages` is on the first stack, which nobody leaves.
    let team = unsafe { smp::start_first(boot, pages) };
    let metal = Arm64::new(image, pages.ram(), team);
    sequence::finish(&metal, boot, pages, kernel.options, kernel.steps)
}

/// Where the linear map begins: the kernel's half.
const PAGE_OFFSET: u64 = 0u64.wrapping_sub(1 << 48);

/// The device tree's first byte in the identity map.
fn pointer(at: Option<VirtAddr>) -> Option<NonNull<u8>> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(at?.get() as usize))
}

/// The device tree in the identity map.
fn device_tree(at: Option<VirtAddr>) -> Result<DeviceTree<'static>, DtError> {
    // SAFETY: the head mapped so many bytes there; nobody writes them while a tree of them is in use.
    unsafe { tree::parse(MAX_FDT_SIZE, |_| pointer(at)) }
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
    let banks = tree::banks(tree)?;
    let first = banks.iter().map(|b| b.start).min().unwrap_or(PhysAddr::ZERO);
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
    let mut source = EarlyTables::new(image.kept_tables());
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
