//! The boot sequence in `start_kernel`'s order, and the facade an embedder uses.
//!
//! [`boot()`] takes a [`Machine`](pagewright_firmware::Machine) from what its firmware says to a running page
//! allocator, taking at every step the decision that Linux 6.1 takes. The caller brings the memory for the tables (a
//! [`Workspace`]) and listens to what the boot says through an [`EventSink`]; [`hand_over`] then gives what memblock
//! holds free to the page allocator.
//!
//! Here a PC with 1 GiB of RAM and Debian's kernel boots, and its zones are asked for:
//!
//! ```
//! use pagewright::{Quiet, Tables, Workspace, boot};
//! use pagewright_addr::{NodeId, PfnRange, PhysAddr};
//! use pagewright_firmware::cmdline::CommandLine;
//! use pagewright_firmware::config::{Flavour, KernelConfig};
//! use pagewright_firmware::e820::{E820Entry, E820Kind};
//! use pagewright_firmware::{BuildFacts, Cpus, Firmware, KernelImage, Machine, Pc};
//! use pagewright_memblock::Region;
//! use pagewright_page::model::{MapSpace, SectionRun};
//! use pagewright_zone::layout::{MemFlags, MemRange, NodeLayout};
//!
//! let e820 = [
//!     E820Entry::new(0, 0x9_fc00, E820Kind::Ram),
//!     E820Entry::new(0x10_0000, 0x3ff0_0000, E820Kind::Ram),
//! ];
//! let config = KernelConfig::debian(Flavour::Amd64);
//! let at = PhysAddr::new;
//! let machine = Machine {
//!     arch: config.arch,
//!     config,
//!     image: KernelImage {
//!         text_start: at(0x100_0000),
//!         text_end: at(0x1e0_0000),
//!         rodata_start: at(0x200_0000),
//!         rodata_end: at(0x280_0000),
//!         data_start: at(0x2a0_0000),
//!         data_end: at(0x2c0_0000),
//!         init_begin: at(0x2e0_0000),
//!         inittext_end: at(0x2f0_0000),
//!         init_end: at(0x300_0000),
//!         bss_start: at(0x300_0000),
//!         bss_end: at(0x3e0_0000),
//!         end: at(0x3e0_0000),
//!         ..KernelImage::default()
//!     },
//!     build: BuildFacts::for_config(&config),
//!     firmware: Firmware::Pc(Pc { e820: &e820, ..Pc::default() }),
//!     initrd: None,
//!     cmdline: Some(CommandLine::new("crashkernel=64M")),
//!     cpus: Cpus::default(),
//!     seed: None,
//! };
//!
//! let (mut memory, mut reserved) = ([Region::default(); 128], [Region::default(); 128]);
//! let blank = MemRange { pfns: PfnRange::default(), nid: NodeId::ZERO, flags: MemFlags::empty() };
//! let nodes = config.max_numnodes() as usize;
//! let (mut layouts, mut zonelists) = (vec![NodeLayout::EMPTY; nodes], vec![NodeId::ZERO; nodes * (nodes + 1)]);
//! let mut tables = Box::new(Tables::new());
//! let workspace = Workspace {
//!     memory: &mut memory,
//!     reserved: &mut reserved,
//!     region_memory: None,
//!     ranges: &mut [blank; 128],
//!     nodes: &mut layouts,
//!     zonelists: &mut zonelists,
//!     tables: &mut tables,
//!     maps: MapSpace {
//!         sections: &mut [SectionRun::EMPTY; 128],
//!         subsections: &mut [PfnRange::default(); 128],
//!         node_maps: &mut [],
//!     },
//! };
//! let booted = boot(&machine, workspace, &Quiet)?;
//! assert_eq!(booted.mb.end_of_dram(), at(1 << 30));
//! assert_eq!(booted.crash.main.unwrap().len(), 64 << 20);
//! # Ok::<(), pagewright::BootError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod arm;
pub mod arm64;
pub mod boot;
pub mod built;
pub mod census;
mod check;
pub mod cma;
pub mod cpus;
pub mod crash;
mod derived;
pub mod early;
mod efi;
pub mod error;
pub mod fdt;
pub mod free_area;
mod heapsort;
pub mod hugetlb;
pub mod memmap;
pub mod memtest;
pub mod numa;
pub mod percpu;
pub mod pgtable;
pub mod reserved_mem;
pub mod running;
pub mod sink;
pub mod sparse;
pub mod tables;
pub mod text;
pub mod x86;
pub mod zonelists;

pub use boot::{Boot, Workspace, boot};
pub use error::BootError;
pub use running::{Running, Space, hand_over};
pub use sink::{EventSink, Level, Phase, Quiet};
pub use tables::Tables;
