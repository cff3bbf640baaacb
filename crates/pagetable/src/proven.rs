//! Trees that are known to be sound, read without asking the memory for each entry.
//!
//! What reads a tree asks its memory whether there is memory where an entry leads: a damaged tree is an error, never
//! an access to something else. A kernel that builds its tables through this crate alone, in its direct map, knows the answer, and
//! translating takes half as many instructions without the question. It says so once, where it makes the value.
#![allow(unsafe_code)]

use crate::format::Format;
use crate::memory::TableMemory;
use crate::tables::{Tables, Translation, Unmapped};
use crate::word::Word;
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_platform::KnownWords;

/// A tree whose tables all lie in a direct map.
///
/// # Invariants
/// The root, and the table behind each entry that [`Format::step`] calls one, lies in the direct map, entirely. Established by the
/// caller of [`Self::new`]; cursors keep it, since they link tables only which their memory has. `format` and `root` are the tree's.
#[derive(Debug)]
pub struct Proven<'t, F: Format, M: TableMemory> {
    tables: &'t Tables<F, M>,
    format: F,
    root: PhysAddr,
    words: KnownWords<'t>,
}

impl<'t, F: Format, M: TableMemory> Proven<'t, F, M> {
    /// The tree, for reading; `words` are those of the direct map that its tables lie in.
    ///
    /// # Safety
    /// For as long as the value lives:
    /// - the root table lies in a range of the direct map, aligned to its entries, and so does each table that an entry leads to;
    /// - nobody but cursors of this tree, and hardware that sets accessed and dirty bits, writes to its tables;
    /// - a table that is taken out goes back to its source ([`crate::PendingFlush::finish`]) only while nobody translates.
    #[inline]
    pub const unsafe fn new(tables: &'t Tables<F, M>, words: KnownWords<'t>) -> Self {
        Self { tables, format: *tables.format(), root: tables.root(), words }
    }

    /// [`Tables::translate`], with the same answers.
    ///
    /// # Errors
    /// [`Unmapped`], never because of a table that is no memory.
    #[inline]
    pub fn translate(&self, va: VirtAddr) -> Result<Translation, Unmapped> {
        let words = self.words;
        self.tables.descend(self.format, self.root, va, |at| {
            // SAFETY: `descend` asks for entries of the root, and of tables that entries lead to, each at an index below their
            // number of entries: they are in the direct map (the invariant), and tables are aligned to their entries.
            Some(F::Word::load(unsafe { F::Word::known(words, at) }))
        })
    }
}
