//! The hosted machine: its RAM and page metadata in the host's memory, which is only used where it is touched.
//!
//! A described machine may be far larger than the host. [`Metadata`] is one lazily zeroed allocation, of which
//! pristine frames occupy nothing; [`Ram`] comes into being block by block, when a frame's bytes are first asked for.
//! Built from the standard library alone, so it runs wherever that does, wasm included.
//!
//! [`PhysMemory`] is RAM as hardware sees it, by physical address and from the first moment of a boot: page tables live
//! in it, and the simulated CPUs of [`mmu`] walk them there.
//!
//! ```
//! use pagewright_addr::{Order, PageShift, Pfn, PfnRange};
//! use pagewright_page::{PageMap, Section, SectionTable};
//! use pagewright_sim::{Metadata, Ram};
//!
//! // A machine of 16 GiB, of which one frame is used.
//! let mut sections = [Section::EMPTY];
//! let ram = [PfnRange::from_len(Pfn::new(0x4_0000), 4 << 20)];
//! let table = SectionTable::build(&mut sections, ram, Order::new(10).unwrap())?;
//! let mut metadata = Metadata::new(table.frames())?;
//! let (map, mut pristine) = PageMap::new(metadata.storage(), table)?;
//! let memory = Ram::new(map, PageShift::SHIFT_4K);
//!
//! let mut frame = pristine.take_front(1).into_frames();
//! memory.bytes_mut(&mut frame)?.fill(0x5a);
//! assert_eq!(memory.bytes(&frame)?[4095], 0x5a);
//! assert_eq!(memory.resident_bytes(), 4 << 20);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

pub mod ageing;
mod allocator;
pub mod cache;
pub mod designs;
pub mod exercise;
pub mod highmem;
mod metadata;
pub mod mmu;
pub mod modules;
pub mod object_exercise;
pub mod pages;
mod phys;
mod ram;
pub mod random;
pub mod slabs;
pub mod store;
pub mod tenants;
pub mod vmalloc;
mod zeroed;

pub use allocator::{HostedError, with_page_allocator};
use core::fmt;
pub use metadata::Metadata;
pub use phys::{EntryWidth, PhysError, PhysMemory};
pub use ram::Ram;

/// Why simulated memory is not to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SimError {
    /// The host refuses this much memory, or cannot address it.
    HostMemory {
        /// What was asked for.
        bytes: u64,
    },
    /// The token belongs to another machine's map.
    OtherMap,
    /// The frames reach beyond one block of the map's alignment order, and only a block is contiguous.
    AcrossBlocks {
        /// The first frame's index.
        start: u32,
        /// How many frames.
        frames: u64,
    },
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostMemory { bytes } => write!(f, "the host does not give {bytes} bytes of memory"),
            Self::OtherMap => f.write_str("the frames belong to another machine's map"),
            Self::AcrossBlocks { start, frames } => {
                write!(f, "{frames} frames from index {start:#x} are not inside one block of simulated RAM")
            }
        }
    }
}

impl core::error::Error for SimError {}

#[cfg(test)]
mod tests;
