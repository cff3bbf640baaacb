//! `/proc/iomem`: the tree of physical address ranges in use: RAM, the kernel image, the crash kernel, reservations, what every PC has, and what
//! drivers requested.
//!
//! As long as nobody requested anything the tree is not built: roots come in address order, and what lies below one is found when it is written.
//! [`insert`] enters the same into a [`Resources`], where drivers' requests join it ([`State::with_resources`]).

mod pc;

use crate::State;
use arrayvec::ArrayVec;
use core::fmt::{self, Write};
use core::iter;
use pagewright::Boot;
use pagewright::built::has;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::{Arch, Machine};
use pagewright_kspace::Kind;
use pagewright_kspace::resource::{Resource, ResourceError, ResourceFlags, Resources};
use pagewright_memblock::{Flags, Region, Set};

/// Linux indents no deeper than this.
const MAX_DEPTH: usize = 5;

/// Writes the line of a resource: its depth in the tree, its first and last address, and what uses it.
///
/// # Errors
/// The writer's.
pub fn resource(w: &mut dyn Write, depth: usize, start: u64, last: u64, name: &str) -> fmt::Result {
    let indent = 2 * depth.min(MAX_DEPTH);
    writeln!(w, "{:indent$}{start:08x}-{last:08x} : {name}", "")
}

/// Writes the file.
///
/// # Errors
/// The writer's.
pub fn write(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> fmt::Result {
    if let Some(resources) = state.resources {
        return write_tree(w, resources);
    }
    of(w, state.boot)
}

/// Writes what the boot has entered, and nobody else.
///
/// # Errors
/// The writer's.
pub fn of(w: &mut dyn Write, boot: &Boot<'_>) -> fmt::Result {
    of_boot(boot, &mut |depth, range, name| line(w, depth, range, name))
}

/// Writes a tree.
///
/// # Errors
/// The writer's.
pub fn write_tree(w: &mut dyn Write, resources: &Resources<'_, '_>) -> fmt::Result {
    resources.walk().try_for_each(|seen| line(w, seen.depth, seen.resource.range, seen.resource.name))
}

/// How many resources a boot has: a tree needs memory for as many, for its root, and for those that drivers request.
pub fn count(boot: &Boot<'_>) -> usize {
    let mut count = 0;
    // Counting cannot fail.
    let _ = of_boot(boot, &mut |_, _, _| {
        count += 1;
        Ok(())
    });
    count
}

/// Enters what the boot knows into a tree (`request_standard_resources`, `e820__reserve_resources`). What lies below a root is requested
/// from it, and stays below also where it is as large as the root.
///
/// # Errors
/// [`ResourceError`] for the first that does not fit; those before it are entered.
pub fn insert(resources: &mut Resources<'_, 'static>, boot: &Boot<'_>) -> Result<(), ResourceError<'static>> {
    let mut refused = Ok(());
    let mut root = Resources::ROOT;
    let done = of_boot(boot, &mut |depth, range, name| {
        let flags = match name {
            SYSTEM_RAM => ResourceFlags::SYSTEM_RAM,
            _ => ResourceFlags::MEM,
        };
        let busy = if is_drivers(depth, range, name) { ResourceFlags::empty() } else { ResourceFlags::BUSY };
        let what = Resource { range, name, flags: flags | busy };
        refused = match depth {
            0 => resources.insert_resource(what).map(|id| root = id),
            _ => resources.request_resource(root, what).map(|_| ()),
        };
        refused.map_err(|_| fmt::Error)
    });
    if done.is_err() { refused } else { Ok(()) }
}

/// Whether a driver may request a part of it: what firmware keeps to itself above the first megabyte, and memory that is for one driver
/// (`do_mark_busy`); on Arm what is not to be mapped, and tightly coupled memory.
fn is_drivers(depth: usize, range: PhysRange, name: &str) -> bool {
    let special = ["Reserved", "Soft Reserved", "Persistent Memory", "Persistent Memory (legacy)"];
    depth == 0
        && (["reserved", ITCM, DTCM].contains(&name)
            || (special.contains(&name) && range.start.get() >= 1 << 20))
}

/// Who is told of resources, in the order of the file: depth, range, name.
type See<'s> = dyn FnMut(usize, PhysRange, &'static str) -> fmt::Result + 's;

fn of_boot(boot: &Boot<'_>, see: &mut See<'_>) -> fmt::Result {
    // What is not built in is not booted, and each image has its architecture's part alone.
    match boot.machine.arch {
        Arch::X86_64 if has(Arch::X86_64) => pc::roots(see, boot),
        Arch::I386 if has(Arch::I386) => pc::roots(see, boot),
        _ => memblock_roots(see, boot),
    }
}

fn line(w: &mut dyn Write, depth: usize, range: PhysRange, name: &str) -> fmt::Result {
    resource(w, depth, range.start.get(), range.end.get().saturating_sub(1), name)
}

const SYSTEM_RAM: &str = "System RAM";
const ITCM: &str = "ITCM RAM";
const DTCM: &str = "DTCM RAM";

/// arm and arm64: one root for each memory region.
fn memblock_roots(see: &mut See<'_>, boot: &Boot<'_>) -> fmt::Result {
    let shift = boot.machine.config.page_shift;
    let arm = boot.machine.arch == Arch::Arm;
    let mut tcm = tcm(boot);
    for region in boot.mb.regions(Set::Memory).iter().filter(|r| r.size() > 0) {
        coupled(see, &mut tcm, region.range().start)?;
        // What must not be mapped is reserved on arm64 and does not show on arm.
        let nomap = region.flags().contains(Flags::NOMAP);
        if !(arm && nomap) {
            let whole = region.range().frames_inside(shift).bytes(shift);
            root(see, boot, (whole, if nomap { "reserved" } else { SYSTEM_RAM }), iter::empty())?;
        }
    }
    coupled(see, &mut tcm, PhysAddr::MAX)
}

/// arm's tightly coupled memory, which the boot moves to where its virtual addresses are, in the order of their addresses; none where RAM is.
fn tcm(boot: &Boot<'_>) -> ArrayVec<Child, 2> {
    let Machine { arch, config, cpus, .. } = boot.machine;
    let bank = |kind, name| {
        let layout = boot.virtual_layout(boot.version).ok()?;
        let range = layout.get(kind)?;
        Some((PhysRange::from_len(PhysAddr::new(range.start.get()), range.len), name))
    };
    let (itcm, dtcm) = (cpus.arm.itcm_bytes, cpus.arm.dtcm_bytes);
    if *arch != Arch::Arm || !config.have_tcm || itcm | dtcm == 0 {
        return ArrayVec::new();
    }
    let free = |(range, _): &Child| {
        !range.is_empty() && !boot.mb.regions(Set::Memory).iter().any(|region| region.range().overlaps(range))
    };
    [bank(Kind::Itcm, ITCM), bank(Kind::Dtcm, DTCM)].into_iter().flatten().filter(free).collect()
}

/// Those of them that lie below `end`.
fn coupled(see: &mut See<'_>, tcm: &mut ArrayVec<Child, 2>, end: PhysAddr) -> fmt::Result {
    while let Some(&(range, name)) = tcm.first().filter(|(range, _)| range.start < end) {
        see(0, range, name)?;
        tcm.remove(0);
    }
    Ok(())
}

/// A range below a root, and its name.
type Child = (PhysRange, &'static str);

/// The kernel's sections and the crash kernel, in the order in which they are requested.
fn requested(boot: &Boot<'_>) -> [Child; 6] {
    let image = &boot.machine.image;
    let range = |start, end, name| (PhysRange::new(start, end), name);
    let none = (PhysRange::default(), "");
    let [code, rodata, data, bss] = match boot.machine.arch {
        Arch::X86_64 | Arch::I386 => [
            range(image.text_start, image.text_end, "Kernel code"),
            range(image.rodata_start, image.rodata_end, "Kernel rodata"),
            range(image.data_start, image.data_end, "Kernel data"),
            range(image.bss_start, image.bss_end, "Kernel bss"),
        ],
        // One range from the text to the init sections, one for the data.
        arch => {
            let start = if arch == Arch::Arm { image.load_start() } else { image.text_start };
            let data = range(image.data_start, image.end, "Kernel data");
            [range(start, image.init_begin, "Kernel code"), none, data, none]
        }
    };
    let crash = |range: Option<PhysRange>| range.map_or(none, |r| (r, "Crash kernel"));
    [code, rodata, data, bss, crash(boot.crash.low), crash(boot.crash.main)]
}

/// A root with what lies below it, of the image and of what else is there.
fn root(
    see: &mut See<'_>,
    boot: &Boot<'_>,
    (range, name): Child,
    others: impl Iterator<Item = Child>,
) -> fmt::Result {
    see(0, range, name)?;
    // Each goes below the root that holds all of it (`request_resource`), unless another is there.
    let mut children = ArrayVec::<Child, { 6 + pc::MOST }>::new();
    let all = requested(boot).into_iter().chain(others);
    for child in all.filter(|(r, _)| !r.is_empty() && range.contains_range(r)) {
        if !children.iter().any(|(r, _)| r.overlaps(&child.0)) {
            children.push(child);
        }
    }
    children.sort_unstable_by_key(|(r, _)| r.start);
    let mut below = Below { children: &children, written: PhysAddr::ZERO };
    if boot.machine.arch == Arch::Arm64 {
        let shift = boot.machine.config.page_shift;
        reserved(boot, &mut |r| {
            let inside = r.frames_touched(shift).bytes(shift).intersection(&range);
            if inside.is_empty() { Ok(()) } else { below.reserved(see, inside) }
        })?;
    }
    below.children.iter().try_for_each(|(r, name)| see(1, *r, name))
}

/// What of a root's children is still to be written.
struct Below<'c> {
    /// Children in address order.
    children: &'c [Child],
    /// Reservations up to here are written.
    written: PhysAddr,
}

impl Below<'_> {
    /// What no child and no reservation before it covers of a reservation (`reserve_region_with_split`). They come in
    /// the order of their starts.
    fn reserved(&mut self, see: &mut See<'_>, range: PhysRange) -> fmt::Result {
        let mut start = self.written.max(range.start);
        while let Some(((child, name), rest)) =
            self.children.split_first().filter(|((c, _), _)| c.start < range.end)
        {
            if start < child.start {
                see(1, PhysRange::new(start, child.start), "reserved")?;
            }
            see(1, *child, name)?;
            start = start.max(child.end);
            self.children = rest;
        }
        if start < range.end {
            see(1, PhysRange::new(start, range.end), "reserved")?;
        }
        self.written = start.max(range.end);
        Ok(())
    }
}

/// arm64: the reservations as they are when the resources are requested, in the order of their starts. The RAM disk is
/// freed after that, and stays listed.
fn reserved(boot: &Boot<'_>, see: &mut dyn FnMut(PhysRange) -> fmt::Result) -> fmt::Result {
    let regions = || boot.mb.regions(Set::Reserved).iter().map(Region::range);
    let Some(initrd) = boot.initrd else { return regions().try_for_each(see) };
    let before = regions().filter(|r| r.start <= initrd.start);
    let after = regions().filter(|r| r.start > initrd.start);
    let mut last: Option<PhysRange> = None;
    for next in before.chain([initrd]).chain(after) {
        match &mut last {
            // Before it was freed it was one region with what it touches.
            Some(last) if next.start <= last.end && (next == initrd || last.end == initrd.end) => {
                last.end = last.end.max(next.end);
            }
            _ => last.replace(next).map_or(Ok(()), &mut *see)?,
        }
    }
    last.map_or(Ok(()), see)
}

#[cfg(test)]
mod tests;
