//! What a boot comes to: where every byte of RAM went, a picture of physical memory, how long it took.

pub mod json;
mod ledger;
mod picture;
mod table;

pub use ledger::{Ledger, Purpose};
pub use picture::Picture;
pub(crate) use picture::human;
pub use table::{accounts, page_tables, phases};
pub(crate) use table::{right, table};

#[cfg(test)]
mod tests;
