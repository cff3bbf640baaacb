//! `/proc/slabinfo` (version 2.1), and `slub_kmalloc.txt`: some attributes of /sys/kernel/slab for each cache of kmalloc.

use crate::fault::Fault;

/// A line of slabinfo, as far as it is geometry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheLine {
    /// The cache's name.
    pub name: String,
    /// Bytes from one object to the next.
    pub size: u64,
    /// Objects in a slab.
    pub objects: u64,
    /// Pages of a slab.
    pub pages: u64,
}

/// `/proc/slabinfo`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SlabInfo {
    /// Its caches, in the file's order.
    pub caches: Vec<CacheLine>,
}

impl SlabInfo {
    /// Reads the file.
    ///
    /// # Errors
    /// A [`Fault`] if it is of another version, or a line has other columns.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
        const FIRST: &str = "slabinfo - version: 2.1";
        match lines.next() {
            Some((_, first)) if first.trim() == FIRST => {}
            other => return Err(Fault::new(format!("`{}`", other.map_or("", |l| l.1)), "line 1", FIRST)),
        }
        let line = |line: &str| {
            // A name may have blanks in it: the numbers begin after it.
            let head = line.split(" : ").next().unwrap_or(line);
            let words: Vec<&str> = head.split_whitespace().collect();
            let numbers: Option<Vec<u64>> =
                words.get(words.len().saturating_sub(5)..)?.iter().map(|w| w.parse().ok()).collect();
            let name = words.get(..words.len().checked_sub(5)?)?.join(" ");
            let &[_, _, size, objects, pages] = numbers?.as_slice() else { return None };
            Some(CacheLine { name, size, objects, pages })
        };
        let caches = lines
            .filter(|(_, l)| !l.starts_with('#'))
            .map(|at| {
                let wrong = || Fault::new(format!("`{}`", at.1), format!("line {}", at.0 + 1), "a cache");
                line(at.1).filter(|cache| !cache.name.is_empty()).ok_or_else(wrong)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { caches })
    }
}

/// The geometry of a cache of kmalloc.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KmallocLine {
    /// The cache's name.
    pub name: String,
    /// The values by column, as [`SlubKmalloc::COLUMNS`] names them.
    pub values: [u64; SlubKmalloc::COLUMNS.len()],
}

/// `slub_kmalloc.txt`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SlubKmalloc {
    /// Its caches, in the file's order.
    pub caches: Vec<KmallocLine>,
}

impl SlubKmalloc {
    /// The columns after the name.
    pub const COLUMNS: [&'static str; 7] =
        ["object_size", "slab_size", "objs_per_slab", "order", "cpu_partial", "min_partial", "align"];

    /// Reads the file.
    ///
    /// # Errors
    /// A [`Fault`] if a line has other columns.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut caches = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            let Some(name) = words.next().filter(|name| !name.starts_with('#')) else { continue };
            let numbers: Option<Vec<u64>> = words.map(|w| w.parse().ok()).collect();
            let values = numbers.and_then(|numbers| numbers.try_into().ok());
            let wrong = || {
                let expected = format!("a name and {}", Self::COLUMNS.join(", "));
                Fault::new(format!("`{line}`"), format!("line {}", n + 1), expected)
            };
            caches.push(KmallocLine { name: name.to_owned(), values: values.ok_or_else(wrong)? });
        }
        Ok(Self { caches })
    }
}

#[cfg(test)]
#[path = "slab_tests.rs"]
mod tests;
