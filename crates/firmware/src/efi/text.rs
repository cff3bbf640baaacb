//! The kernel's lines about an EFI memory map.
//!
//! ```text
//! efi: mem00: [Conventional|   |  |  |  |  |  |  |  |  |   |WB|WT|WC|UC] range=[0x0000000000000000-0x0000000000000fff] (0MB)
//! efi:   0x000040000000-0x00004000ffff [Boot Data   |   |  |  |  |  |  |  |  |  |   |WB|WT|WC|UC]
//! EFI: mem00: type=7, attr=0xf, range=[0x0000000000000000-0x0000000000001000) (0MB)
//! ```

use super::{EfiEntry, EfiKind, attribute};
use core::fmt;
use pagewright_addr::{PhysAddr, PhysRange};

/// Why a line that shows a memory descriptor cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EfiLineError<'a> {
    /// The type is none of those that a kernel prints.
    UnknownKind(&'a str),
    /// An attribute is none of those that a kernel prints.
    UnknownAttribute(&'a str),
    /// The range is missing, or not of the form `0x...-0x...`.
    BadRange(&'a str),
    /// The range ends before it starts.
    Inverted {
        /// Its start.
        start: u64,
        /// Its end as printed.
        end: u64,
    },
}

impl fmt::Display for EfiLineError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(text) => write!(f, "unknown EFI memory type '{text}'"),
            Self::UnknownAttribute(text) => write!(f, "unknown EFI memory attribute '{text}'"),
            Self::BadRange(text) => write!(f, "bad EFI memory range '{text}', expected 0x<start>-0x<end>"),
            Self::Inverted { start, end } => {
                write!(f, "EFI memory range ends at {end:#x}, before its start {start:#x}")
            }
        }
    }
}

impl core::error::Error for EfiLineError<'_> {}

/// Words for the types, newest first, each with its number.
const KINDS: [(&str, u32); 24] = [
    ("Reserved", 0),
    ("Loader Code", 1),
    ("Loader Data", 2),
    ("Boot Code", 3),
    ("Boot Data", 4),
    ("Runtime Code", 5),
    ("Runtime Data", 6),
    ("Conventional", 7),
    ("Unusable", 8),
    ("ACPI Reclaim", 9),
    ("ACPI Mem NVS", 10),
    ("MMIO", 11),
    ("MMIO Port", 12),
    ("PAL Code", 13),
    ("Persistent", 14),
    ("Unaccepted", 15),
    ("Conventional Memory", 7),
    ("Unusable Memory", 8),
    ("ACPI Reclaim Memory", 9),
    ("ACPI Memory NVS", 10),
    ("Memory Mapped I/O", 11),
    ("MMIO Port Space", 12),
    ("Persistent Memory", 14),
    ("Unaccepted Memory", 15),
];

const ATTRIBUTES: [(&str, u64); 15] = [
    ("RUN", attribute::RUNTIME),
    ("MR", attribute::MORE_RELIABLE),
    ("HP", attribute::HOT_PLUGGABLE),
    ("CC", attribute::CPU_CRYPTO),
    ("SP", attribute::SP),
    ("NV", attribute::NV),
    ("XP", attribute::XP),
    ("RP", attribute::RP),
    ("WP", attribute::WP),
    ("RO", attribute::RO),
    ("UCE", attribute::UCE),
    ("WB", attribute::WB),
    ("WT", attribute::WT),
    ("WC", attribute::WC),
    ("UC", attribute::UC),
];

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// Reads a line about one memory descriptor, whatever stands before `efi:`. `None` for every other line.
pub fn parse_dmesg_line(line: &str) -> Option<Result<EfiEntry, EfiLineError<'_>>> {
    let at = line.find("efi:").or_else(|| line.find("EFI:"))?;
    let body = line[at + 4..].trim();
    if let Some(numbered) = body.strip_prefix("mem") {
        let (number, rest) = numbered.split_once(':')?;
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        return Some(numbered_form(rest.trim()));
    }
    if body.starts_with("0x") {
        let (range, rest) = body.split_once(" [")?;
        return Some(plain_form(range, rest));
    }
    None
}

/// `[type|attributes] range=[...]`, or the older `type=7, attr=0xf, range=[...)`.
fn numbered_form(text: &str) -> Result<EfiEntry, EfiLineError<'_>> {
    let (words, range) = text.split_once("range=[").ok_or(EfiLineError::BadRange(text))?;
    let range = parse_range(range)?;
    let (kind, attributes) = match words.trim().strip_prefix('[') {
        Some(words) => parse_words(words)?,
        None => {
            let (kind, rest) = words.split_once(',').unwrap_or((words, ""));
            let attr = rest.trim().trim_end_matches(',');
            let bits = attr.strip_prefix("attr=").and_then(hex);
            (parse_kind(kind)?, bits.ok_or(EfiLineError::UnknownAttribute(attr))?)
        }
    };
    Ok(EfiEntry { kind, attributes, range })
}

/// `0x<start>-0x<end> [type|attributes]`, the end inside.
fn plain_form<'a>(range: &'a str, words: &'a str) -> Result<EfiEntry, EfiLineError<'a>> {
    let (start, end) = range.split_once('-').ok_or(EfiLineError::BadRange(range))?;
    let numbers = hex(start).zip(hex(end)).ok_or(EfiLineError::BadRange(range))?;
    let (kind, attributes) = parse_words(words)?;
    Ok(EfiEntry { kind, attributes, range: inclusive(numbers.0, numbers.1)? })
}

/// `0x<start>-0x<end>` up to a `]`, where the end is inside, or a `)`, where it is not.
fn parse_range(text: &str) -> Result<PhysRange, EfiLineError<'_>> {
    let bad = EfiLineError::BadRange(text);
    let close = text.find([']', ')']).ok_or(bad)?;
    let (start, end) = text[..close].split_once('-').ok_or(bad)?;
    let (start, end) = hex(start).zip(hex(end)).ok_or(bad)?;
    if text[close..].starts_with(']') {
        return inclusive(start, end);
    }
    if end < start {
        return Err(EfiLineError::Inverted { start, end });
    }
    Ok(PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)))
}

fn inclusive(start: u64, last: u64) -> Result<PhysRange, EfiLineError<'static>> {
    // A descriptor of no pages prints an end one below its start.
    let end = last.wrapping_add(1);
    if end == start {
        return Ok(PhysRange::new(PhysAddr::new(start), PhysAddr::new(start)));
    }
    if last < start {
        return Err(EfiLineError::Inverted { start, end: last });
    }
    Ok(PhysRange::new(PhysAddr::new(start), PhysAddr::new(last).saturating_add(1)))
}

/// `type|attribute|...]`; blanks pad the fields.
fn parse_words(text: &str) -> Result<(EfiKind, u64), EfiLineError<'_>> {
    let text = text.split(']').next().unwrap_or(text);
    let mut fields = text.split('|');
    let kind = parse_kind(fields.next().unwrap_or(""))?;
    let mut attributes = 0;
    for field in fields.map(str::trim).filter(|f| !f.is_empty()) {
        let known = ATTRIBUTES.iter().find(|(word, _)| *word == field).map(|(_, bit)| *bit);
        let bits = known.or_else(|| hex(field.strip_prefix("attr=")?));
        attributes |= bits.ok_or(EfiLineError::UnknownAttribute(field))?;
    }
    Ok((kind, attributes))
}

fn parse_kind(text: &str) -> Result<EfiKind, EfiLineError<'_>> {
    let text = text.trim();
    if let Some(number) = text.strip_prefix("type=") {
        let number = number.parse().map_err(|_| EfiLineError::UnknownKind(text))?;
        return Ok(EfiKind::from_number(number));
    }
    let known = KINDS.iter().find(|(word, _)| *word == text);
    known.map(|(_, number)| EfiKind::from_number(*number)).ok_or(EfiLineError::UnknownKind(text))
}
