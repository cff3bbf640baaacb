//! A module on the metal: it is loaded, relocated and protected, its code runs, its init part goes, then all of it; what is gone or must not be
//! written faults.
//!
//! The file is an object that the build script has compiled for the image's target (`kernel/module/sample.rs`). It is loaded into the
//! modules' region, and where branches reach so far only also into vmalloc's, which the kernel's function is reached from by a veneer.

use super::{Note, Subject, census, note, vmalloc};
use crate::dynamic::Space;
use crate::metal::{Access, Metal};
use crate::space::on;
use core::fmt::Display;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::AtomicU64;
use pagewright_addr::{Order, VirtAddr, VirtRange};
use pagewright_hot::Region;
use pagewright_kspace::module::{
    CodeMemory, Group, Module, ModuleArch, ModuleFile, ModuleLayout, ModuleWindows, OnVmalloc, Part, Place,
};
use pagewright_kspace::vmalloc::{VmContext, Vmalloc, VmallocConfig};
use pagewright_pagetable::format::WithFormat;
use pagewright_pagetable::{Attr, AttrFlags, Format, TableMemory, Tables};

/// Areas that there is room for.
const AREAS: usize = 16;
/// Addresses of vmalloc's that it is loaded into as well: no other area has any of the tables of their pages.
const FAR_BYTES: u64 = 4 << 20;
/// Data that the kernel alone reads and writes.
const DATA: Attr = Attr::normal(
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::GLOBAL).union(AttrFlags::ACCESSED),
);
/// What the module begins with, and what its init function makes of it: seven times that, three times that and one, and the kernel's number.
const FROM: u64 = 9;
const TO: u64 = FROM * 7 * 3 + 1 + 1000;

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
        _ => None,
    }
}

/// The kernel's addresses, as this processor sees them.
struct Code<'m>(&'m dyn Metal);

impl CodeMemory for Code<'_> {
    fn read(&mut self, at: VirtAddr, into: &mut [u8]) {
        let from = with_exposed_provenance::<u8>(at.get() as usize);
        // SAFETY: the loader asks for bytes of areas that it has taken, which are mapped and nobody else's.
        unsafe { from.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
    }

    fn write(&mut self, at: VirtAddr, bytes: &[u8]) {
        let to = with_exposed_provenance_mut::<u8>(at.get() as usize);
        // SAFETY: as above; they are not protected yet.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn sync(&mut self, range: VirtRange) {
        self.0.sync_code(range);
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
    file: &'static [u8],
    arch: ModuleArch,
}

impl WithFormat for Work<'_, '_> {
    type Out = Result<Note, Note>;

    fn run<F: Format>(self, format: F) -> Self::Out {
        let Self { subject, file, arch } = self;
        let near = subject.modules.ok_or_else(|| failed("no room for modules"))?;
        let veneers = over(subject, file, arch, near, format)?;
        if veneers > 0 {
            return Err(failed("veneers, where the kernel is near"));
        }
        if arch == ModuleArch::X86_64 {
            return Ok(note(format_args!("init made {FROM} to {TO}, and what is gone faults")));
        }
        // At a multiple of this they are farther from the image than a branch reaches, also where arm's area begins right behind a few MiB of low memory.
        let align = if arch == ModuleArch::Arm { 64 << 20 } else { 1 << 30 };
        let veneers = far(subject, align, |far| over(subject, file, arch, far, format))?;
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
pub fn over_any(subject: &Subject<'_>, file: &'static [u8], arch: ModuleArch) -> Result<Note, Note> {
    subject.tables.format.with(Work { subject, file, arch })
}

/// The same over tables of this format, where an image has only one: the code of each is as much again.
///
/// # Errors
/// What is wrong.
pub fn over_one<F: Format>(
    subject: &Subject<'_>,
    file: &'static [u8],
    arch: ModuleArch,
    format: F,
) -> Result<Note, Note> {
    Work { subject, file, arch }.run(format)
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
    file: &'static [u8],
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
        let life = on(pages, metal, |on| {
            let life = life(metal, &region, on, file, arch);
            // Whatever happened, nothing of it stays.
            region.purge_vmap_area_lazy(on);
            region.release_tables(on);
            life
        });
        life.unwrap_or(Err(failed("this processor has no number")))
    })();
    pages.free(block);
    done
}

/// A function of a module.
fn function<R>(at: Option<VirtAddr>, call: impl FnOnce(*const ()) -> R) -> Result<(VirtAddr, R), Note> {
    let at = at.ok_or_else(|| failed("the module has no such function"))?;
    Ok((at, call(with_exposed_provenance(at.get() as usize))))
}

fn life<F: Format, M: TableMemory>(
    metal: &dyn Metal,
    region: &Vmalloc<'_, 'static, F, M>,
    on: &mut impl VmContext<'static>,
    file: &'static [u8],
    arch: ModuleArch,
) -> Result<u32, Note> {
    let file = ModuleFile::parse(file, arch).map_err(|e| because(&e))?;
    let mut places = [Place::Nowhere; 64];
    let layout = ModuleLayout::new(&file, F::SHAPE.page_bytes(), &mut places).map_err(|e| because(&e))?;
    let (code, windows) = (&mut Code(metal), ModuleWindows::only(region.range()));
    macro_rules! host {
        () => {
            OnVmalloc { regions: &[region], windows, on, code, symbols: &symbol }
        };
    }
    let mut module = Module::load(&file, &layout, &mut host!()).map_err(|e| because(&e))?;
    let (init, made) = function(module.init_function, |init| {
        // SAFETY: the loader has placed and relocated this function of the module's, which was compiled for this processor with that signature.
        let init: extern "C" fn(u64) -> u64 = unsafe { core::mem::transmute(init) };
        init(FROM)
    })?;
    let text = module.group(Part::Core, Group::Text).ok_or_else(|| failed("no text"))?;
    let data = module.group(Part::Core, Group::Data).ok_or_else(|| failed("no data"))?;
    let before = metal.probe(init, Access::Read);
    let finished = module.finish_init(&mut host!()).is_ok();
    region.purge_vmap_area_lazy(on);
    let init_gone = !metal.probe(init, Access::Execute);
    let sealed = metal.probe(text.start, Access::Read) && !metal.probe(text.start, Access::Write);
    let open = metal.probe(data.start, Access::Write) && !metal.probe(data.start, Access::Execute);
    let (exit, calls) = function(module.exit_function, |exit| {
        // SAFETY: as above.
        let exit: extern "C" fn() -> u64 = unsafe { core::mem::transmute(exit) };
        exit()
    })?;
    let veneers = module.veneers.iter().sum();
    module.unload(&mut host!());
    region.purge_vmap_area_lazy(on);
    let gone = [(exit, Access::Execute), (exit, Access::Read), (data.start, Access::Write)];
    let gone = gone.iter().all(|(at, access)| !metal.probe(*at, *access));
    if made != TO {
        return Err(note(format_args!("init made {FROM} to {made}, and not to {TO}")));
    }
    let holds = [
        (before && finished, "the init part does not end"),
        (init_gone, "init's code runs after it was freed"),
        (sealed, "text cannot be read, or it can be written"),
        (open, "data cannot be written, or it can be executed"),
        (calls == 7, "the module's variable did not change as its functions were called"),
        (gone, "the module is there after it was unloaded"),
    ];
    match holds.iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(failed(what)),
        None => Ok(veneers),
    }
}
