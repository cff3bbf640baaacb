//! Why a module is not loaded.

use super::layout::Part;
use super::loaded::ModuleName;
use crate::vmalloc::NoArea;
use core::fmt;
use pagewright_pagetable::UnmapError;

/// Why a module cannot be loaded, or not be protected. No area is left of it then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModuleError<'f> {
    /// No ELF file, or one that contradicts itself.
    NotElf,
    /// It has no symbol table.
    Stripped,
    /// A symbol of a section whose number stands for something else (SHN_LORESERVE and up; SHN_XINDEX in files of so many sections).
    Reserved {
        /// Its name.
        symbol: &'f str,
        /// The number.
        section: u16,
    },
    /// For another processor.
    Machine {
        /// `e_machine`.
        found: u16,
        /// What it should be.
        expected: u16,
    },
    /// Not of this processor's class (32 or 64 bits).
    Class,
    /// Not relocatable.
    Kind {
        /// `e_type`; a relocatable file has 1.
        found: u16,
    },
    /// A section that cannot be.
    Section {
        /// Its number.
        section: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More sections than the caller has places for.
    Sections {
        /// The file's.
        sections: usize,
        /// Places.
        places: usize,
    },
    /// A symbol that neither the module nor the kernel has.
    Undefined {
        /// Its name.
        symbol: &'f str,
    },
    /// A common symbol, for which nobody has laid out room (`-fno-common`).
    Common {
        /// Its name.
        symbol: &'f str,
    },
    /// A relocation that cannot be done.
    Relocation {
        /// The section that is relocated.
        section: usize,
        /// Where in it.
        offset: u64,
        /// The relocation's number in the processor's supplement.
        kind: u32,
        /// What is wrong.
        problem: RelocationProblem,
    },
    /// Per-CPU variables, for which there is no room.
    PerCpu {
        /// Their bytes.
        bytes: u64,
    },
    /// No area.
    Area {
        /// For which part.
        part: Part,
        /// Its bytes.
        bytes: u64,
        /// Why: which region was full, and what the one behind it said.
        why: NoArea,
    },
    /// The page tables did not take the protection.
    Protect(UnmapError),
    /// No name, or one that is too long.
    Name,
    /// A module of that name is there (`EEXIST`).
    Exists {
        /// Its name.
        module: ModuleName,
    },
    /// There is no place for another module.
    Full {
        /// How many there are.
        modules: usize,
    },
    /// A symbol of a module that is not live yet, or no more (`EBUSY`).
    NotLive {
        /// The module.
        module: ModuleName,
    },
}

/// What is wrong with a relocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelocationProblem {
    /// A kind that this loader does not know.
    Unknown,
    /// An address is read from a global offset table, and modules have none.
    Got {
        /// With what the module is to be compiled.
        flags: &'static str,
    },
    /// It changes bytes outside of its section.
    Outside,
    /// A symbol that the file does not have, or one in a section that is not loaded.
    Symbol,
    /// The value does not fit.
    Range {
        /// It, as the supplement computes it.
        value: i64,
    },
    /// The value is not aligned as the instruction wants it.
    Unaligned {
        /// It.
        value: i64,
    },
    /// A table of the kind that the processor does not use: with addends or without.
    Table,
    /// A distance from per-CPU data to something of which there is one only.
    PerCpu,
    /// The place is not zero before, although all is said by the table's addends.
    NotZero {
        /// What is there.
        word: u64,
    },
    /// There is no room for another veneer.
    Veneers {
        /// How many there are.
        room: u32,
    },
}

impl fmt::Display for RelocationProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not a kind that is known"),
            Self::Got { flags } => {
                write!(f, "through a global offset table, which modules do not have: compile with {flags}")
            }
            Self::Outside => f.write_str("outside of its section"),
            Self::Symbol => f.write_str("against a symbol that is not loaded"),
            Self::Range { value } => write!(f, "value {value:#x} does not fit"),
            Self::Unaligned { value } => write!(f, "value {value:#x} is not aligned"),
            Self::Table => f.write_str("its table is of the other kind (SHT_REL, SHT_RELA)"),
            Self::PerCpu => f.write_str("a distance from per-CPU data, which is another one on each CPU"),
            Self::NotZero { word } => write!(f, "its place has {word:#x} already"),
            Self::Veneers { room } => write!(f, "all {room} veneers are taken"),
        }
    }
}

impl fmt::Display for ModuleError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("no ELF file, or a damaged one"),
            Self::Stripped => f.write_str("no symbol table: the file was stripped"),
            Self::Reserved { symbol, section } => {
                write!(f, "symbol {symbol} is of section {section:#x}, a number that is reserved")
            }
            Self::Machine { found, expected } => {
                write!(f, "a module for machine {found}; this kernel is for machine {expected}")
            }
            Self::Class => f.write_str("a module of the other word size"),
            Self::Kind { found } => write!(f, "an ELF file of type {found}; a module is relocatable (1)"),
            Self::Section { section, what } => write!(f, "section {section}: {what}"),
            Self::Sections { sections, places } => {
                write!(f, "{sections} sections, but places for {places} only")
            }
            Self::Undefined { symbol } => write!(f, "Unknown symbol {symbol}"),
            Self::Common { symbol } => write!(f, "{symbol} is common: compile with -fno-common"),
            Self::Relocation { section, offset, kind, problem } => {
                write!(f, "relocation of kind {kind} at {offset:#x} of section {section}: {problem}")
            }
            Self::PerCpu { bytes } => write!(f, "no room for {bytes} bytes of per-CPU variables"),
            Self::Area { part, bytes, why } => {
                write!(f, "no area of {bytes} bytes for its {part} part: {why}")
            }
            Self::Protect(why) => write!(f, "its memory cannot be protected: {why}"),
            Self::Name => f.write_str("a module's name has 1 to 55 bytes"),
            Self::Exists { module } => write!(f, "a module {module} is loaded already"),
            Self::Full { modules } => write!(f, "there are {modules} modules, and no place for another"),
            Self::NotLive { module } => write!(f, "it needs symbols of {module}, which is not live"),
        }
    }
}

impl core::error::Error for ModuleError<'_> {}
