//! The device tree, as the images of both architectures look at it.

use super::end::stop;
use super::this::cpu;
use arrayvec::ArrayVec;
use core::ptr::NonNull;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::devicetree::{DeviceTree, DtError};
use pagewright_firmware::{Cpus, Firmware};
use pagewright_kernel::direct_map::MAX_RANGES;
use pagewright_kernel::exit::Exit;
use pagewright_kernel::inject;
use pagewright_kernel::options::{Inject, Options};

const PAGE: u64 = 4096;
/// Bytes of a header.
const HEADER: u64 = 40;

/// RAM, bank by bank.
pub(crate) type Banks = ArrayVec<PhysRange, MAX_RANGES>;

/// The tree whose first bytes `bytes` shows: so many of them as it is asked for, if they are there. No more than `limit` are.
///
/// # Safety
/// The bytes can be read for good, and nobody writes them while the tree is in use.
pub(crate) unsafe fn parse(
    limit: u64,
    bytes: impl Fn(u64) -> Option<NonNull<u8>>,
) -> Result<DeviceTree<'static>, DtError> {
    let slice = |len: u64| {
        // SAFETY: the caller's.
        bytes(len).map(|first| unsafe { core::slice::from_raw_parts(first.as_ptr(), len as usize) })
    };
    // totalsize, the second cell.
    let total = slice(HEADER).and_then(|header| header.get(4..8)?.try_into().ok()).map(u32::from_be_bytes);
    let whole = total.and_then(|total| slice(u64::from(total).min(limit)));
    DeviceTree::parse(whole.unwrap_or(&[]))
}

/// What the command line wants damaged, if it can be read so far.
pub(crate) fn injected(tree: &DeviceTree<'_>) -> Option<Inject> {
    Options::parse(tree.chosen().bootargs.unwrap_or("")).ok().and_then(|options| options.inject)
}

/// Damages the tree's bytes.
///
/// # Safety
/// They can be written, and nobody looks at them meanwhile: no tree of them is used any more.
pub(crate) unsafe fn damage(what: Option<Inject>, first: Option<NonNull<u8>>, len: u64) {
    let (Some(what), Some(first)) = (what, first) else { return };
    // SAFETY: the caller's.
    let bytes = unsafe { core::slice::from_raw_parts_mut(first.as_ptr(), len as usize) };
    match what {
        Inject::Fdt => inject::damage_fdt(bytes),
        Inject::Map => inject::damage_memory(bytes),
        Inject::Acpi => stop(Exit::Usage, format_args!("inject=acpi: this image takes no ACPI tables")),
    }
}

/// A tree that can be read, from `at` on; the image ends without.
pub(crate) fn usable(at: PhysAddr, tree: Result<DeviceTree<'static>, DtError>) -> DeviceTree<'static> {
    match tree {
        Err(_) if at == PhysAddr::ZERO => {
            stop(Exit::BootFailed, format_args!("the boot loader has handed no device tree over"))
        }
        Ok(tree) => tree,
        Err(e) => stop(Exit::BootFailed, format_args!("device tree: {e}")),
    }
}

/// RAM, in whole pages.
pub(crate) fn banks(tree: &DeviceTree<'_>) -> Result<Banks, &'static str> {
    let mut banks = Banks::new();
    for bank in tree.memory_banks().map(|b| b.range) {
        let whole = PhysRange::new(bank.start.align_up(PAGE), bank.end.align_down(PAGE));
        if whole.start < whole.end && banks.try_push(whole).is_err() {
            return Err("more banks of RAM than the image has room for");
        }
    }
    if banks.is_empty() { Err("the firmware describes no memory") } else { Ok(banks) }
}

/// What the command line asks of the image; it ends if there is no such thing.
pub(crate) fn options(tree: &DeviceTree<'static>) -> Options<'static> {
    match Options::parse(tree.chosen().bootargs.unwrap_or("")) {
        Ok(options) => options,
        Err(e) => stop(Exit::Usage, format_args!("{e}")),
    }
}

/// The machine's firmware, and its processors as the tree and this one tell.
pub(crate) fn firmware(tree: DeviceTree<'static>, at: PhysAddr) -> (Firmware<'static>, Cpus) {
    let possible = tree.cpus().count().max(1) as u32;
    let cpus = Cpus { possible, boot_id: Some(cpu::hardware_id()), ..Cpus::default() };
    (Firmware::DeviceTree { tree, at: Some(at), memory: &[], efi: Default::default(), acpi: None }, cpus)
}
