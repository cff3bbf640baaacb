//! The modules that are loaded, and who uses whom.
//!
//! [`Modules`] keeps modules in slots that the caller brings. One whose symbols another has been relocated against is *held* by it: it cannot be unloaded
//! before. A module's way is [`Modules::load`] (it is *coming*), its init function, [`Modules::finish_init`] (it is *live*), [`Modules::begin_unload`] (it is
//! *going*), its exit function, [`Modules::finish_unload`]. Symbols come from the kernel first, then from live modules; those under the GPL only where the
//! module says that its licence is compatible. An init function that fails, and whatever else goes wrong before a module is live, leaves nothing of it.
//!
//! Names, states and rules are Linux's (`/proc/modules`, proc(5); `delete_module(2)` for what is refused).

mod error;
mod linked;

pub use error::{InitFailed, UnloadError};

use super::error::ModuleError;
use super::file::ModuleFile;
use super::fixup::Fixup;
use super::host::{CodeMemory, ModuleHost};
use super::layout::{ModuleLayout, Part};
use super::load::Module;
use super::tables::Export;
use arrayvec::ArrayString;
use core::fmt;
use linked::Linked;
use pagewright_addr::VirtAddr;

/// A module's name (MODULE_NAME_LEN, on 64-bit kernels, less the zero at its end).
pub type ModuleName = ArrayString<55>;

/// What a module is about to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ModuleState {
    /// Its init function has not returned.
    Coming,
    /// It can be used.
    Live,
    /// Its exit function runs.
    Going,
}

impl fmt::Display for ModuleState {
    /// As `/proc/modules` says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coming => "Loading",
            Self::Live => "Live",
            Self::Going => "Unloading",
        })
    }
}

#[derive(Debug)]
struct Loaded {
    module: Module,
    name: ModuleName,
    state: ModuleState,
    /// Which of all modules that were ever loaded.
    number: u64,
    /// References that were taken by [`Modules::get`].
    references: u32,
    /// Whether it had an init function.
    has_init: bool,
}

/// A place for a module.
#[derive(Debug, Default)]
pub struct ModuleSlot(Option<Loaded>);

/// A module of [`Modules`], also after it went: then there is none of this number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ModuleId {
    slot: usize,
    number: u64,
}

/// Whether a licence lets a module use what is exported to such modules alone (`license_is_gpl_compatible`; the words are those that
/// MODULE_LICENSE documents).
fn is_gpl_compatible(licence: &str) -> bool {
    matches!(
        licence,
        "GPL" | "GPL v2" | "GPL and additional rights" | "Dual BSD/GPL" | "Dual MIT/GPL" | "Dual MPL/GPL"
    )
}

/// The modules of a kernel.
#[derive(Debug)]
pub struct Modules<'m> {
    slots: &'m mut [ModuleSlot],
    /// A row of bits for each slot: whom its module uses.
    uses: &'m mut [u64],
    /// How many were ever loaded.
    count: u64,
}

/// Words of a row.
const fn row_words(slots: usize) -> usize {
    slots.div_ceil(64)
}

impl<'m> Modules<'m> {
    /// Words that so many slots need to say who uses whom.
    pub const fn words(slots: usize) -> usize {
        slots * row_words(slots)
    }

    /// None loaded. `None` if there are fewer words than [`Self::words`].
    pub fn new(slots: &'m mut [ModuleSlot], uses: &'m mut [u64]) -> Option<Self> {
        let uses = uses.get_mut(..Self::words(slots.len()))?;
        uses.fill(0);
        slots.fill_with(ModuleSlot::default);
        Some(Self { slots, uses, count: 0 })
    }

    fn loaded(&self, slot: usize) -> Option<&Loaded> {
        self.slots.get(slot)?.0.as_ref()
    }

    fn of(&self, id: ModuleId) -> Option<&Loaded> {
        self.loaded(id.slot).filter(|loaded| loaded.number == id.number)
    }

    fn of_mut(&mut self, id: ModuleId) -> Option<&mut Loaded> {
        self.slots.get_mut(id.slot)?.0.as_mut().filter(|loaded| loaded.number == id.number)
    }

    fn all(&self) -> impl Iterator<Item = (usize, &Loaded)> {
        self.slots.iter().enumerate().filter_map(|(slot, place)| Some((slot, place.0.as_ref()?)))
    }

    fn row(&mut self, slot: usize) -> &mut [u64] {
        let words = row_words(self.slots.len());
        &mut self.uses[slot * words..(slot + 1) * words]
    }

    fn does_use(&self, user: usize, used: usize) -> bool {
        let words = row_words(self.slots.len());
        self.uses[user * words + used / 64] >> (used % 64) & 1 != 0
    }

    /// The module of that name (`find_module`).
    pub fn find(&self, name: &str) -> Option<ModuleId> {
        let found = self.all().find(|(_, loaded)| loaded.name.as_str() == name);
        found.map(|(slot, loaded)| ModuleId { slot, number: loaded.number })
    }

    /// The module, while it is loaded.
    pub fn module(&self, id: ModuleId) -> Option<&Module> {
        self.of(id).map(|loaded| &loaded.module)
    }

    /// What it is about to do.
    pub fn state(&self, id: ModuleId) -> Option<ModuleState> {
        self.of(id).map(|loaded| loaded.state)
    }

    /// The names of those that use a module's symbols (`source_list`).
    pub fn users(&self, id: ModuleId) -> impl Iterator<Item = &str> {
        let used = self.of(id).map(|_| id.slot);
        self.all()
            .filter(move |(slot, _)| used.is_some_and(|used| self.does_use(*slot, used)))
            .map(|(_, loaded)| loaded.name.as_str())
    }

    /// Loads a module under a name: its symbols are the kernel's ([`ModuleHost::symbol`]), or those that live modules export, which it holds from now
    /// on. Its init function is to be called next, and [`Self::finish_init`] told what it returned.
    ///
    /// # Errors
    /// [`ModuleError`]; nothing is left of it, and nobody is held.
    pub fn load<'f>(
        &mut self,
        name: &str,
        file: &ModuleFile<'f>,
        layout: &ModuleLayout<'_>,
        host: &mut impl ModuleHost,
    ) -> Result<ModuleId, ModuleError<'f>> {
        let name = ModuleName::from(name).map_err(|_| ModuleError::Name)?;
        if name.is_empty() {
            return Err(ModuleError::Name);
        }
        if self.find(&name).is_some() {
            return Err(ModuleError::Exists { module: name });
        }
        let slots = self.slots.len();
        let slot = self.slots.iter().position(|place| place.0.is_none());
        let slot = slot.ok_or(ModuleError::Full { modules: slots })?;
        self.row(slot).fill(0);
        let gpl = file.modinfo().any(|(word, licence)| word == "license" && is_gpl_compatible(licence));
        let mut linked = Linked { modules: self, host, slot, gpl, not_live: None };
        let loaded = Module::load(file, layout, &mut linked);
        let refused = linked.not_live.map(|module| ModuleError::NotLive { module });
        let module = match (loaded, refused) {
            (Ok(module), None) => module,
            (loaded, refused) => {
                self.row(slot).fill(0);
                return Err(match (loaded, refused) {
                    // Only what it could do without was another's that is not live.
                    (Ok(module), Some(why)) => {
                        module.unload(host);
                        why
                    }
                    (Err(ModuleError::Undefined { .. }), Some(why)) => why,
                    (Err(why), _) => why,
                    (Ok(_), None) => unreachable!("taken above"),
                });
            }
        };
        self.count += 1;
        let (number, has_init) = (self.count, module.init_function.is_some());
        let state = ModuleState::Coming;
        self.slots[slot].0 = Some(Loaded { module, name, state, number, references: 0, has_init });
        Ok(ModuleId { slot, number })
    }

    /// Says what the init function returned: with 0 or more the module is live, and its init part is freed; with less all of it is (and whom it held is
    /// held no more).
    ///
    /// # Errors
    /// [`InitFailed`].
    pub fn finish_init(
        &mut self,
        id: ModuleId,
        returned: i32,
        host: &mut impl ModuleHost,
    ) -> Result<(), InitFailed> {
        let loaded = self.of_mut(id).filter(|loaded| loaded.state == ModuleState::Coming);
        let loaded = loaded.ok_or(InitFailed::NotComing)?;
        let done = match returned {
            0.. => loaded.module.finish_init(host).map_err(InitFailed::Protect),
            error => Err(InitFailed::Returned(error)),
        };
        match done {
            Ok(()) => loaded.state = ModuleState::Live,
            Err(_) => self.take(id.slot, host),
        }
        done
    }

    /// Begins to unload a module that nobody uses: it is found by nobody from here on. Its exit function is to be called next, if it has one,
    /// then [`Self::finish_unload`].
    ///
    /// # Errors
    /// [`UnloadError`]; nothing has changed then.
    pub fn begin_unload(&mut self, id: ModuleId) -> Result<Option<VirtAddr>, UnloadError> {
        let loaded = self.of(id).ok_or(UnloadError::None)?;
        let (module, references) = (loaded.name, loaded.references);
        if loaded.state != ModuleState::Live {
            return Err(UnloadError::Busy { module, state: loaded.state });
        }
        let users = self.users(id).count() as u32;
        if users > 0 || references > 0 {
            let first = self.users(id).next().and_then(|name| ModuleName::from(name).ok());
            return Err(UnloadError::InUse { users, first, references });
        }
        let exit = loaded.module.exit_function;
        if loaded.has_init && exit.is_none() {
            return Err(UnloadError::Permanent { module });
        }
        if let Some(loaded) = self.of_mut(id) {
            loaded.state = ModuleState::Going;
        }
        Ok(exit)
    }

    /// Frees a module whose exit function has returned, and lets go of those it used.
    ///
    /// # Errors
    /// [`UnloadError`] if it is not going.
    pub fn finish_unload(&mut self, id: ModuleId, host: &mut impl ModuleHost) -> Result<(), UnloadError> {
        let loaded = self.of(id).ok_or(UnloadError::None)?;
        if loaded.state != ModuleState::Going {
            return Err(UnloadError::Busy { module: loaded.name, state: loaded.state });
        }
        self.take(id.slot, host);
        Ok(())
    }

    /// Takes a module out of its slot and frees it.
    fn take(&mut self, slot: usize, host: &mut impl ModuleHost) {
        self.row(slot).fill(0);
        if let Some(loaded) = self.slots[slot].0.take() {
            loaded.module.unload(host);
        }
    }

    /// Takes a reference to a module, which stays until it is given back (`try_module_get`); `false` if it is going, or there is none.
    pub fn get(&mut self, id: ModuleId) -> bool {
        let loaded = self.of_mut(id).filter(|loaded| loaded.state != ModuleState::Going);
        let more = loaded.and_then(|loaded| Some((loaded.references.checked_add(1)?, loaded)));
        more.map(|(references, loaded)| loaded.references = references).is_some()
    }

    /// Gives it back (`module_put`); `false` if there was none.
    pub fn put(&mut self, id: ModuleId) -> bool {
        let less = self.of_mut(id).and_then(|loaded| Some((loaded.references.checked_sub(1)?, loaded)));
        less.map(|(references, loaded)| loaded.references = references).is_some()
    }

    /// The symbol of that name that a module exports, whatever its state, and which one.
    fn find_export(&self, memory: &mut impl CodeMemory, name: &str, gpl: bool) -> Option<(usize, Export)> {
        self.all().find_map(|(slot, loaded)| {
            let export = loaded.module.find_export(memory, name).filter(|export| gpl || !export.gpl)?;
            Some((slot, export))
        })
    }

    /// Where to go on if an instruction of a module's faults (`search_module_extables`).
    pub fn search_extables(&self, memory: &mut impl CodeMemory, instruction: VirtAddr) -> Option<Fixup> {
        self.all().find_map(|(_, loaded)| loaded.module.search_extable(memory, instruction))
    }
}

impl fmt::Display for Modules<'_> {
    /// `/proc/modules`: the newest first, each with its bytes, its references, who uses it, its state and its address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = u64::MAX;
        while let Some((slot, loaded)) =
            self.all().filter(|(_, loaded)| loaded.number < before).max_by_key(|(_, loaded)| loaded.number)
        {
            before = loaded.number;
            let id = ModuleId { slot, number: loaded.number };
            let range = |part| loaded.module.range(part).unwrap_or_default();
            let (core, init) = (range(Part::Core), range(Part::Init));
            let references = self.users(id).count() as u64 + u64::from(loaded.references);
            write!(f, "{} {} {references} ", loaded.name, core.len + init.len)?;
            let permanent = loaded.has_init && loaded.module.exit_function.is_none();
            self.users(id).try_for_each(|user| write!(f, "{user},"))?;
            match (permanent, self.users(id).next()) {
                (true, _) => f.write_str("[permanent],")?,
                (false, None) => f.write_str("-")?,
                (false, Some(_)) => {}
            }
            writeln!(f, " {} {:#018x}", loaded.state, core.start.get())?;
        }
        Ok(())
    }
}
