//! What a boot comes to: where every byte of RAM went, a picture of physical memory, how long it took.

pub mod json;
mod ledger;
mod picture;
mod table;

pub use ledger::{Ledger, Purpose};
pub use picture::Picture;
pub use table::{accounts, page_tables, phases};

#[cfg(test)]
mod tests;
