//! Text forms: the lines in which the kernel prints a map and its edits, written and read.

use super::{E820Entry, E820Kind};
use crate::dmesg::Scan;
use core::fmt;
use pagewright_addr::PhysAddr;

/// Which map a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MapName {
    /// `BIOS-e820:`, `BIOS-88:`, `BIOS-801:`: what the firmware said, sanitised.
    Bios,
    /// `user:`, after `mem=` and `memmap=`.
    User,
    /// `modified:`, after the kernel's own corrections.
    Modified,
    /// `reserve setup_data:` and `extended:`, with the boot loader's data marked.
    Extended,
}

impl MapName {
    const ALL: [(&'static str, Self); 7] = [
        ("BIOS-e820: ", Self::Bios),
        ("BIOS-88: ", Self::Bios),
        ("BIOS-801: ", Self::Bios),
        ("user: ", Self::User),
        ("modified: ", Self::Modified),
        ("reserve setup_data: ", Self::Extended),
        ("extended: ", Self::Extended),
    ];
}

/// One line of a printed map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapLine {
    /// Which map.
    pub map: MapName,
    /// The entry.
    pub entry: E820Entry,
}

/// What is wrong with a line that starts like one of a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum E820Error {
    /// No `[mem 0xFIRST-0xLAST]` (nor the older `FIRST - END (kind)`) after the map's name.
    NoRange,
    /// The range ends before it starts, or its size does not fit 64 bits.
    BadRange {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// None of the kernel's words for a kind follows the range.
    UnknownKind,
}

impl fmt::Display for E820Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRange => f.write_str("expected [mem 0xFIRST-0xLAST] after the map's name"),
            Self::BadRange { first, last } => {
                write!(f, "the range {first:#x}-{last:#x} ends before it starts or is too large")
            }
            Self::UnknownKind => f.write_str(
                "expected usable, reserved, ACPI data, ACPI NVS, unusable, persistent (type N), soft reserved or \
                 type N after the range",
            ),
        }
    }
}

impl core::error::Error for E820Error {}

/// Reads a line of the firmware's map out of a kernel log, with or without a time stamp; `None` for any other line.
///
/// `user:` and `modified:` lines are others: see [`parse_map_line`].
pub fn parse_dmesg_line(line: &str) -> Option<Result<E820Entry, E820Error>> {
    match parse_map_line(line)? {
        Ok(MapLine { map: MapName::Bios, entry }) => Some(Ok(entry)),
        Ok(_) => None,
        Err(e) => Some(Err(e)),
    }
}

/// Reads a line of any printed map; `None` for a line that is none.
pub fn parse_map_line(line: &str) -> Option<Result<MapLine, E820Error>> {
    let text = crate::dmesg::strip_prefix(line);
    let (prefix, map) = MapName::ALL.iter().find(|(prefix, _)| text.starts_with(prefix))?;
    let entry = parse_entry(&text[prefix.len()..]);
    Some(entry.map(|entry| MapLine { map: *map, entry }))
}

fn parse_entry(text: &str) -> Result<E820Entry, E820Error> {
    let mut scan = Scan::new(text.trim());
    let (first, last, kind) = if scan.literal("[mem ").is_some() {
        let (first, last) = scan.first_last().ok_or(E820Error::NoRange)?;
        scan.literal("]").ok_or(E820Error::NoRange)?;
        (first, last, scan.rest())
    } else {
        // Before 3.5: `0000000000000000 - 000000000009fc00 (usable)`, the end not included.
        let first = scan.hex().ok_or(E820Error::NoRange)?;
        scan.literal(" - ").ok_or(E820Error::NoRange)?;
        let end = scan.hex().ok_or(E820Error::NoRange)?;
        scan.literal(" (").ok_or(E820Error::NoRange)?;
        let kind = scan.rest().strip_suffix(')').ok_or(E820Error::NoRange)?;
        (first, end.wrapping_sub(1), kind)
    };
    let size = last.checked_sub(first).and_then(|n| n.checked_add(1));
    let size = size.ok_or(E820Error::BadRange { first, last })?;
    Ok(E820Entry { start: PhysAddr::new(first), size, kind: parse_kind(kind.trim())? })
}

fn parse_kind(text: &str) -> Result<E820Kind, E820Error> {
    let kind = match text {
        "usable" => E820Kind::Ram,
        "reserved" => E820Kind::Reserved,
        "ACPI data" => E820Kind::Acpi,
        "ACPI NVS" => E820Kind::Nvs,
        "unusable" => E820Kind::Unusable,
        "soft reserved" => E820Kind::SoftReserved,
        _ => {
            let number = match text.strip_prefix("persistent (type ") {
                Some(rest) => rest.strip_suffix(')'),
                None => text.strip_prefix("type "),
            };
            let number = number.and_then(|n| n.parse().ok()).ok_or(E820Error::UnknownKind)?;
            E820Kind::from_number(number)
        }
    };
    Ok(kind)
}

/// `e820: update [mem 0x00000000-0x00000fff] usable ==> reserved`, as the kernel logs an update of the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpdateLine {
    /// The first byte asked for.
    pub start: PhysAddr,
    /// How many bytes.
    pub size: u64,
    /// The kind looked for.
    pub old: E820Kind,
    /// The kind it becomes.
    pub new: E820Kind,
}

impl fmt::Display for UpdateLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = clamped(self.start, self.size);
        write!(f, "e820: update [mem {first:#010x}-{last:#010x}] {} ==> {}", self.old, self.new)
    }
}

/// `e820: remove [mem 0x000a0000-0x000fffff] usable`, as the kernel logs a removal from the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoveLine {
    /// The first byte asked for.
    pub start: PhysAddr,
    /// How many bytes.
    pub size: u64,
    /// The kind looked for; `None` for any, which is not printed.
    pub kind: Option<E820Kind>,
}

impl fmt::Display for RemoveLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = clamped(self.start, self.size);
        write!(f, "e820: remove [mem {first:#010x}-{last:#010x}] ")?;
        match self.kind {
            Some(kind) => kind.fmt(f),
            None => Ok(()),
        }
    }
}

/// First and last byte of a range that is cut at the end of the address space, as both lines print it.
fn clamped(start: PhysAddr, size: u64) -> (u64, u64) {
    (start.get(), start.saturating_add(size).get().wrapping_sub(1))
}
