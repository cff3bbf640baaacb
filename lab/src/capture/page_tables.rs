//! `kernel_page_tables.txt`: the kernel's page tables, read out of RAM after boot.
//!
//! A line is a run of mappings that follow each other in both address spaces:
//! `ffff888000200000-ffff888000ffffff 000000200000     2048K w--G--`. What stands after the size are the attributes, by
//! architecture. Lines that begin with `#` are comments.

use crate::fault::Fault;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

/// Mappings of one size that follow each other and have the same attributes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// The addresses.
    pub range: VirtRange,
    /// Where the first lies.
    pub phys: PhysAddr,
    /// Bytes of one mapping.
    pub size: u64,
    /// The attributes as the file writes them.
    pub attributes: String,
}

/// The file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PageTables {
    /// Its lines, in the order of addresses.
    pub runs: Vec<Mapped>,
}

impl PageTables {
    /// Reads the file's text.
    ///
    /// # Errors
    /// A [`Fault`] with the line that is no mapping, or does not come after the one before.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut runs: Vec<Mapped> = Vec::new();
        for (i, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let fault =
                || Fault::line(i + 1, line, "`<first>-<last> <physical> <size>K <attributes>`, ascending");
            let run = run(line).ok_or_else(fault)?;
            if runs.last().is_some_and(|before| before.range.last() >= run.range.start) {
                return Err(fault());
            }
            runs.push(run);
        }
        Ok(Self { runs })
    }
}

fn run(line: &str) -> Option<Mapped> {
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let (range, rest) = line.split_once(char::is_whitespace)?;
    let (phys, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    let (size, attributes) = rest.trim_start().split_once(char::is_whitespace)?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (hex(first)?, hex(last)?);
    let phys = PhysAddr::new(hex(phys)?);
    let size = size.strip_suffix('K')?.parse::<u64>().ok()?.checked_mul(1024)?;
    let len = last.checked_sub(first)?.checked_add(1)?;
    let whole = size.is_power_of_two() && first % size == 0 && len % size == 0;
    whole.then(|| Mapped {
        range: VirtRange { start: VirtAddr::new(first), len },
        phys,
        size,
        attributes: attributes.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_each_architecture_is_read() {
        let text = "# comment\nffff888000200000-ffff888000ffffff 000000200000     2048K w--G--\n\
                    ffff888001000000-ffff888001000fff 000001000000        4K ---G--\n\
                    fffffffffffff000-ffffffffffffffff 000001000000        4K ap1 xn1 tex1\n";
        let tables = PageTables::parse(text).unwrap();
        let [block, page, top] = &tables.runs[..] else { panic!("{tables:?}") };
        assert_eq!((block.range.len, block.size, block.phys.get()), (0xe0_0000, 2 << 20, 0x20_0000));
        assert_eq!((page.size, page.attributes.as_str()), (4096, "---G--"));
        assert_eq!((top.range.last().get(), top.attributes.as_str()), (u64::MAX, "ap1 xn1 tex1"));
    }

    #[test]
    fn what_is_no_mapping_is_told_with_its_line() {
        for text in [
            "ffff-1000 0 4K w",
            "1000-1fff 0 4K w\n1000-1fff 0 4K w",
            "1000-1fff 0 3K w",
            "1000-1ffe 0 4K w",
            "1000-1fff",
            "1000-1fff 0 4M w",
        ] {
            assert!(PageTables::parse(text).is_err(), "{text}");
        }
    }
}
