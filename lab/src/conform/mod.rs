//! `conform`: boots the machine that a capture describes and compares, fact by fact, with what Linux did there.
//!
//! The groups `memory`, `zones`, `placements` and `layout` come from an end-to-end boot: our rendered log and the
//! captured one are read by the same extractor ([`crate::facts`]). `watermarks` computes from the captured managed
//! pages; `replay` executes the captured memblock calls again; `page-tables`
//! compares the tables that the boot built with those that the kernel left in RAM; `slub` lays out the captured caches; `vmalloc` compares the
//! areas that are there before vmalloc is; `iomem` the physical address ranges in use before drivers ask for theirs. A group whose files a capture lacks is left out.

pub mod allow;
pub mod compare;
pub mod iomem;
pub mod machine;
pub mod page_tables;
pub mod replay;
pub mod report;
pub mod slub;
pub mod vmalloc;
pub mod watermarks;

#[cfg(test)]
mod tests;
