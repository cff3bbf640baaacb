//! Caches of small objects: the files of `/sys/kernel/slab/<cache>` and, of caches that keep records of their users, those of `/sys/kernel/debug/slab/<cache>`, each line with the file's name before it, as
//! `grep -r .` prints them. Files that are empty, or there only to be written, have no line.

use crate::{State, ViewError};
use core::cell::RefCell;
use core::fmt::{self, Write};
use pagewright::platform::Interrupts;
use pagewright::slab::memory::SlabMemory;
use pagewright::slab::objects::ObjectAllocator;
use pagewright::slab::slabs::attributes::{self, BuiltIn};
use pagewright::slab::slabs::{Trace, TraceSite};
use pagewright::slab::{CacheId, Slabs};

/// The caches of a machine, whatever its slabs are made of.
pub trait SlabFiles {
    /// Writes the files of all caches, newest first, or of the one of that name; how many caches that were. None comes or goes meanwhile.
    ///
    /// # Errors
    /// The writer's.
    fn write(&self, w: &mut dyn Write, cache: Option<&str>) -> Result<usize, fmt::Error>;
}

/// SLUB's caches.
pub struct Shown<'s, 'k, 'a, I, M> {
    slabs: &'s Slabs<'k, 'a, I, M>,
    built: BuiltIn,
    room: RefCell<&'s mut [TraceSite]>,
}

impl<'s, 'k, 'a, I, M> Shown<'s, 'k, 'a, I, M> {
    /// The caches of these slabs, with the files of a kernel that was built so; `room` has a place for each line of a cache's `alloc_traces`, or none.
    pub const fn new(slabs: &'s Slabs<'k, 'a, I, M>, built: BuiltIn, room: &'s mut [TraceSite]) -> Self {
        Self { slabs, built, room: RefCell::new(room) }
    }
}

impl<I: Interrupts, M: SlabMemory> Shown<'_, '_, '_, I, M> {
    fn write_cache(&self, w: &mut dyn Write, name: &str, cache: CacheId) -> fmt::Result {
        for file in attributes::NAMES.into_iter().filter(|file| self.built.has(file)) {
            if let Some(attribute) = self.slabs.attribute(cache, file) {
                Lines::new(w, name, file).write(format_args!("{attribute}"))?;
            }
        }
        for which in Trace::ALL {
            let mut room = self.room.borrow_mut();
            if let Some(traces) = self.slabs.traces(cache, which, &mut room) {
                Lines::new(w, name, which.name()).write(format_args!("{traces}"))?;
            }
        }
        Ok(())
    }
}

impl<I, M> fmt::Debug for Shown<'_, '_, '_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl<I: Interrupts, M: SlabMemory> SlabFiles for Shown<'_, '_, '_, I, M> {
    fn write(&self, w: &mut dyn Write, cache: Option<&str>) -> Result<usize, fmt::Error> {
        let (mut n, mut written) = (0, Ok(()));
        ObjectAllocator::each_cache(self.slabs, &mut |id, row| {
            let name = row.name.as_str();
            if written.is_ok() && cache.is_none_or(|asked| asked == name) {
                n += 1;
                written = self.write_cache(w, name, id);
            }
        });
        written.map(|()| n)
    }
}

/// A file's text, line by line with its name before each.
struct Lines<'w> {
    w: &'w mut dyn Write,
    cache: &'w str,
    file: &'w str,
    /// Whether a line has begun.
    inside: bool,
}

impl<'w> Lines<'w> {
    fn new(w: &'w mut dyn Write, cache: &'w str, file: &'w str) -> Self {
        Self { w, cache, file, inside: false }
    }

    /// Writes all of it, the last line's end too.
    fn write(mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        self.write_fmt(text)?;
        if self.inside { self.w.write_char('\n') } else { Ok(()) }
    }
}

impl Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            if !self.inside {
                write!(self.w, "{}/{}:", self.cache, self.file)?;
            }
            self.w.write_str(part)?;
            self.inside = !part.ends_with('\n');
        }
        Ok(())
    }
}

/// Writes the files of the caches that are asked for.
///
/// # Errors
/// [`ViewError::NoAttributes`] for slabs that have none, [`ViewError::NoCache`] for a name that no cache has; the writer's.
pub fn write(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> Result<(), ViewError> {
    let none = if state.slabs.is_some() { ViewError::NoAttributes } else { ViewError::NoSlabs };
    let (files, asked) = state.slab_files.ok_or(none)?;
    let written = files.write(w, asked)?;
    if written == 0 && asked.is_some() { Err(ViewError::NoCache) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn each_line_of_a_file_has_its_name_and_an_empty_file_has_none() {
        let mut out = String::new();
        for (file, text) in [("align", "8"), ("shrink", ""), ("alloc_traces", "one\ntwo\n")] {
            Lines::new(&mut out, "dentry", file).write(format_args!("{text}")).unwrap();
        }
        assert_eq!(out, "dentry/align:8\ndentry/alloc_traces:one\ndentry/alloc_traces:two\n");
    }
}
