//! The boot sequence in `start_kernel`'s order, and the facade an embedder uses.
//!
//! [`Boot`] takes a [`Machine`](firmware::Machine) from what its firmware says to a running page
//! allocator, taking at every step the decision that Linux 6.1 takes. The caller brings the memory for the tables (a
//! [`Workspace`]) and listens to what the boot says through an [`EventSink`]; [`start_allocator`] then gives what memblock
//! holds free to the page allocator, and [`Running::serve`] lets all processors use it. An embedder needs no other crate but this one and, for logs and views, `pagewright-view`:
//! the crates below are re-exported ([`firmware`], [`zone`], ...). `docs/embedding.md` has the whole way.
//!
//! Here a PC with 1 GiB of RAM and Debian's kernel boots, and gives out a page:
//!
//! ```
//! use pagewright::addr::{Order, PhysAddr, PhysRange};
//! use pagewright::firmware::cmdline::CommandLine;
//! use pagewright::firmware::config::{Flavour, KernelConfig};
//! use pagewright::firmware::e820::{E820Entry, E820Kind};
//! use pagewright::firmware::{Firmware, KernelImage, Machine, Pc};
//! use pagewright::platform::Carve;
//! use pagewright::{Boot, Quiet, Tables, Workspace, start_allocator, workspace_words};
//!
//! const CONFIG: KernelConfig = KernelConfig::debian(Flavour::Amd64);
//! let e820 = [
//!     E820Entry::new(0, 0x9_fc00, E820Kind::Ram),
//!     E820Entry::new(0x10_0000, 0x3ff0_0000, E820Kind::Ram),
//! ];
//! let part = |start, len| PhysRange::from_len(PhysAddr::new(start), len);
//! let image = KernelImage::plain(part(0x100_0000, 0x80_0000), part(0x180_0000, 0x40_0000));
//! let firmware = Firmware::Pc(Pc { e820: &e820, ..Pc::default() });
//! let mut machine = Machine::new(CONFIG, image, firmware);
//! machine.cmdline = Some(CommandLine::new("crashkernel=64M"));
//!
//! let (mut room, mut tables) = (vec![0; workspace_words(&CONFIG)], Box::new(Tables::new()));
//! let workspace = Workspace::new(&CONFIG, &mut room, &mut tables).expect("so many words are enough");
//! let mut boot = Boot::new(&machine, workspace, &Quiet)?;
//! boot.run()?;
//! assert_eq!(boot.mb.end_of_dram(), PhysAddr::new(1 << 30));
//! assert_eq!(boot.crash.main.unwrap().len(), 64 << 20);
//!
//! // A kernel has this memory in its direct map; here it is anywhere.
//! let mut metadata = vec![0; 16 << 20];
//! let mut pages = start_allocator(&mut boot, |range| Some(Carve::of(&mut metadata[..range.len() as usize / 8])))?;
//! pages.start_cpus(&mut boot);
//! let page = pages.alloc(Order::ZERO)?;
//! assert!(pages.range(&page, CONFIG.page_shift).start < PhysAddr::new(1 << 30));
//! pages.free(page);
//! # Ok::<(), Box<dyn core::error::Error>>(())
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
pub mod highmem;
pub mod hugetlb;
pub mod memmap;
pub mod memtest;
pub mod numa;
pub mod percpu;
pub mod pgtable;
pub mod reserved_mem;
pub mod running;
pub mod service;
pub mod sink;
pub mod slab;
pub mod sparse;
pub mod start;
pub mod tables;
pub mod text;
pub mod vmalloc;
pub mod workspace;
pub mod x86;
pub mod zonelists;

pub use boot::{Boot, Workspace, boot};
pub use error::BootError;
pub use pagewright_addr as addr;
pub use pagewright_firmware as firmware;
pub use pagewright_kspace as kspace;
pub use pagewright_kspace::{dcache, module, stacks};
pub use pagewright_memblock as memblock;
pub use pagewright_page as page;
pub use pagewright_pagetable as pagetable;
pub use pagewright_platform as platform;
pub use pagewright_zone as zone;
pub use running::{Running, Space, hand_over};
pub use service::{CpuRoom, Service};
pub use sink::{EventSink, Level, Phase, Quiet};
pub use start::{StartError, Stopped, start_allocator};
pub use tables::Tables;
pub use workspace::{workspace_bytes, workspace_words};
