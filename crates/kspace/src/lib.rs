//! The kernel's virtual address space: what lies where, the fixed mappings, and the mappings of early boot.
//!
//! A [`Layout`] is the whole virtual map of a kernel as a plain value, computed from its configuration and version and
//! from a few facts of the machine ([`Facts`]). A [`Fixmap`] numbers the addresses that are known at compile time;
//! [`EarlyIoremap`] hands out the temporary ones among them. [`areas`] keeps what of a region is in use by which area;
//! [`vmalloc`] maps pages there that need not lie together, [`ioremap`] devices, [`stacks`] kernel stacks, [`highmem`] RAM that has no address of its own; [`dcache`] knows which data caches
//! alias and what is flushed then. Nothing here keeps state in globals, and page tables are
//! reached through a cursor of `pagewright-pagetable`.
//!
//! ```
//! use pagewright_firmware::config::{Flavour, KernelConfig};
//! use pagewright_kspace::{Facts, Kind, Layout, Slot};
//!
//! let facts = Facts::new(KernelConfig::debian(Flavour::Arm64));
//! let layout = Layout::of(&facts).unwrap();
//! let vmalloc = layout.get(Kind::Vmalloc).unwrap();
//! assert_eq!(vmalloc.start.get(), 0xffff_8000_0800_0000);
//! assert_eq!(vmalloc.last().get(), 0xffff_fbff_efff_ffff);
//! // Where the device tree can be read before there is a linear map.
//! let fdt = layout.fixmap().address(Slot::Fdt).unwrap();
//! assert_eq!(fdt.get(), 0xffff_fbff_fdc0_0000);
//! // Every address belongs to one region.
//! assert_eq!(layout.at(fdt).unwrap().kind, Kind::Fixmap);
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod areas;
pub mod dcache;
pub mod early_ioremap;
pub mod fixmap;
pub mod highmem;
pub mod ioremap;
pub mod layout;
pub mod module;
pub mod resource;
pub mod stacks;
mod version;
pub mod vmalloc;

pub use early_ioremap::{EarlyIoremap, EarlyIoremapError, Prot};
pub use fixmap::{FixedIndex, Fixmap, FixmapError, Slot};
pub use layout::{Facts, I386Areas, Kind, Layout, LayoutError, Limits, Marker, Region};
pub use version::{ParseVersionError, Version};

#[cfg(test)]
extern crate std;
