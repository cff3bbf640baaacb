//! Loading a module, and what becomes of it.

use super::error::{ModuleError, RelocationProblem};
use super::file::ModuleFile;
use super::host::ModuleHost;
use super::layout::{Group, ModuleLayout, Part, PartLayout, PerCpuLayout, Place};
use super::relocate::{ModuleArch, Relocation, Values};
use super::tables::{Faults, ModuleTables};
use elf::abi;
use elf::symbol::Symbol;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_pagetable::{AttrChange, AttrFlags, UnmapError};

/// Spreads addresses (2^64 by the golden ratio).
const HASH: u64 = 0x9e37_79b9_7f4a_7c15;

/// A part where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Area {
    start: VirtAddr,
    layout: PartLayout,
}

impl Area {
    fn range(&self) -> VirtRange {
        VirtRange::from_len(self.start, self.layout.size())
    }

    fn group(&self, group: Group) -> VirtRange {
        let (start, end) = self.layout.group(group);
        VirtRange::from_len(VirtAddr::new(self.start.get() + start), end - start)
    }
}

/// A module that is loaded. Dropping it leaves it where it is; [`Self::unload`] gives its areas back.
#[derive(Debug)]
#[must_use = "a module that is dropped stays for good"]
pub struct Module {
    core: Area,
    init: Option<Area>,
    /// Where init was, once it is gone: somebody else's addresses.
    pub(super) gone: Option<VirtRange>,
    per_cpu: Option<u64>,
    pub(super) arch: ModuleArch,
    pub(super) tables: ModuleTables,
    /// The function that the kernel calls once (`init_module`).
    pub init_function: Option<VirtAddr>,
    /// The function that it calls before the module goes (`cleanup_module`).
    pub exit_function: Option<VirtAddr>,
    /// Veneers that were made, in core and init.
    pub veneers: [u32; 2],
}

/// A module while it is loaded.
struct Loading<'l, 'f, H> {
    file: &'l ModuleFile<'f>,
    layout: &'l ModuleLayout<'l>,
    host: &'l mut H,
    core: Area,
    init: Option<Area>,
    per_cpu: Option<u64>,
    veneers: [u32; 2],
}

impl Module {
    /// Loads a module: takes areas, fills and relocates them, and protects them.
    ///
    /// # Errors
    /// [`ModuleError`]; the areas were given back then.
    pub fn load<'f, H: ModuleHost>(
        file: &ModuleFile<'f>,
        layout: &ModuleLayout<'_>,
        host: &mut H,
    ) -> Result<Self, ModuleError<'f>> {
        let take = |host: &mut H, part: Part| {
            let layout = *layout.part(part);
            let taken = host.alloc(layout.size(), layout.align);
            taken.map(|start| Area { start, layout }).map_err(|why| ModuleError::Area {
                part,
                bytes: layout.size(),
                why,
            })
        };
        if layout.core.size() == 0 {
            return Err(ModuleError::Section { section: 0, what: "nothing of the file is to be loaded" });
        }
        let core = take(host, Part::Core)?;
        let init = match layout.init.size() {
            0 => None,
            _ => match take(host, Part::Init) {
                Ok(area) => Some(area),
                Err(why) => {
                    host.free(core.start);
                    return Err(why);
                }
            },
        };
        let mut loading = Loading { file, layout, host, core, init, per_cpu: None, veneers: [0; 2] };
        let done = loading.run();
        let (init_function, exit_function) = match done {
            Ok(functions) => functions,
            Err(why) => {
                loading.give_back();
                return Err(why);
            }
        };
        let (per_cpu, veneers, tables) = (loading.per_cpu, loading.veneers, loading.tables());
        Ok(Self {
            core,
            init,
            gone: None,
            per_cpu,
            arch: file.arch,
            tables,
            init_function,
            exit_function,
            veneers,
        })
    }

    /// The address range of a part; `None` if there is none, or none any more.
    pub fn range(&self, part: Part) -> Option<VirtRange> {
        match part {
            Part::Core => Some(self.core.range()),
            Part::Init => self.init.as_ref().map(Area::range),
        }
    }

    /// Where a group of a part lies, if there is any of it.
    pub fn group(&self, part: Part, group: Group) -> Option<VirtRange> {
        let area = match part {
            Part::Core => Some(&self.core),
            Part::Init => self.init.as_ref(),
        };
        area.map(|area| area.group(group)).filter(|range| !range.is_empty())
    }

    /// Says that the init function has returned, and that the module stays: what is read-only from now on becomes so, and the init part is freed.
    ///
    /// # Errors
    /// [`UnmapError`] if the page tables do not take that; nothing has changed then.
    pub fn finish_init(&mut self, host: &mut impl ModuleHost) -> Result<(), UnmapError> {
        let range = self.core.group(Group::ReadOnlyAfterInit);
        if !range.is_empty() {
            host.protect(range, &AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE))?;
        }
        if let Some(init) = self.init.take() {
            host.free(init.start);
            self.gone = Some(init.range());
        }
        self.init_function = None;
        Ok(())
    }

    /// Gives its areas back: what is left of init, then the core. Nobody runs in the module or has an address of it.
    pub fn unload(self, host: &mut impl ModuleHost) {
        give_back(host, self.init.as_ref(), &self.core, self.per_cpu);
    }
}

fn give_back(host: &mut impl ModuleHost, init: Option<&Area>, core: &Area, per_cpu: Option<u64>) {
    if let Some(init) = init {
        host.free(init.start);
    }
    if let Some(per_cpu) = per_cpu {
        host.free_per_cpu(per_cpu);
    }
    host.free(core.start);
}

/// A module's init and exit functions.
type Functions = (Option<VirtAddr>, Option<VirtAddr>);

impl<'f, H: ModuleHost> Loading<'_, 'f, H> {
    fn give_back(&mut self) {
        give_back(self.host, self.init.as_ref(), &self.core, self.per_cpu);
    }

    fn run(&mut self) -> Result<Functions, ModuleError<'f>> {
        self.fill()?;
        let file = self.file;
        file.relocations(|target, relocation| self.relocate(target, relocation))?;
        let functions = self.functions()?;
        Faults::new(file.arch, self.tables().faults).sort(self.host);
        for area in [Some(self.core), self.init].into_iter().flatten() {
            self.protect(&area).map_err(ModuleError::Protect)?;
        }
        Ok(functions)
    }

    /// Where the tables for the kernel lie. What of them would go with init is left out, and what has no bytes in the file: such a table has no entries, however
    /// large it is said to be.
    fn tables(&self) -> ModuleTables {
        let mut tables = ModuleTables::default();
        for (number, section) in self.file.sections.iter().enumerate() {
            let Some(Place::In(Part::Core, ..)) = self.layout.places.get(number) else { continue };
            if section.sh_type == abi::SHT_NOBITS {
                continue;
            }
            if let (Some(table), Some(at)) =
                (tables.of(self.file.section_name(&section)), self.address_of(number))
            {
                *table = VirtRange::from_len(VirtAddr::new(at), section.sh_size);
            }
        }
        tables
    }

    fn area(&self, part: Part) -> Option<&Area> {
        match part {
            Part::Core => Some(&self.core),
            Part::Init => self.init.as_ref(),
        }
    }

    /// The address at which a section lies, as symbols have it.
    fn address_of(&self, section: usize) -> Option<u64> {
        match *self.layout.places.get(section)? {
            Place::Nowhere => None,
            Place::In(part, _, offset) => Some(self.area(part)?.start.get() + offset),
            Place::PerCpu(offset) => self.per_cpu.map(|start| start + offset),
        }
    }

    /// Writes the sections' bytes.
    fn fill(&mut self) -> Result<(), ModuleError<'f>> {
        let PerCpuLayout { size, align } = self.layout.per_cpu;
        if size > 0 {
            let room = self.host.per_cpu(size, align);
            self.per_cpu = Some(room.ok_or(ModuleError::PerCpu { bytes: size })?);
        }
        for (number, section) in self.file.sections.iter().enumerate() {
            let Some(&place) = self.layout.places.get(number).filter(|&&place| place != Place::Nowhere)
            else {
                continue;
            };
            let bytes = self.file.data(number, &section)?;
            if !self.layout.has_room(place, section.sh_size) {
                return Err(ModuleError::Section { section: number, what: "the layout is another file's" });
            }
            if let Some(at) = self.address_of(number).filter(|_| !bytes.is_empty()) {
                self.write(place, at, bytes);
            }
        }
        Ok(())
    }

    /// Writes to a section's bytes, or to each CPU's copy of them.
    fn write(&mut self, place: Place, at: u64, bytes: &[u8]) {
        match place {
            Place::PerCpu(_) => self.host.write_per_cpu(at, bytes),
            _ => self.host.write(VirtAddr::new(at), bytes),
        }
    }

    /// Reads them; all copies are alike while a module is loaded.
    fn read(&mut self, place: Place, at: u64, into: &mut [u8]) {
        match place {
            Place::PerCpu(_) => self.host.read_per_cpu(at, into),
            _ => self.host.read(VirtAddr::new(at), into),
        }
    }

    /// The address of a symbol; `None` if it is in a section that is not loaded, or the kernel is to have it and its name cannot be read.
    fn value_of(&mut self, symbol: &Symbol) -> Result<Option<u64>, ModuleError<'f>> {
        let name = self.file.symbol_name(symbol);
        match symbol.st_shndx {
            abi::SHN_UNDEF if name.is_empty() => Ok(None),
            abi::SHN_UNDEF => match self.host.symbol(name) {
                Some(address) => Ok(Some(address)),
                None if symbol.st_bind() == abi::STB_WEAK => Ok(Some(0)),
                None => Err(ModuleError::Undefined { symbol: name }),
            },
            abi::SHN_ABS => Ok(Some(symbol.st_value)),
            abi::SHN_COMMON => Err(ModuleError::Common { symbol: name }),
            section => Ok(self.address_of(section.into()).map(|at| at.wrapping_add(symbol.st_value))),
        }
    }

    fn relocate(&mut self, target: usize, relocation: &Relocation) -> Result<(), ModuleError<'f>> {
        let Relocation { offset, symbol, kind, addend } = *relocation;
        let wrong = |problem| ModuleError::Relocation { section: target, offset, kind, problem };
        let arch = self.file.arch;
        let in_section = match self.layout.places.get(target) {
            Some(&place) if place != Place::Nowhere => place,
            // Debugging data and the like are not loaded.
            _ => return Ok(()),
        };
        if arch.has_addends() != addend.is_some() {
            return Err(wrong(RelocationProblem::Table));
        }
        let unknown = || {
            arch.without_got(kind)
                .map_or(RelocationProblem::Unknown, |flags| RelocationProblem::Got { flags })
        };
        let width = arch.width(kind).ok_or_else(|| wrong(unknown()))?;
        if width == 0 {
            return Ok(());
        }
        let size = match self.file.sections.get(target) {
            Ok(section) if section.sh_type != abi::SHT_NOBITS => section.sh_size,
            _ => 0,
        };
        if offset.checked_add(width as u64).is_none_or(|end| end > size) {
            return Err(wrong(RelocationProblem::Outside));
        }
        let found = self.file.symbol(symbol).ok_or_else(|| wrong(RelocationProblem::Symbol))?;
        let value = match symbol {
            // No symbol: the addend alone.
            0 => Some(0),
            _ => self.value_of(&found)?,
        };
        let value = value.ok_or_else(|| wrong(RelocationProblem::Symbol))?;
        let place = self.address_of(target).ok_or_else(|| wrong(RelocationProblem::Outside))? + offset;
        let mut bytes = [0; 8];
        self.read(in_section, place, &mut bytes[..width]);
        let word = u64::from_le_bytes(bytes);
        let values = Values { place, symbol: value, addend };
        let patched = match (arch.patch(kind, word, &values), in_section) {
            // A distance is another one from each copy, unless what it leads to has copies as well.
            (done, Place::PerCpu(_)) if !self.has_copies(&found) => {
                let elsewhere = Values { place: place ^ 1 << 16, ..values };
                if arch.patch(kind, word, &elsewhere) == done { done } else { Err(RelocationProblem::PerCpu) }
            }
            (Err(RelocationProblem::Range { .. }), Place::In(part, ..)) if arch.is_branch(kind) => {
                let (to, addend) = arch.branch_target(word, &values);
                let veneer = self.veneer(part, to).map_err(wrong)?;
                arch.patch(kind, word, &Values { symbol: veneer, addend: Some(addend), ..values })
            }
            (done, _) => done,
        };
        let patched = patched.map_err(wrong)?.to_le_bytes();
        self.write(in_section, place, &patched[..width]);
        Ok(())
    }

    /// Whether a symbol is a per-CPU variable of the module's.
    fn has_copies(&self, symbol: &Symbol) -> bool {
        matches!(self.layout.places.get(usize::from(symbol.st_shndx)), Some(Place::PerCpu(_)))
    }

    /// The address of the veneer that leads to a target: one that is there, or a new one.
    fn veneer(&mut self, part: Part, to: u64) -> Result<u64, RelocationProblem> {
        let arch = self.file.arch;
        let bytes = arch.veneer() as usize;
        let wanted = arch.veneer_to(to);
        let area = *self.area(part).ok_or(RelocationProblem::Outside)?;
        let first = area.start.get() + area.layout.veneers;
        let room = area.layout.veneer_room;
        // A table by hash: what is zero is free, and there is more room than veneers.
        let begin = (to >> 2).wrapping_mul(HASH) >> 32;
        for n in (0..u64::from(room)).map(|step| (begin + step) % u64::from(room)) {
            let at = first + n * arch.veneer();
            let mut found = [0; 16];
            self.host.read(VirtAddr::new(at), &mut found[..bytes]);
            if found == wanted {
                return Ok(at);
            }
            if found == [0; 16] {
                self.host.write(VirtAddr::new(at), &wanted[..bytes]);
                self.veneers[part as usize] += 1;
                return Ok(at);
            }
        }
        Err(RelocationProblem::Veneers { room })
    }

    fn functions(&mut self) -> Result<Functions, ModuleError<'f>> {
        let (mut init, mut exit) = (None, None);
        let file = self.file;
        for symbol in file.symbols().skip(1).filter(|symbol| symbol.st_shndx != abi::SHN_UNDEF) {
            let found = match file.symbol_name(&symbol) {
                "init_module" => &mut init,
                "cleanup_module" => &mut exit,
                _ => continue,
            };
            *found = self.value_of(&symbol)?.map(VirtAddr::new);
        }
        Ok((init, exit))
    }

    /// Text becomes executable and read-only, read-only data read-only.
    fn protect(&mut self, area: &Area) -> Result<(), UnmapError> {
        let (text, data) = (area.group(Group::Text), area.group(Group::ReadOnly));
        if !text.is_empty() {
            self.host.sync(text);
            self.host.protect(text, &AttrChange::flags(AttrFlags::EXEC, AttrFlags::WRITE))?;
        }
        if !data.is_empty() {
            self.host.protect(data, &AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE))?;
        }
        Ok(())
    }
}
