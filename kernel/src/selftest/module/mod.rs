//! A module on the metal: it is loaded, relocated and protected, its code runs, its init part goes, then all of it; what is gone or must not be
//! written faults.
//!
//! Files are objects that the build script has compiled for the image's target (`kernel/module/`). They are loaded into the
//! modules' region, and where branches reach so far only also into vmalloc's, which the kernel's functions are reached from by veneers. One uses what the
//! other exports, which stays meanwhile; each processor has a copy of a variable; and an instruction that may fault goes on where its module says.

mod life;
mod room;

use super::{Note, Subject, census, note, vmalloc};
use crate::dynamic::{Space, with_percpu};
use crate::space::on;
use core::fmt::Display;
use core::sync::atomic::AtomicU64;
use life::{FROM, Life, TO};
use pagewright_addr::{Order, VirtAddr, VirtRange};
use pagewright_hot::Region;
use pagewright_kspace::module::ModuleArch;
use pagewright_kspace::vmalloc::{Vmalloc, VmallocConfig};
use pagewright_pagetable::format::WithFormat;
use pagewright_pagetable::{Attr, AttrFlags, Format, Tables};
use room::Room;

/// Areas that there is room for.
const AREAS: usize = 16;
/// Addresses of vmalloc's that it is loaded into as well: no other area has any of the tables of their pages.
const FAR_BYTES: u64 = 4 << 20;
/// Data that the kernel alone reads and writes.
const DATA: Attr = Attr::normal(
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::GLOBAL).union(AttrFlags::ACCESSED),
);

/// The modules' files.
#[derive(Clone, Copy, Debug)]
pub struct Files {
    /// `sample.rs`.
    pub sample: &'static [u8],
    /// `user.rs`.
    pub user: &'static [u8],
}

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

/// The test, in images that have a module.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    vmalloc::settle(subject)?;
    let before = census::take(subject);
    let result = subject.metal.try_module(subject);
    census::all_back(subject, &before)?;
    result
}

struct Work<'s, 'k> {
    subject: &'s Subject<'k>,
    files: Files,
    arch: ModuleArch,
}

impl WithFormat for Work<'_, '_> {
    type Out = Result<Note, Note>;

    fn run<F: Format>(self, format: F) -> Self::Out {
        let Self { subject, files, arch } = self;
        let near = subject.modules.ok_or_else(|| failed("no room for modules"))?;
        let veneers = over(subject, files, arch, near, format)?;
        if veneers > 0 {
            return Err(failed("veneers, where the kernel is near"));
        }
        if arch == ModuleArch::X86_64 {
            return Ok(note(format_args!("init made {FROM} to {TO}, and what is gone faults")));
        }
        // At a multiple of this they are farther from the image than a branch reaches, also where arm's area begins right behind a few MiB of low memory.
        let align = if arch == ModuleArch::Arm { 64 << 20 } else { 1 << 30 };
        let veneers = far(subject, align, |far| over(subject, files, arch, far, format))?;
        if veneers == 0 {
            return Err(failed("no veneer, where the kernel is far"));
        }
        Ok(note(format_args!("init made {FROM} to {TO}, also by {veneers} veneers, and what is gone faults")))
    }
}

/// Does something with addresses of vmalloc's.
fn far<R>(
    subject: &Subject<'_>,
    align: u64,
    work: impl FnOnce(VirtRange) -> Result<R, Note>,
) -> Result<R, Note> {
    let Space { area, metal } = subject.space;
    let taken = on(subject.pages, metal, |on| area.get_vm_area(on, FAR_BYTES, align));
    let at = taken.ok_or_else(|| failed("this processor has no number"))?.map_err(|e| because(&e))?;
    let done = work(VirtRange::from_len(at, FAR_BYTES));
    let gone = on(subject.pages, metal, |on| area.remove_vm_area(on, at));
    vmalloc::give_back(subject)?;
    match gone {
        Some(Ok(())) => done,
        _ => Err(failed("addresses cannot be given back")),
    }
}

/// The test with this file, over the tables of whichever format the image has.
///
/// # Errors
/// What is wrong.
pub fn over_any(subject: &Subject<'_>, files: Files, arch: ModuleArch) -> Result<Note, Note> {
    subject.tables.format.with(Work { subject, files, arch })
}

/// The same over tables of this format, where an image has only one: the code of each is as much again.
///
/// # Errors
/// What is wrong.
pub fn over_one<F: Format>(
    subject: &Subject<'_>,
    files: Files,
    arch: ModuleArch,
    format: F,
) -> Result<Note, Note> {
    Work { subject, files, arch }.run(format)
}

fn failed(what: &str) -> Note {
    note(format_args!("{what}"))
}

fn because(what: &impl Display) -> Note {
    note(format_args!("{what}"))
}

/// Loads the file into a range of addresses and takes it through its life. How many veneers it had.
fn over<F: Format>(
    subject: &Subject<'_>,
    files: Files,
    arch: ModuleArch,
    range: VirtRange,
    format: F,
) -> Result<u32, Note> {
    let Subject { pages, metal, tables, .. } = *subject;
    let mut block = pages.alloc(Order::new(3).unwrap_or_default()).map_err(|e| because(&e))?;
    let done = (|| {
        let mut room = pages.carve(&mut block).ok_or_else(|| failed("no memory for areas"))?;
        let tree = Tables::new(format, tables.memory, tables.root);
        let cursor = tree.lock(range).map_err(|e| because(&e))?;
        let config = VmallocConfig {
            name: "modules",
            pools: false,
            huge: false,
            ..VmallocConfig::new(DATA, metal.cpus(), 1 << 20)
        };
        let cpus = metal.cpus() as usize;
        let region: Region<'_, F> =
            Vmalloc::carve(config, range, cursor, *pages.map(), &mut room, (AREAS, cpus))
                .map_err(|e| because(&e))?;
        let units = subject.units.ok_or_else(|| failed("the boot has placed no units"))?;
        // As far from the module's text as the image is, so that code reaches it.
        let base = VirtAddr::new(&raw const NUMBER as u64).align_down(pages.page_shift().bytes());
        let life = with_percpu(pages, units, Some(subject.space), |percpu| {
            let mut room = Room::new(percpu, base).ok_or_else(|| failed("there are no units"))?;
            let life = on(pages, metal, |on| {
                let life = Life { metal, region: &region, on, room: &mut room }.lead(files, arch);
                // Whatever happened, nothing of it stays.
                region.purge_vmap_area_lazy(on);
                region.release_tables(on);
                life
            });
            let life = life.unwrap_or(Err(failed("this processor has no number")))?;
            if room.is_unused() { Ok(life) } else { Err(failed("per-CPU variables stay")) }
        });
        life.unwrap_or(Err(failed("the first chunk cannot be used")))
    })();
    pages.free(block);
    done
}
