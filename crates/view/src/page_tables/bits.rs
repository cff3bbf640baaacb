//! What the bits of an entry are called, by the specifications: Intel SDM volume 3A chapter 4, Arm ARM for A-profile D8.3,
//! ARMv7-AR B3.5 and B3.6.

use super::{bit, field};
use core::fmt::{self, Write};
use pagewright::pgtable::PathEntry;
use pagewright_firmware::{Arch, Machine};
use pagewright_pagetable::{Entry, Level};

/// A bit with a name, or a field of several.
type Named = (u32, u32, &'static str);

const fn one(n: u32, name: &'static str) -> Named {
    (n, n, name)
}

/// What every entry of x86 has.
const X86: &[Named] = &[
    one(0, "P"),
    one(1, "R/W"),
    one(2, "U/S"),
    one(3, "PWT"),
    one(4, "PCD"),
    one(5, "A"),
    (9, 11, "software"),
    one(63, "XD"),
];
const X86_TABLE: &[Named] = &[one(6, "ignored[6]")];
/// What every x86 entry has that maps something.
const X86_LEAF: &[Named] = &[one(6, "D"), one(8, "G"), (59, 62, "key")];
const X86_BLOCK: &[Named] = &[one(7, "PS"), one(12, "PAT")];
const X86_PAGE: &[Named] = &[one(7, "PAT")];
const LONG_TABLE: &[Named] = &[
    one(0, "valid"),
    one(1, "table"),
    one(59, "PXNTable"),
    one(60, "XNTable"),
    one(61, "APTable[0]"),
    one(62, "APTable[1]"),
    one(63, "NSTable"),
];
/// What arm64's and LPAE's entries have in common that map something.
const LONG_LEAF: &[Named] = &[
    one(0, "valid"),
    one(1, "page"),
    (2, 4, "AttrIndx"),
    one(5, "NS"),
    one(7, "AP[2] (read-only)"),
    (8, 9, "SH"),
    one(10, "AF"),
    one(11, "nG"),
    one(52, "contiguous"),
    one(53, "PXN"),
    one(55, "software dirty"),
];
const ARM64_LEAF: &[Named] =
    &[one(6, "AP[1] (EL0)"), one(50, "GP"), one(51, "DBM"), one(54, "UXN"), (56, 58, "software")];
const LPAE_LEAF: &[Named] = &[
    one(6, "AP[1] (PL0)"),
    one(54, "XN"),
    one(56, "special"),
    one(57, "none"),
    one(58, "software read-only"),
];
const SHORT_TABLE: &[Named] = &[one(0, "table"), one(2, "PXN"), one(3, "NS"), (5, 8, "domain")];
const SHORT_SECTION: &[Named] = &[
    one(0, "PXN"),
    one(1, "section"),
    one(2, "B"),
    one(3, "C"),
    one(4, "XN"),
    (5, 8, "domain"),
    (10, 11, "AP[1:0]"),
    (12, 14, "TEX"),
    one(15, "AP[2]"),
    one(16, "S"),
    one(17, "nG"),
    one(18, "supersection"),
    one(19, "NS"),
];
const SHORT_PAGE: &[Named] = &[
    one(0, "XN"),
    one(1, "page"),
    one(2, "B"),
    one(3, "C"),
    (4, 5, "AP[1:0]"),
    (6, 8, "TEX"),
    one(9, "AP[2]"),
    one(10, "S"),
    one(11, "nG"),
];
const LINUX_PAGE: &[Named] = &[
    one(0, "PRESENT"),
    one(1, "YOUNG"),
    (2, 5, "MT"),
    one(6, "DIRTY"),
    one(7, "RDONLY"),
    one(8, "USER"),
    one(9, "XN"),
    one(10, "SHARED"),
    one(11, "NONE"),
];

/// Writes a line with the names of what is set, lowest first, fields with their values.
fn names(w: &mut dyn Write, whose: &str, word: u64, of: &[&[Named]]) -> fmt::Result {
    write!(w, "{INDENT}{whose}")?;
    let mut first = true;
    for bit in 0..u64::BITS {
        let named = of.iter().copied().flatten().find(|(from, ..)| *from == bit);
        let Some(&(from, to, name)) = named.filter(|(from, to, _)| field(word, *from, *to) != 0) else {
            continue;
        };
        write!(w, "{}{name}", if first { "" } else { " " })?;
        if from != to {
            write!(w, "={}", field(word, from, to))?;
        }
        first = false;
    }
    writeln!(w)
}

/// What stands before the bits of an entry.
const INDENT: &str = "      ";

/// Writes an entry's bits in words, a line for each word of it.
pub(super) fn decoded(w: &mut dyn Write, machine: &Machine<'_>, e: &PathEntry) -> fmt::Result {
    let table = matches!(e.entry, Entry::Table(..));
    let page = e.level == Level::PTE;
    if e.word == 0 {
        return Ok(());
    }
    let lists: &[&[Named]] = match machine.arch {
        Arch::X86_64 | Arch::I386 if page => &[X86, X86_LEAF, X86_PAGE],
        Arch::X86_64 | Arch::I386 if bit(e.word, 7) => &[X86, X86_LEAF, X86_BLOCK],
        Arch::X86_64 | Arch::I386 => &[X86, X86_TABLE],
        Arch::Arm64 | Arch::Arm if table && (machine.arch == Arch::Arm64 || machine.config.lpae) => {
            &[LONG_TABLE]
        }
        Arch::Arm64 => &[LONG_LEAF, ARM64_LEAF],
        Arch::Arm if machine.config.lpae => &[LONG_LEAF, LPAE_LEAF],
        Arch::Arm if page => {
            names(w, "hardware: ", e.word, &[SHORT_PAGE])?;
            return names(w, "Linux: ", e.word >> 32, &[LINUX_PAGE]);
        }
        Arch::Arm if table => &[SHORT_TABLE],
        Arch::Arm => &[SHORT_SECTION],
    };
    names(w, "", e.word, lists)
}
