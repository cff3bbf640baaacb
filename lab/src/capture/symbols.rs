//! `kernel_symbols.txt`: lines of `<hex address> <type> <name>`, as `System.map` and `/proc/kallsyms` have them.

use crate::fault::Fault;
use std::collections::BTreeMap;

/// Virtual addresses of the kernel's section marks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Symbols {
    by_name: BTreeMap<String, u64>,
}

impl Symbols {
    /// Reads the file's text; lines of modules (a fourth word) are taken too, the first of a name counts.
    ///
    /// # Errors
    /// A [`Fault`] with the line that is no symbol.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut by_name = BTreeMap::new();
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let fault = || Fault::line(i + 1, line, "`<address> <type> <name>`");
            let mut words = line.split_whitespace();
            let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next()) else {
                return Err(fault());
            };
            let address = u64::from_str_radix(address, 16).map_err(|_| fault())?;
            by_name.entry(name.to_owned()).or_insert(address);
        }
        Ok(Self { by_name })
    }

    /// The address of that symbol.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    /// The address of the first of these that is known.
    pub fn any(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|n| self.get(n))
    }
}
