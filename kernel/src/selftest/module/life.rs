//! What becomes of the modules, step by step.

use super::room::Room;
use super::{NUMBER, because, failed, symbol};
use crate::code::KernelCode;
use crate::extable;
use crate::metal::{Access, Metal, ModuleFiles};
use crate::selftest::{Note, note};
use core::ptr::with_exposed_provenance;
use core::sync::atomic::{AtomicU32, Ordering};
use pagewright_addr::VirtAddr;
use pagewright_hot::{KernelSpace, ModuleParts, On};
use pagewright_kspace::module::{
    Group, InitFailed, Module, ModuleArch, ModuleError, ModuleFile, ModuleHost, ModuleId, ModuleLayout,
    ModuleSlot, Modules, Part, Place, UnloadError,
};

/// What the module begins with, and what its init function makes of it: seven times that, three times that and one, and the kernel's number.
pub(super) const FROM: u64 = 9;
pub(super) const TO: u64 = FROM * 7 * 3 + 1 + 1000;
/// What the first module has counted at its end: it began with 5, and each of its functions that the two init and exit functions call counts one.
const CALLS: u64 = 5 + 2 + 3;
/// What a function says that met a fault.
const EFAULT: i32 = -14;
/// What the second module's init function fails with.
const ENOMEM: i32 = -12;
/// Modules at a time.
const SLOTS: usize = 2;

/// Where modules live, and on whose behalf.
pub(super) struct Life<'l, 'c, 'z, 'r, 'p> {
    pub(super) metal: &'l dyn Metal,
    pub(super) area: &'l dyn KernelSpace,
    pub(super) on: &'l mut On<'c, 'z>,
    pub(super) room: &'l mut Room<'r, 'p>,
}

/// What was seen of the first module.
#[derive(Default)]
pub(super) struct Lived {
    /// Where its text was.
    pub(super) text: VirtAddr,
    /// How many veneers it had.
    pub(super) veneers: u32,
}

type Init = extern "C" fn(u64) -> u64;
type Exit = extern "C" fn() -> u64;
type Count = extern "C" fn(u64, u64) -> u64;
type Peek = unsafe extern "C" fn(usize, *mut usize) -> i32;

/// A function of a module's at an address.
///
/// # Safety
/// It has this type, and its module stays while it is used.
unsafe fn function<T: Copy>(at: VirtAddr) -> T {
    const { assert!(size_of::<T>() == size_of::<*const ()>()) };
    let at = with_exposed_provenance::<()>(at.get() as usize);
    // SAFETY: the caller's; a pointer to a function is as large as one to data.
    unsafe { core::mem::transmute_copy(&at) }
}

/// The first that does not hold.
fn all(holds: &[(bool, &str)]) -> Result<(), Note> {
    match holds.iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(failed(what)),
        None => Ok(()),
    }
}

fn module<'m>(modules: &'m Modules<'_>, id: ModuleId) -> Result<&'m Module, Note> {
    modules.module(id).ok_or_else(|| failed("a module is gone"))
}

impl Life<'_, '_, '_, '_, '_> {
    /// Does something with what the image's modules are loaded by.
    fn host<R>(&mut self, work: impl FnOnce(&mut &mut dyn ModuleHost) -> R) -> Result<R, Note> {
        let metal = self.metal;
        let code = &mut KernelCode(&|range| metal.sync_code(range));
        let parts = ModuleParts { code, symbols: &symbol, per_cpu: self.room };
        let (mut work, mut done) = (Some(work), None);
        self.area.with_modules(self.on, parts, &mut |mut host| {
            done = work.take().map(|work| work(&mut host));
        });
        done.ok_or_else(|| failed("nothing loads modules"))
    }

    /// There is no room for a module: it is refused.
    pub(super) fn refused(mut self, files: ModuleFiles) -> Result<Lived, Note> {
        let mut slots: [ModuleSlot; SLOTS] = Default::default();
        let mut uses = [0; Modules::words(SLOTS)];
        let modules = &mut Modules::new(&mut slots, &mut uses).ok_or_else(|| failed("no room"))?;
        self.try_load(modules, "sample", files.sample, files.arch, |loaded| match loaded {
            Err(ModuleError::Area { part: Part::Core, .. }) => Ok(Lived::default()),
            Err(why) => Err(because(&why)),
            Ok(_) => Err(failed("a module lies where there is no room")),
        })?
    }

    /// Loads the modules, has them work, and unloads them.
    pub(super) fn lead(mut self, files: ModuleFiles) -> Result<Lived, Note> {
        let (metal, arch) = (self.metal, files.arch);
        let mut slots: [ModuleSlot; SLOTS] = Default::default();
        let mut uses = [0; Modules::words(SLOTS)];
        let modules = &mut Modules::new(&mut slots, &mut uses).ok_or_else(|| failed("no room"))?;
        let sample = self.load(modules, "sample", files.sample, arch)?;
        let (init, made) = self.init(modules, sample, FROM)?;
        if made != TO {
            return Err(note(format_args!("init made {FROM} to {made}, and not to {TO}")));
        }
        let before = metal.probe(init, Access::Read);
        let finished = self.host(|host| modules.finish_init(sample, 0, host).is_ok())?;
        self.area.purge(self.on);
        let loaded = module(modules, sample)?;
        let group = |group| loaded.group(Part::Core, group).ok_or_else(|| failed("a part is missing"));
        let (text, data) = (group(Group::Text)?.start, group(Group::Data)?.start);
        let veneers = loaded.veneers.iter().sum();
        all(&[
            (before && finished, "the init part does not end"),
            (!metal.probe(init, Access::Execute), "init's code runs after it was freed"),
            (metal.probe(text, Access::Read), "text cannot be read"),
            (!metal.probe(text, Access::Write), "text can be written"),
            (metal.probe(data, Access::Write), "data cannot be written"),
            (!metal.probe(data, Access::Execute), "data can be executed"),
        ])?;
        self.used(modules, sample, files.user, arch)?;
        self.exports(module(modules, sample)?)?;
        let exit = modules.begin_unload(sample).map_err(|e| because(&e))?;
        let exit = exit.ok_or_else(|| failed("no exit function"))?;
        // SAFETY: it was compiled with that type; the module is going, but not gone.
        let calls = unsafe { function::<Exit>(exit) }();
        self.host(|host| modules.finish_unload(sample, host))?.map_err(|e| because(&e))?;
        self.area.purge(self.on);
        let gone = [(exit, Access::Execute), (exit, Access::Read), (data, Access::Write)];
        all(&[
            (calls == CALLS, "the module's variable did not change as its functions were called"),
            (
                gone.iter().all(|(at, how)| !metal.probe(*at, *how)),
                "the module is there after it was unloaded",
            ),
        ])?;
        Ok(Lived { text, veneers })
    }

    fn load(
        &mut self,
        modules: &mut Modules<'_>,
        name: &str,
        file: &'static [u8],
        arch: ModuleArch,
    ) -> Result<ModuleId, Note> {
        self.try_load(modules, name, file, arch, |loaded| loaded.map_err(|e| because(&e)))?
    }

    fn try_load<R>(
        &mut self,
        modules: &mut Modules<'_>,
        name: &str,
        file: &'static [u8],
        arch: ModuleArch,
        see: impl FnOnce(Result<ModuleId, ModuleError<'_>>) -> R,
    ) -> Result<R, Note> {
        let file = ModuleFile::parse(file, arch).map_err(|e| because(&e))?;
        let mut places = [Place::Nowhere; 64];
        self.host(|host| {
            let layout = ModuleLayout::new(&file, host.page(), &mut places);
            see(layout.and_then(|layout| modules.load(name, &file, &layout, host)))
        })
    }

    /// Calls a module's init function: where it is, and what it made of a number.
    fn init(&self, modules: &Modules<'_>, id: ModuleId, from: u64) -> Result<(VirtAddr, u64), Note> {
        let init = module(modules, id)?.init_function.ok_or_else(|| failed("no init function"))?;
        // SAFETY: the loader has placed and relocated this function of the module's, which was compiled for this processor with that signature.
        Ok((init, unsafe { function::<Init>(init) }(from)))
    }

    /// Another module uses the first, which stays meanwhile: once its init function fails, then it comes and goes.
    fn used(
        &mut self,
        modules: &mut Modules<'_>,
        sample: ModuleId,
        file: &'static [u8],
        arch: ModuleArch,
    ) -> Result<(), Note> {
        for returned in [ENOMEM, 0] {
            let user = self.load(modules, "user", file, arch)?;
            let (_, made) = self.init(modules, user, 3)?;
            let held = matches!(modules.begin_unload(sample), Err(UnloadError::InUse { users: 1, .. }));
            let done = self.host(|host| modules.finish_init(user, returned, host))?;
            if returned == ENOMEM {
                all(&[
                    (made == 21 && held, "what another module uses can be unloaded"),
                    (done == Err(InitFailed::Returned(ENOMEM)), "an init function's error is lost"),
                    (modules.find("user").is_none(), "a module stays whose init function failed"),
                    (modules.users(sample).next().is_none(), "it holds another one yet"),
                ])?;
                continue;
            }
            done.map_err(|e| because(&e))?;
            let live = matches!(modules.begin_unload(sample), Err(UnloadError::InUse { users: 1, .. }));
            let exit = modules.begin_unload(user).map_err(|e| because(&e))?;
            let exit = exit.ok_or_else(|| failed("no exit function"))?;
            // SAFETY: as for the first module's.
            let last = unsafe { function::<Exit>(exit) }();
            self.host(|host| modules.finish_unload(user, host))?.map_err(|e| because(&e))?;
            all(&[
                (made == 21 && held && live, "what another module uses can be unloaded"),
                (last == 21, "a module's exit function does not reach the other module"),
            ])?;
        }
        Ok(())
    }

    /// Each processor counts in its own copy, and meets a fault that is expected.
    fn exports(&self, module: &Module) -> Result<(), Note> {
        let metal = self.metal;
        let code = &mut KernelCode(&|range| metal.sync_code(range));
        let mut export = |name| {
            let found = module.find_export(code, name).ok_or_else(|| failed("nothing is exported"))?;
            Ok(VirtAddr::new(found.address))
        };
        // SAFETY: the module, which stays while this is borrowed, exports it with this type.
        let count = unsafe { function::<Count>(export("pagewright_sample_count")?) };
        // SAFETY: as above.
        let peek = unsafe { function::<Peek>(export("pagewright_sample_peek")?) };
        let (miscounted, met) = (AtomicU32::new(0), AtomicU32::new(0));
        let known = extable::with_table(module.fault_table(), || {
            metal.on_each_cpu(&|cpu| {
                let n = u64::from(cpu) + 1;
                let counts = [count(cpu.into(), n), count(cpu.into(), n)];
                let right = counts == [100 + 2 * n, 100 + 4 * n];
                miscounted.fetch_or(u32::from(!right) << (cpu % 32), Ordering::Relaxed);
                let mut into = 1;
                // SAFETY: it can be written, and what is read is the image's own; at 8 nothing is mapped, which the module expects.
                let read = unsafe { peek(&raw const NUMBER as usize, &mut into) } == 0 && into == 1000;
                // SAFETY: as above.
                let faulted = unsafe { peek(8, &mut into) } == EFAULT && into == 0;
                met.fetch_or(u32::from(!read || !faulted) << (cpu % 32), Ordering::Relaxed);
            });
        });
        all(&[
            (known.is_some(), "there are too many tables of faults"),
            (miscounted.into_inner() == 0, "a processor does not count in a copy of its own"),
            (met.into_inner() == 0, "a fault that a module expects does not go on as it says"),
        ])
    }
}
