//! `/sys/kernel/debug/memblock/memory` and `reserved`: one region a line.

use crate::fault::Fault;
use pagewright_memblock::AddrWidth;
use pagewright_view::memblock as view;
use std::fmt;

/// The whole file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Regions {
    /// Whether `phys_addr_t` has 64 bits, which sets the width of the numbers.
    pub wide: bool,
    /// First and last address of each region.
    pub regions: Vec<(u64, u64)>,
}

impl Regions {
    /// Reads the file's text. The first line's width says how wide `phys_addr_t` is.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut out = Self::default();
        for (i, line) in text.lines().enumerate() {
            let fault = || Fault::line(i + 1, line, "`<index>: 0x<start>..0x<end>`");
            let (_, range) = line.split_once(": ").ok_or_else(fault)?;
            let (start, last) = range.split_once("..").ok_or_else(fault)?;
            let hex = |s: &str| {
                s.strip_prefix("0x").and_then(|h| u64::from_str_radix(h, 16).ok()).ok_or_else(fault)
            };
            out.wide = start.len() == "0x".len() + 16;
            out.regions.push((hex(start)?, hex(last)?));
        }
        Ok(out)
    }
}

impl fmt::Display for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.wide { AddrWidth::Bits64 } else { AddrWidth::Bits32 };
        for (i, (first, last)) in self.regions.iter().enumerate() {
            view::region(f, width, i, *first, *last)?;
        }
        Ok(())
    }
}
