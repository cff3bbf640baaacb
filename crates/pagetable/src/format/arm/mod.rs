//! arm: the short-descriptor format and the long one (LPAE), and how TTBCR divides the addresses between two trees.

pub mod lpae;
mod page;
mod section;
pub mod short;
pub mod ttbcr;
