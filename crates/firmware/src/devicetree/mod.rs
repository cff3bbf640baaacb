//! Flattened device trees, read as Linux 6.1 reads them before it has memory of its own.
//!
//! [`DeviceTree::parse`] checks a blob once; everything else is a walk over it and cannot fail on structure. A
//! property that cannot mean what it should becomes a verdict ([`PropertyError`], [`ReservedNodeError`]), never a
//! panic. Nothing is judged here that needs the state of memory: whether a range fits, overlaps or wraps is the boot
//! path's business, and [`Region`] keeps the numbers as they stand.
//!
//! The reader is this module's own: Linux accepts names that the specification forbids (longer than
//! 31 bytes, as in `__symbols__`), takes one address cell where the specification says two, and ends the reservation
//! block at the first size of 0; a validating reader refuses or misreads trees that boot.
//!
//! ```
//! use pagewright_firmware::devicetree::DeviceTree;
//!
//! let blob = include_bytes!("../../tests/data/virt-arm64.dtb");
//! let tree = DeviceTree::parse(blob)?;
//! let bank = tree.memory_banks().next().unwrap();
//! assert_eq!(tree.model(), Some("linux,dummy-virt"));
//! assert_eq!((bank.range.start.get(), bank.size), (0x4000_0000, 1 << 30));
//! assert_eq!(tree.unflattened_size(8), 40252);
//! # Ok::<(), pagewright_firmware::devicetree::DtError>(())
//! ```

mod chosen;
mod cpus;
mod dma;
mod error;
mod flat;
mod memory;
mod node;
mod numa;
mod phandle;
mod region;
mod reserved;
mod translate;
mod unflatten;

use flat::Blob;
use pagewright_addr::{PhysAddr, PhysRange};

pub use chosen::Chosen;
pub use cpus::{CpuList, CpuNode};
pub use error::{DtError, PropertyError, PropertyProblem};

pub use memory::MemoryBank;
pub use node::{Node, Property};
pub use numa::{Distances, NumaMemory, NumaRegions};
pub use region::{Region, Regions};
pub use reserved::{ReservedKind, ReservedNode, ReservedNodeError, ReservedRootError};
pub use unflatten::AliasAllocation;

/// How many cells addresses and sizes take in the children of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CellCounts {
    /// `#address-cells`.
    pub address: u32,
    /// `#size-cells`.
    pub size: u32,
}

impl CellCounts {
    /// What Linux takes for a root node that does not say (OF_ROOT_NODE_ADDR_CELLS_DEFAULT).
    pub const LINUX_DEFAULT: Self = Self { address: 1, size: 1 };

    /// Bytes of one (address, size) pair; `None` if a pair is empty or too large to be meant.
    pub(crate) fn pair_bytes(self) -> Option<usize> {
        let cells = self.address.checked_add(self.size).filter(|n| *n > 0 && *n <= 1 << 16)?;
        Some(cells as usize * 4)
    }
}

/// A device tree whose structure has been checked.
#[derive(Clone, Debug)]
pub struct DeviceTree<'a> {
    blob: Blob<'a>,
    cells: CellCounts,
}

impl<'a> DeviceTree<'a> {
    /// Checks header, size and structure. Bytes beyond `totalsize` are ignored.
    ///
    /// # Errors
    /// Any [`DtError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DtError> {
        let blob = Blob::parse(bytes)?;
        let root = blob.root();
        let count = |name, default| root.property(name).and_then(|p| p.as_u32()).unwrap_or(default);
        let default = CellCounts::LINUX_DEFAULT;
        let cells = CellCounts {
            address: count("#address-cells", default.address),
            size: count("#size-cells", default.size),
        };
        Ok(Self { blob, cells })
    }

    /// `totalsize`: the bytes that the kernel reserves for the blob.
    pub fn total_size(&self) -> u64 {
        u64::from(self.blob.total_size())
    }

    /// Parses a blob of which only the place is known: `bytes` gives so many bytes from its start, first those of the header, then
    /// all of it.
    ///
    /// # Errors
    /// [`DtError::TooShort`] where there are not so many, and whatever [`Self::parse`] says.
    pub fn load(bytes: impl Fn(u64) -> Option<&'a [u8]>) -> Result<Self, DtError> {
        /// Up to `totalsize`.
        const START: u64 = 8;
        let get = |len| bytes(len).ok_or(DtError::TooShort { len_bytes: 0, needed_bytes: len });
        let cell = |header: &[u8], n: usize| {
            header.get(4 * n..4 * n + 4).and_then(|c| c.try_into().ok()).map_or(0, u32::from_be_bytes)
        };
        let header = get(START)?;
        // What is no tree is not read on: its length means nothing.
        let total = if cell(header, 0) == flat::MAGIC { u64::from(cell(header, 1)) } else { START };
        Self::parse(get(total.max(START))?)
    }

    /// The blob itself, up to `totalsize`.
    pub fn bytes(&self) -> &'a [u8] {
        self.blob.bytes()
    }

    /// The root node.
    pub fn root(&self) -> Node<'a> {
        self.blob.root()
    }

    /// `#address-cells` and `#size-cells` of the root.
    pub fn root_cells(&self) -> CellCounts {
        self.cells
    }

    /// The node at `path` (`/soc/serial@0`), by libfdt's rule ([`Node::child`]).
    pub fn find(&self, path: &str) -> Option<Node<'a>> {
        path.split('/').filter(|c| !c.is_empty()).try_fold(self.root(), |node, c| node.child(c))
    }

    /// What the kernel calls the machine: `model`, else the first `compatible` (of_flat_dt_get_machine_name).
    pub fn model(&self) -> Option<&'a str> {
        let root = self.root();
        let name = root.property("model").or_else(|| root.property("compatible"));
        name.and_then(|p| p.as_str())
    }

    /// The root's `compatible` list; entries that are not text are left out.
    pub fn compatible_root(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let compatible = self.root().property("compatible");
        compatible.into_iter().flat_map(|p| p.strings()).filter_map(|s| core::str::from_utf8(s).ok())
    }

    /// The memory reservation block (`/memreserve/`), up to its first entry of size 0.
    pub fn memory_reservations(&self) -> impl Iterator<Item = PhysRange> + Clone + use<'a> {
        self.blob.reservations().map(|(base, size)| PhysRange::from_len(PhysAddr::new(base), size))
    }
}
