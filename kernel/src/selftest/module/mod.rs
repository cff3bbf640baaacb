//! Modules on the metal: they are loaded, relocated and protected, their code runs, init parts go, then all of them; what is gone or must not be
//! written faults.
//!
//! Files are objects that the build script has compiled for the image's target (`kernel/module/`). They are loaded by what serves the image, where its
//! kernel looks for addresses: first into the modules' region; then, with all addresses taken from which code reaches the kernel, where its functions
//! are reached by veneers, and on x86_64 nowhere. One uses what the other exports, which stays meanwhile; each processor has a copy of a variable; and an
//! instruction that may fault goes on where its module says.

mod life;
mod room;

use super::{Note, Subject, census, note, vmalloc};
use crate::dynamic::{Space, with_percpu};
use crate::metal::ModuleFiles;
use crate::space::on;
use arrayvec::ArrayVec;
use core::fmt::Display;
use core::sync::atomic::AtomicU64;
use life::{FROM, Life, Lived, TO};
use pagewright::vmalloc::VmallocError;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_kspace::module::ModuleArch;
use room::Room;

/// Areas that take addresses, at most: each is as large as a power of two can be where it lies.
const HELD: usize = 96;
/// The image is smaller than this.
const IMAGE: u64 = 16 << 20;

/// Exported to modules.
extern "C" fn triple(n: u64) -> u64 {
    n.wrapping_mul(3).wrapping_add(1)
}

/// Exported to modules.
static NUMBER: AtomicU64 = AtomicU64::new(1000);

/// The kernel's symbols for modules.
fn symbol(name: &str) -> Option<u64> {
    match name {
        "pagewright_triple" => Some(triple as *const () as u64),
        "pagewright_number" => Some(&raw const NUMBER as u64),
        "pagewright_per_cpu_offset" => Some(room::per_cpu_offset as *const () as u64),
        _ => None,
    }
}

/// The test, in images that have modules.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    let files = subject.metal.modules().ok_or_else(|| failed("the image has no module"))?;
    vmalloc::settle(subject)?;
    // The tables over the region's borders come with its first areas, and stay.
    live(subject, &mut |life| life.lead(files))?;
    vmalloc::give_back(subject)?;
    let before = census::take(subject);
    let result = all(subject, files);
    let back = vmalloc::give_back(subject).and_then(|()| census::all_back(subject, &before));
    result.and_then(|saw| back.map(|()| saw))
}

fn all(subject: &Subject<'_>, files: ModuleFiles) -> Result<Note, Note> {
    let windows = subject.windows.ok_or_else(|| failed("the kernel has no place for modules"))?;
    let Lived { text, veneers } = live(subject, &mut |life| life.lead(files))?;
    if !windows.first.contains(text) || veneers > 0 {
        return Err(note(format_args!("text at {text:#x} with {veneers} veneers, and there is room nearby")));
    }
    let Some(spill) = windows.spill else {
        without(subject, windows.first, &mut || live(subject, &mut |life| life.refused(files)))?;
        return Ok(note(format_args!(
            "init made {FROM} to {TO}, what is gone faults, and without room there is none"
        )));
    };
    let near = reached(files.arch);
    let Lived { text, veneers } =
        without(subject, near, &mut || live(subject, &mut |life| life.lead(files)))?;
    if windows.first.contains(text) || !spill.contains(text) || veneers == 0 {
        return Err(note(format_args!("text at {text:#x} with {veneers} veneers, and no room nearby")));
    }
    Ok(note(format_args!("init made {FROM} to {TO}, also by {veneers} veneers, and what is gone faults")))
}

/// From where a branch may reach the image, and a little more.
fn reached(arch: ModuleArch) -> VirtRange {
    let reach = if arch == ModuleArch::Arm { 32 << 20 } else { 128 << 20 };
    let image = VirtAddr::new(triple as *const () as u64).align_down(IMAGE);
    let start = image.get().saturating_sub(reach + IMAGE);
    VirtRange::from_len(VirtAddr::new(start), 2 * reach + 3 * IMAGE)
}

/// Does something while nobody gets any of these addresses, in no region.
#[inline(never)]
fn without(
    subject: &Subject<'_>,
    range: VirtRange,
    work: &mut dyn FnMut() -> Result<Lived, Note>,
) -> Result<Lived, Note> {
    let Space { area, metal } = subject.space;
    let mut held: ArrayVec<VirtAddr, HELD> = ArrayVec::new();
    let taken = on(subject.pages, metal, |on| {
        [Some(area.area()), area.modules()].into_iter().flatten().try_for_each(|region| {
            let region = region.range();
            let (start, last) = (range.start.max(region.start), range.last().min(region.last()));
            if start > last {
                return Ok(());
            }
            let page = subject.pages.page_shift().bytes();
            let part = VirtRange::from_len(start.align_up(page), last.get() - start.align_up(page).get() + 1);
            let mut size = 1 << part.len.max(1).ilog2();
            while size >= page {
                match area.get_vm_area(on, size, part) {
                    Ok(at) => held.try_push(at).map_err(|_| failed("too many pieces"))?,
                    Err(VmallocError::Space { .. }) => size /= 2,
                    Err(e) => return Err(because(&e)),
                }
            }
            Ok(())
        })
    });
    let done = taken.unwrap_or_else(nobody).and_then(|()| work());
    let gone = on(subject.pages, metal, |on| {
        held.iter().try_for_each(|at| area.remove_vm_area(on, *at)).map_err(|e| because(&e))
    });
    done.and_then(|done| gone.unwrap_or_else(nobody).map(|()| done))
}

/// A life of modules, with room for their per-CPU variables.
// Not once for each caller.
#[inline(never)]
fn live(
    subject: &Subject<'_>,
    life: &mut dyn FnMut(Life<'_, '_, '_, '_, '_>) -> Result<Lived, Note>,
) -> Result<Lived, Note> {
    let Subject { pages, metal, space, .. } = *subject;
    let units = subject.units.ok_or_else(|| failed("the boot has placed no units"))?;
    // As far from the module's text as the image is, so that code reaches it.
    let base = VirtAddr::new(&raw const NUMBER as u64).align_down(pages.page_shift().bytes());
    let done = with_percpu(pages, units, Some(space), |percpu| {
        let mut room = Room::new(percpu, base).ok_or_else(|| failed("there are no units"))?;
        let done = on(pages, metal, |on| life(Life { metal, area: space.area, on, room: &mut room }));
        let done = done.unwrap_or_else(nobody)?;
        if room.is_unused() { Ok(done) } else { Err(failed("per-CPU variables stay")) }
    });
    done.unwrap_or(Err(failed("the first chunk cannot be used")))
}

fn failed(what: &str) -> Note {
    note(format_args!("{what}"))
}

fn because(what: &impl Display) -> Note {
    note(format_args!("{what}"))
}

fn nobody<R>() -> Result<R, Note> {
    Err(failed("this processor has no number"))
}
