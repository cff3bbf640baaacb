//! References to a page and mappings of it.
//!
//! Whoever maps a page takes a reference first, and gives it back after unmapping it: so there are no mappings where the references are
//! what a token has. Where registers have 64 bits both counts are one word ([`wide`]), which one comparison looks at; where they have 32, two
//! ([`halves`]), since an exclusive access to 64 bits costs more than two looks. Both are tried on every machine; loom explores both
//! (`tests/loom`).

#[cfg(any(test, not(target_pointer_width = "64")))]
mod halves;
#[cfg(any(test, target_pointer_width = "64"))]
mod wide;

#[cfg(not(target_pointer_width = "64"))]
pub(crate) use halves::Counts;
#[cfg(target_pointer_width = "64")]
pub(crate) use wide::Counts;

#[cfg(test)]
mod tests;
