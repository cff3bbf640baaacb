//! The kernel's page tables: Linux's dump of them, and the way of one address.

mod bits;
mod path;
mod ptdump;
pub mod runs;
mod style;

pub use path::{bytes, entry, path};
pub use ptdump::write;

use crate::ViewError;
use pagewright::Boot;
use pagewright::pgtable::KernelTables;

/// The kernel's page tables.
///
/// # Errors
/// [`ViewError`] where they were only counted, or could not be finished.
pub fn tables<'t, 'a>(boot: &'t Boot<'a>) -> Result<&'t KernelTables<'a>, ViewError> {
    if let Some(e) = boot.table_error {
        return Err(ViewError::Tables(e));
    }
    boot.pgtable.as_ref().ok_or(ViewError::NoTables)
}

/// Bits `from` up to `to` of a word, as a number.
pub const fn field(word: u64, from: u32, to: u32) -> u64 {
    (word >> from) & ((1 << (to - from + 1)) - 1)
}

/// Whether bit `n` of a word is set.
pub const fn bit(word: u64, n: u32) -> bool {
    field(word, n, n) == 1
}
