//! The e820 map: what a PC's firmware says about physical memory, and what the kernel makes of it.
//!
//! An [`E820Entry`] is one line of the map; [`E820Table`] is the kernel's working copy, which the boot path edits
//! in place ([`E820Table::range_update`], [`E820Table::range_remove`]) and brings into order
//! ([`E820Table::sanitize`]). Firmware maps overlap, come unsorted and contradict themselves; the rules that decide
//! are those that Linux 6.1 documents: the entry with the higher type number wins.
//!
//! Called by the x86 boot path; the text forms by whoever reads a pasted kernel log.
//!
//! ```
//! use pagewright_firmware::e820::{E820Entry, E820Kind, E820Table};
//!
//! let firmware = [
//!     E820Entry::new(0, 0x8000_0000, E820Kind::Ram),
//!     E820Entry::new(0xa_0000, 0x6_0000, E820Kind::Reserved),
//! ];
//! let map = E820Table::from_firmware(&firmware).unwrap();
//! let lines: Vec<String> = map.iter().map(|entry| format!("BIOS-e820: {entry}")).collect();
//! assert_eq!(lines[1], "BIOS-e820: [mem 0x00000000000a0000-0x00000000000fffff] reserved");
//! assert_eq!(lines.len(), 3);
//! ```

mod kind;
mod table;
mod text;

pub use kind::E820Kind;
pub use table::{E820Table, E820TableError};
pub use text::{E820Error, MapLine, MapName, RemoveLine, UpdateLine, parse_dmesg_line, parse_map_line};

use core::fmt;
use pagewright_addr::{PhysAddr, PhysRange};

/// One entry of the map.
///
/// `size` is kept as the firmware gave it: zero, and a size that runs past 2^64, can both be represented, because
/// firmware produces both and the kernel's treatment of each is part of what is modelled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct E820Entry {
    /// The first byte.
    pub start: PhysAddr,
    /// How many bytes.
    pub size: u64,
    /// What is there.
    pub kind: E820Kind,
}

impl E820Entry {
    /// An entry from its three fields.
    pub const fn new(start: u64, size: u64, kind: E820Kind) -> Self {
        Self { start: PhysAddr::new(start), size, kind }
    }

    /// An entry that covers `range`.
    pub const fn from_range(range: PhysRange, kind: E820Kind) -> Self {
        Self { start: range.start, size: range.len(), kind }
    }

    /// One past the last byte, held at the largest address.
    pub const fn end(&self) -> PhysAddr {
        self.start.saturating_add(self.size)
    }

    /// The bytes covered, cut at the largest address.
    pub const fn range(&self) -> PhysRange {
        PhysRange { start: self.start, end: self.end() }
    }

    /// Whether `start + size` does not fit 64 bits. Such an entry makes the kernel leave a map unsanitised.
    pub const fn wraps(&self) -> bool {
        self.start.get().checked_add(self.size).is_none()
    }
}

/// As the kernel prints it: `[mem 0x0000000000000000-0x000000000009fbff] usable`.
impl fmt::Display for E820Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.start.get().wrapping_add(self.size).wrapping_sub(1);
        write!(f, "[mem {:#018x}-{:#018x}] {}", self.start.get(), last, self.kind)
    }
}

#[cfg(test)]
mod tests;
