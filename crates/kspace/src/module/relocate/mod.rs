//! Relocations: what of an instruction or a word changes, by the processors' supplements.

mod arm;
mod arm64;
mod i386;
mod x86_64;

use super::error::{ModuleError, RelocationProblem};
use super::file::ModuleFile;
use elf::abi;

/// For which processor a module is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModuleArch {
    /// x86_64.
    X86_64,
    /// 32-bit x86.
    I386,
    /// arm64.
    Arm64,
    /// 32-bit Arm, ARM instructions.
    Arm,
}

/// A relocation, of either kind of table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relocation {
    /// Where in the section.
    pub(super) offset: u64,
    pub(super) symbol: u32,
    pub(super) kind: u32,
    /// What is added, unless the place itself says so.
    pub(super) addend: Option<i64>,
}

/// What a relocation is computed from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values {
    /// The place's address (P).
    pub(super) place: u64,
    /// The symbol's (S).
    pub(super) symbol: u64,
    /// What is added (A); `None` if the place has it.
    pub(super) addend: Option<i64>,
}

impl Values {
    /// S + A.
    fn sum(&self, in_place: i64) -> i64 {
        (self.symbol as i64).wrapping_add(self.addend.unwrap_or(in_place))
    }

    /// S + A - P.
    fn distance(&self, in_place: i64) -> i64 {
        self.sum(in_place).wrapping_sub(self.place as i64)
    }
}

/// Bytes of the smallest entry of a table: an offset and a word, of 32 bits.
const SMALLEST: usize = 8;

type Patched = Result<u64, RelocationProblem>;

/// Whether a value fits so many bits with a sign.
const fn is_signed(value: i64, bits: u32) -> bool {
    value >> (bits - 1) == 0 || value >> (bits - 1) == -1
}

/// The value, if it fits so many bits with a sign.
fn signed(value: i64, bits: u32) -> Result<u64, RelocationProblem> {
    if is_signed(value, bits) { Ok(value as u64) } else { Err(RelocationProblem::Range { value }) }
}

/// The low bits of a word as a number with a sign.
const fn extended(word: u64, bits: u32) -> i64 {
    ((word << (64 - bits)) as i64) >> (64 - bits)
}

impl ModuleArch {
    /// `e_machine`.
    pub const fn e_machine(self) -> u16 {
        match self {
            Self::X86_64 => abi::EM_X86_64,
            Self::I386 => abi::EM_386,
            Self::Arm64 => abi::EM_AARCH64,
            Self::Arm => abi::EM_ARM,
        }
    }

    /// Of a relocation that reads a global offset table: the compiler's flags that avoid it. The numbers are those of the processors' supplements.
    pub(super) const fn without_got(self, kind: u32) -> Option<&'static str> {
        let is_got = match self {
            Self::X86_64 => matches!(kind, 3 | 9 | 25..=30 | 41 | 42),
            Self::I386 => matches!(kind, 3 | 9 | 10 | 43),
            Self::Arm64 => matches!(kind, 300..=313),
            Self::Arm => matches!(kind, 24..=26 | 95..=98),
        };
        match self {
            Self::X86_64 if is_got => Some("-fno-pie -mcmodel=kernel"),
            Self::I386 | Self::Arm64 | Self::Arm if is_got => Some("-fno-pie"),
            _ => None,
        }
    }

    /// Whether its relocations have addends of their own (SHT_RELA).
    pub const fn has_addends(self) -> bool {
        !matches!(self, Self::Arm | Self::I386)
    }

    /// Bytes of an address.
    pub const fn word(self) -> u64 {
        match self {
            Self::X86_64 | Self::Arm64 => 8,
            Self::Arm | Self::I386 => 4,
        }
    }

    /// Bytes of a veneer; 0 where branches need none.
    pub const fn veneer(self) -> u64 {
        match self {
            Self::X86_64 | Self::I386 => 0,
            Self::Arm64 => arm64::VENEER,
            Self::Arm => arm::VENEER,
        }
    }

    /// The instructions that go to an address from wherever they lie.
    pub(super) fn veneer_to(self, target: u64) -> [u8; 16] {
        match self {
            Self::X86_64 | Self::I386 => [0; 16],
            Self::Arm64 => arm64::veneer(target),
            Self::Arm => arm::veneer(target),
        }
    }

    /// Where a branch leads, by the instruction before its relocation, and what is added for one that leads to a veneer.
    pub(super) fn branch_target(self, word: u64, values: &Values) -> (u64, i64) {
        match self {
            Self::X86_64 | Self::I386 | Self::Arm64 => (values.sum(0) as u64, 0),
            Self::Arm => arm::branch_target(word, values),
        }
    }

    /// Whether a relocation is a branch that a veneer can lead on.
    pub(super) const fn is_branch(self, kind: u32) -> bool {
        match self {
            Self::X86_64 | Self::I386 => false,
            Self::Arm64 => arm64::is_branch(kind),
            Self::Arm => arm::is_branch(kind),
        }
    }

    /// Bytes that a relocation changes: 0 if none, `None` if the kind is not known.
    pub(super) const fn width(self, kind: u32) -> Option<usize> {
        match self {
            Self::X86_64 => x86_64::width(kind),
            Self::I386 => i386::width(kind),
            Self::Arm64 => arm64::width(kind),
            Self::Arm => arm::width(kind),
        }
    }

    /// The word at a place after its relocation.
    pub(super) fn patch(self, kind: u32, word: u64, values: &Values) -> Patched {
        match self {
            Self::X86_64 => x86_64::patch(kind, word, values),
            Self::I386 => i386::patch(kind, word, values),
            Self::Arm64 => arm64::patch(kind, word, values),
            Self::Arm => arm::patch(kind, word, values),
        }
    }
}

impl<'f> ModuleFile<'f> {
    /// Calls `each` with every relocation and the number of the section that it is for. They are no more than the file's bytes are enough for: the
    /// tables of a damaged file may share theirs.
    pub(super) fn relocations(
        &self,
        mut each: impl FnMut(usize, &Relocation) -> Result<(), ModuleError<'f>>,
    ) -> Result<(), ModuleError<'f>> {
        let mut left = self.len / SMALLEST;
        for (number, section) in self.sections.iter().enumerate() {
            let target = section.sh_info as usize;
            let damaged =
                |_| ModuleError::Section { section: number, what: "its relocations end behind the file" };
            let mut each = |target, relocation: &Relocation| {
                let shared = ModuleError::Section { section: number, what: "its relocations are another's" };
                left = left.checked_sub(1).ok_or(shared)?;
                each(target, relocation)
            };
            match section.sh_type {
                abi::SHT_RELA => {
                    for rela in self.elf.section_data_as_relas(&section).map_err(damaged)? {
                        let (offset, symbol, kind) = (rela.r_offset, rela.r_sym, rela.r_type);
                        each(target, &Relocation { offset, symbol, kind, addend: Some(rela.r_addend) })?;
                    }
                }
                abi::SHT_REL => {
                    for rel in self.elf.section_data_as_rels(&section).map_err(damaged)? {
                        let (offset, symbol, kind) = (rel.r_offset, rel.r_sym, rel.r_type);
                        each(target, &Relocation { offset, symbol, kind, addend: None })?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
