//! Where a module's sections will lie.

use super::error::ModuleError;
use super::file::ModuleFile;
use core::fmt;
use elf::abi;
use elf::section::SectionHeader;

/// Which of a module's two areas.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// What stays as long as the module does.
    Core,
    /// What is freed when its init function has returned.
    Init,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Core => "core",
            Self::Init => "init",
        })
    }
}

/// What a part consists of, in this order; each begins at a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Group {
    /// Executable, not writable; veneers are behind it.
    Text,
    /// Neither.
    ReadOnly,
    /// Writable until the init function has returned.
    ReadOnlyAfterInit,
    /// Writable.
    Data,
}

impl Group {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Text, Self::ReadOnly, Self::ReadOnlyAfterInit, Self::Data];
}

/// Where a section lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Place {
    /// Nowhere: it is not loaded.
    #[default]
    Nowhere,
    /// In a part, so many bytes from its start.
    In(Part, Group, u64),
    /// Each CPU has a copy (`.data..percpu`), so many bytes from the start of the module's per-CPU variables.
    PerCpu(u64),
}

/// A part's size, and where its groups end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PartLayout {
    /// Ends of the groups in bytes from the part's start, whole pages, in [`Group::ALL`]'s order. The last is the size.
    pub ends: [u64; 4],
    /// The part begins at a multiple of this: of a page, or of what one of its sections demands.
    pub align: u64,
    /// Where the veneers are.
    pub veneers: u64,
    /// For how many there is room.
    pub veneer_room: u32,
}

impl PartLayout {
    /// Bytes of the part; 0 if there is none.
    pub const fn size(&self) -> u64 {
        self.ends[3]
    }

    /// Where a group begins and ends.
    pub const fn group(&self, group: Group) -> (u64, u64) {
        let at = group as usize;
        (if at == 0 { 0 } else { self.ends[at - 1] }, self.ends[at])
    }
}

/// What each CPU has a copy of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerCpuLayout {
    /// Bytes; 0 if there is nothing.
    pub size: u64,
    /// It begins at a multiple of this.
    pub align: u64,
}

/// The layout of a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModuleLayout<'p> {
    /// Each section's place, by number.
    pub places: &'p [Place],
    /// The core.
    pub core: PartLayout,
    /// What is freed after init.
    pub init: PartLayout,
    /// Per-CPU variables.
    pub per_cpu: PerCpuLayout,
}

/// No module has more bytes: offsets are small numbers, and sums of them do not overflow.
const MOST: u64 = 1 << 30;

impl<'p> ModuleLayout<'p> {
    /// Lays a module out, with pages of so many bytes. `places` has a place for each section.
    ///
    /// # Errors
    /// [`ModuleError`].
    pub fn new<'f>(
        file: &ModuleFile<'f>,
        page: u64,
        places: &'p mut [Place],
    ) -> Result<Self, ModuleError<'f>> {
        let sections = file.sections();
        let too_few = ModuleError::Sections { sections, places: places.len() };
        let places = places.get_mut(..sections).ok_or(too_few)?;
        places.fill(Place::Nowhere);
        // Neither would have its permission: text is not written, data is not executed.
        let both = u64::from(abi::SHF_WRITE | abi::SHF_EXECINSTR);
        if let Some(section) = file.sections.iter().position(|section| section.sh_flags & both == both) {
            return Err(ModuleError::Section { section, what: "it is writable and executable" });
        }
        let rooms = veneers(file)?;
        let mut per_cpu = PerCpuLayout { size: 0, align: 1 };
        for (number, (section, place)) in file.sections.iter().zip(places.iter_mut()).enumerate() {
            if is_per_cpu(file, &section) && section.sh_size > 0 {
                let (start, end) = fit(number, &section, per_cpu.size)?;
                *place = Place::PerCpu(start);
                per_cpu = PerCpuLayout { size: end, align: per_cpu.align.max(section.sh_addralign) };
            }
        }
        let mut parts = [PartLayout::default(); 2];
        for (part, layout) in [Part::Core, Part::Init].into_iter().zip(&mut parts) {
            let mut at = 0;
            layout.align = page;
            for group in Group::ALL {
                for (number, (section, place)) in file.sections.iter().zip(places.iter_mut()).enumerate() {
                    if !is_per_cpu(file, &section) && of(file, &section) == Some((part, group)) {
                        let (start, end) = fit(number, &section, at)?;
                        *place = Place::In(part, group, start);
                        at = end;
                        layout.align = layout.align.max(section.sh_addralign);
                    }
                }
                // What has no text branches nowhere.
                if group == Group::Text && at > 0 && file.arch.veneer() > 0 {
                    layout.veneers = at.next_multiple_of(16);
                    // A quarter more, so that a free place is found soon.
                    layout.veneer_room = rooms.saturating_add(rooms.div_ceil(4));
                    at = layout.veneers + u64::from(layout.veneer_room) * file.arch.veneer();
                }
                at = at.next_multiple_of(page);
                layout.ends[group as usize] = at;
            }
            if at > MOST {
                return Err(ModuleError::Section { section: sections, what: "all together are too large" });
            }
        }
        let [core, init] = parts;
        Ok(Self { places, core, init, per_cpu })
    }

    /// Whether so many bytes fit where a section lies.
    pub(super) fn has_room(&self, place: Place, bytes: u64) -> bool {
        let (start, size) = match place {
            Place::Nowhere => return true,
            Place::In(part, _, start) => (start, self.part(part).size()),
            Place::PerCpu(start) => (start, self.per_cpu.size),
        };
        start.checked_add(bytes).is_some_and(|end| end <= size)
    }

    /// A part's layout.
    pub const fn part(&self, part: Part) -> &PartLayout {
        match part {
            Part::Core => &self.core,
            Part::Init => &self.init,
        }
    }
}

/// A section's start and end behind `at`.
fn fit<'f>(number: usize, section: &SectionHeader, at: u64) -> Result<(u64, u64), ModuleError<'f>> {
    let wrong = |what| ModuleError::Section { section: number, what };
    let align = section.sh_addralign.max(1);
    if !align.is_power_of_two() || align > 1 << 16 {
        return Err(wrong("its alignment is no power of two up to 64 KiB"));
    }
    let start = at.next_multiple_of(align);
    let end = start.checked_add(section.sh_size).filter(|&end| end <= MOST);
    Ok((start, end.ok_or_else(|| wrong("it is larger than a module may be"))?))
}

fn is_loaded(file: &ModuleFile<'_>, section: &SectionHeader) -> bool {
    // What the module says of itself is read from the file.
    let kept = !matches!(file.section_name(section), ".modinfo" | "__versions");
    section.sh_flags & u64::from(abi::SHF_ALLOC) != 0 && kept
}

fn is_per_cpu(file: &ModuleFile<'_>, section: &SectionHeader) -> bool {
    is_loaded(file, section) && file.section_name(section).starts_with(".data..percpu")
}

/// Whether a section is needed until the init function has returned only.
fn is_init(name: &str) -> bool {
    // Tables of arm that unwind such text go with it.
    [".init", ".ARM.extab.init", ".ARM.exidx.init"].iter().any(|start| name.starts_with(start))
}

/// Where a section goes; `None` if it is not loaded.
fn of(file: &ModuleFile<'_>, section: &SectionHeader) -> Option<(Part, Group)> {
    if !is_loaded(file, section) {
        return None;
    }
    let name = file.section_name(section);
    let has = |flag: u32| section.sh_flags & u64::from(flag) != 0;
    let group = if has(abi::SHF_EXECINSTR) {
        Group::Text
    } else if matches!(name, ".data..ro_after_init" | "__jump_table") {
        Group::ReadOnlyAfterInit
    } else if has(abi::SHF_WRITE) {
        Group::Data
    } else {
        Group::ReadOnly
    };
    Some((if is_init(name) { Part::Init } else { Part::Core }, group))
}

/// To how many addresses branches could lead that lie outside of their part: each symbol that the kernel defines, and each branch into the other part.
fn veneers<'f>(file: &ModuleFile<'f>) -> Result<u32, ModuleError<'f>> {
    if file.arch.veneer() == 0 {
        return Ok(0);
    }
    let mut count = file.symbols().skip(1).filter(|symbol| symbol.st_shndx == abi::SHN_UNDEF).count();
    let part_of = |number: usize| {
        let section = file.sections.get(number).ok()?;
        of(file, &section).map(|(part, _)| part)
    };
    file.relocations(|target, relocation| {
        let Some(symbol) = file.symbol(relocation.symbol) else { return Ok(()) };
        let defined = symbol.st_shndx != abi::SHN_UNDEF;
        if defined && file.arch.is_branch(relocation.kind) {
            count += usize::from(part_of(target) != part_of(symbol.st_shndx.into()));
        } else if file.arch.is_branch(relocation.kind) && relocation.addend.is_some_and(|addend| addend != 0)
        {
            count += 1;
        }
        Ok(())
    })?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}
