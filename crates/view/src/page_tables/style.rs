//! What ptdump writes of an entry, by architecture: the columns of Linux 6.1's dumps. arm64's memory types go by the
//! version.

use super::{bit, field};
use crate::text::Small;
use arrayvec::ArrayString;
use core::fmt::{self, Write};
use pagewright_firmware::{Arch, Machine};
use pagewright_kspace::Version;
use pagewright_pagetable::{Level, Shape};

/// What an entry says in words: as long as the longest of any architecture.
pub(super) type Says = ArrayString<64>;

/// One architecture's form.
pub(super) struct Style {
    /// Digits of an address.
    pub(super) digits: usize,
    /// Whether ranges without mappings are shown.
    pub(super) holes: bool,
    /// Whether an entry's words depend on the entry that leads to its table.
    pub(super) needs_table: bool,
    /// The name of the level that a leaf is at.
    pub(super) leaf: fn(&Shape, Level) -> &'static str,
    /// An entry in words: its level, the entry, and the one that leads to its table if that is needed.
    pub(super) says: fn(Level, u64, Option<u64>) -> Says,
    /// The end of a line, after the size: the words (`None` for nothing mapped) and the level's name.
    pub(super) rest: fn(&mut dyn Write, Option<&str>, &str) -> fmt::Result,
}

/// The form of a machine's architecture.
pub(super) fn of(machine: &Machine<'_>, version: Version) -> Style {
    match machine.arch {
        Arch::X86_64 | Arch::I386 => Style {
            digits: if machine.arch == Arch::X86_64 { 16 } else { 8 },
            holes: true,
            needs_table: false,
            leaf: |shape, level| if level == Level::PMD { "PMD" } else { shape.name(level) },
            says: x86,
            rest: |f, says, name| writeln!(f, " {:<30}{}", says.unwrap_or(""), Small(name)),
        },
        Arch::Arm64 => Style {
            digits: 16,
            // As the documentation's example has them; before the generic walk only what is mapped was written.
            holes: version.since(5, 7),
            needs_table: false,
            leaf: Shape::name,
            says: match version {
                v if v.since(5, 14) => |_, word, _| arm64(word, &TAGGED),
                v if v.since(5, 10) => |_, word, _| arm64(word, &TAGGED_WITH_GRE),
                _ => |_, word, _| arm64(word, &DEVICE_FIRST),
            },
            rest: |f, says, name| writeln!(f, " {name}{}", says.unwrap_or("")),
        },
        Arch::Arm => Style {
            digits: 8,
            holes: false,
            needs_table: !machine.config.lpae,
            leaf: Shape::name,
            says: if machine.config.lpae { arm_lpae } else { arm_short },
            rest: |f, says, _| writeln!(f, "{}", says.unwrap_or("")),
        },
    }
}

/// Fixed columns, empty ones kept.
fn x86(level: Level, word: u64, _: Option<u64>) -> Says {
    let column = |set: bool, name: &'static str| if set { name } else { "    " };
    let page = level == Level::PTE;
    let pat = if page { bit(word, 7) } else { bit(word, 12) };
    [
        column(bit(word, 2), "USR "),
        if bit(word, 1) { "RW " } else { "ro " },
        column(bit(word, 3), "PWT "),
        column(bit(word, 4), "PCD "),
        column(!page && bit(word, 7), "PSE "),
        column(pat, "PAT "),
        column(bit(word, 8), "GLB "),
        if bit(word, 63) { "NX " } else { "x  " },
    ]
    .into_iter()
    .fold(Says::new(), add)
}

/// Adds a column; there is room for all.
fn add(mut says: Says, column: &str) -> Says {
    let _ = says.try_push_str(column);
    says
}

/// Columns with a blank before each.
fn columns<const N: usize>(list: [Option<&str>; N]) -> Says {
    list.into_iter().flatten().flat_map(|column| [" ", column]).fold(Says::new(), add)
}

/// arm64's memory types by index, as MAIR_EL1 has them since 5.14.
const TAGGED: [&str; 8] = [
    "MEM/NORMAL",
    "MEM/NORMAL-TAGGED",
    "MEM/NORMAL-NC",
    "DEVICE/nGnRnE",
    "DEVICE/nGnRE",
    UNNAMED,
    UNNAMED,
    UNNAMED,
];
/// The same from 5.10 to 5.13; Write-Through has no name.
const TAGGED_WITH_GRE: [&str; 8] = [
    "MEM/NORMAL",
    "MEM/NORMAL-TAGGED",
    "MEM/NORMAL-NC",
    UNNAMED,
    "DEVICE/nGnRnE",
    "DEVICE/nGnRE",
    "DEVICE/GRE",
    UNNAMED,
];
/// The same up to 5.9.
const DEVICE_FIRST: [&str; 8] =
    ["DEVICE/nGnRnE", "DEVICE/nGnRE", "DEVICE/GRE", "MEM/NORMAL-NC", "MEM/NORMAL", UNNAMED, UNNAMED, UNNAMED];
const UNNAMED: &str = "MEM/?";

fn arm64(word: u64, types: &[&str; 8]) -> Says {
    let either = |n, set, clear| Some(if bit(word, n) { set } else { clear });
    columns([
        either(0, " ", "F"),
        either(6, "USR", "   "),
        either(7, "ro", "RW"),
        either(53, "NX", "x "),
        // Both bits.
        Some(if field(word, 8, 9) == 3 { "SHD" } else { "   " }),
        either(10, "AF", "  "),
        either(11, "NG", "  "),
        either(52, "CON", "   "),
        either(1, "   ", "BLK"),
        either(54, "UXN", "   "),
        either(50, "GP", "  "),
        Some(types[field(word, 2, 4) as usize]),
    ])
}

/// Domains by number.
const DOMAINS: [&str; 4] = ["KERNEL ", "USER   ", "IO     ", "VECTORS"];

/// What a section or page of arm says of its rights, in common.
fn rights(user: bool, read_only: bool, no_exec: bool, shared: bool) -> [Option<&'static str>; 4] {
    [
        Some(if user { "USR" } else { "   " }),
        Some(if read_only { "ro" } else { "RW" }),
        Some(if no_exec { "NX" } else { "x " }),
        Some(if shared { "SHD" } else { "   " }),
    ]
}

/// Linux's word for pages, the hardware's for sections; a page has the domain of its table.
fn arm_short(level: Level, word: u64, table: Option<u64>) -> Says {
    let section = level != Level::PTE;
    let domain = field(if section { word } else { table.unwrap_or(0) }, 5, 8);
    let domain = columns([DOMAINS.get(domain as usize).copied()]);
    if section {
        // Without AP[1] there is no right for user code; AP[2] takes writing away.
        let user = bit(word, 11) && !(bit(word, 10) && bit(word, 15));
        return add(domain, &columns(rights(user, bit(word, 15), bit(word, 4), bit(word, 16))));
    }
    let linux = word >> 32;
    let memory = match field(linux, 2, 5) {
        0 => Some("SO/UNCACHED"),
        1 => Some("MEM/BUFFERABLE/WC"),
        2 => Some("MEM/CACHED/WT"),
        3 => Some("MEM/CACHED/WBRA"),
        4 => Some("DEV/SHARED"),
        6 => Some("MEM/MINICACHE"),
        7 => Some("MEM/CACHED/WBWA"),
        9 => Some("DEV/WC"),
        11 => Some("DEV/CACHED"),
        12 => Some("DEV/NONSHARED"),
        _ => None,
    };
    let rights = columns(rights(bit(linux, 8), bit(linux, 7), bit(linux, 9), bit(linux, 10)));
    add(add(domain, &rights), &columns([memory]))
}

fn arm_lpae(level: Level, word: u64, _: Option<u64>) -> Says {
    let (user, no_exec, shared) = (bit(word, 6), bit(word, 54), field(word, 8, 9) == 3);
    if level != Level::PTE {
        return columns(rights(user, bit(word, 7), no_exec, shared));
    }
    // Two of the device types have the index of a memory type: both names are shown.
    let memory = match field(word, 2, 4) {
        0 => [Some("SO/UNCACHED"), None],
        1 => [Some("MEM/BUFFERABLE/WC"), Some("DEV/WC")],
        2 => [Some("MEM/CACHED/WT"), None],
        3 => [Some("MEM/CACHED/WBRA"), Some("DEV/CACHED")],
        4 => [Some("DEV/SHARED"), None],
        7 => [Some("MEM/CACHED/WBWA"), None],
        _ => [None, None],
    };
    add(columns(rights(user, bit(word, 58), no_exec, shared)), &columns(memory))
}

#[cfg(test)]
mod tests;
