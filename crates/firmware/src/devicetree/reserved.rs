//! /reserved-memory: the children in the tree's order, each with what Linux 6.1 makes of it.

use super::{CellCounts, DeviceTree, Node, Regions};
use core::fmt;

/// Why Linux ignores all of /reserved-memory ("unsupported node format, ignoring").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReservedRootError {
    /// `#size-cells` is missing or differs from the root's.
    SizeCells {
        /// The node's count.
        found: Option<u32>,
        /// The root's.
        root: u32,
    },
    /// `#address-cells` is missing or differs from the root's.
    AddressCells {
        /// The node's count.
        found: Option<u32>,
        /// The root's.
        root: u32,
    },
    /// There is no `ranges`.
    NoRanges,
}

impl fmt::Display for ReservedRootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cells = |name: &str, found: Option<u32>, root: u32| match found {
            Some(found) => write!(f, "/reserved-memory has {name} of {found}, the root {root}"),
            None => write!(f, "/reserved-memory has no {name}, expected the root's {root}"),
        };
        match *self {
            Self::SizeCells { found, root } => cells("#size-cells", found, root),
            Self::AddressCells { found, root } => cells("#address-cells", found, root),
            Self::NoRanges => f.write_str("/reserved-memory has no ranges property"),
        }
    }
}

impl core::error::Error for ReservedRootError {}

/// Why Linux skips one child of /reserved-memory. Shown in the kernel's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReservedNodeError<'a> {
    /// `reg` is not a whole number of pairs.
    BadReg {
        /// The node.
        node: &'a str,
        /// Length of the property in bytes.
        len_bytes: u32,
    },
    /// `size` is not one size.
    BadSize {
        /// The node.
        node: &'a str,
        /// Length of the property in bytes.
        len_bytes: u32,
    },
    /// `alignment` is not one address.
    BadAlignment {
        /// The node.
        node: &'a str,
        /// Length of the property in bytes.
        len_bytes: u32,
    },
    /// `alloc-ranges` is not a whole number of pairs.
    BadAllocRanges {
        /// The node.
        node: &'a str,
        /// Length of the property in bytes.
        len_bytes: u32,
    },
}

impl fmt::Display for ReservedNodeError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadReg { node, .. } => {
                write!(f, "OF: fdt: Reserved memory: invalid reg property in '{node}', skipping node.")
            }
            Self::BadSize { node, .. } => {
                write!(f, "OF: reserved mem: invalid size property in '{node}' node.")
            }
            Self::BadAlignment { node, .. } => {
                write!(f, "OF: reserved mem: invalid alignment property in '{node}' node.")
            }
            Self::BadAllocRanges { node, .. } => {
                write!(f, "OF: reserved mem: invalid alloc-ranges property in '{node}', skipping node.")
            }
        }
    }
}

impl core::error::Error for ReservedNodeError<'_> {}

/// How a child of /reserved-memory asks for its memory.
#[derive(Clone, Debug)]
pub enum ReservedKind<'a> {
    /// `reg`: each pair is reserved; the first one becomes the node's region. May be empty.
    Static(Regions<'a>),
    /// `size`: the kernel chooses the place.
    Dynamic {
        /// Bytes wanted.
        size: u64,
        /// `alignment` in bytes; not necessarily a power of two.
        alignment: Option<u64>,
        /// `alloc-ranges`: where it may lie, in order of preference. `None`: anywhere.
        alloc_ranges: Option<Regions<'a>>,
    },
    /// Neither `reg` nor `size`: nothing is reserved.
    Neither,
    /// Skipped by Linux with this message.
    Invalid(ReservedNodeError<'a>),
}

/// A child of /reserved-memory.
#[derive(Clone, Debug)]
pub struct ReservedNode<'a> {
    /// The node's name with its unit address.
    pub name: &'a str,
    /// What it asks for.
    pub kind: ReservedKind<'a>,
    /// `no-map`.
    pub nomap: bool,
    /// `reusable`.
    pub reusable: bool,
    /// `compatible` lists `shared-dma-pool`.
    pub compatible_shared_dma_pool: bool,
    /// The first string of `compatible`.
    pub compatible: Option<&'a str>,
    /// `linux,cma-default`.
    pub linux_cma_default: bool,
    /// `linux,dma-default`.
    pub linux_dma_default: bool,
    /// No `status`, or one of `ok` and `okay`: Linux passes over the others.
    pub enabled: bool,
    node: Node<'a>,
    cells: CellCounts,
}

impl<'a> ReservedNode<'a> {
    fn new(node: Node<'a>, cells: CellCounts) -> Self {
        let mut this = Self {
            name: node.name(),
            kind: ReservedKind::Neither,
            nomap: node.has("no-map"),
            reusable: node.has("reusable"),
            compatible_shared_dma_pool: node.is_compatible("shared-dma-pool"),
            compatible: node.property("compatible").and_then(|p| p.as_str()),
            linux_cma_default: node.has("linux,cma-default"),
            linux_dma_default: node.has("linux,dma-default"),
            enabled: node.is_available(),
            node,
            cells,
        };
        this.kind = this.static_kind().unwrap_or_else(|| this.dynamic_kind());
        this
    }

    /// The node itself, for properties that have no field.
    pub fn node(&self) -> Node<'a> {
        self.node
    }

    /// Whether `compatible` lists `name`, without regard to case.
    pub fn is_compatible(&self, name: &str) -> bool {
        self.node.is_compatible(name)
    }

    fn static_kind(&self) -> Option<ReservedKind<'a>> {
        let reg = self.node.property("reg")?.value;
        let whole = self.cells.pair_bytes().is_some_and(|pair| reg.len().is_multiple_of(pair));
        Some(if whole || reg.is_empty() {
            ReservedKind::Static(Regions::new(reg, self.cells))
        } else {
            let len_bytes = reg.len() as u32;
            ReservedKind::Invalid(ReservedNodeError::BadReg { node: self.name, len_bytes })
        })
    }

    /// What `size`, `alignment` and `alloc-ranges` ask for, whether or not there is a `reg`: Linux falls back to it
    /// when the first pair of `reg` has size 0. `Neither` without `size`.
    pub fn dynamic_kind(&self) -> ReservedKind<'a> {
        let node = self.name;
        let Some(size) = self.node.property("size") else { return ReservedKind::Neither };
        let cells = |n: u32| u64::from(n) * 4;
        if size.value.len() as u64 != cells(self.cells.size) {
            let len_bytes = size.value.len() as u32;
            return ReservedKind::Invalid(ReservedNodeError::BadSize { node, len_bytes });
        }
        let alignment = self.node.property("alignment");
        if let Some(a) = alignment.filter(|a| a.value.len() as u64 != cells(self.cells.address)) {
            let len_bytes = a.value.len() as u32;
            return ReservedKind::Invalid(ReservedNodeError::BadAlignment { node, len_bytes });
        }
        let ranges = self.node.property("alloc-ranges");
        let pair = self.cells.pair_bytes().unwrap_or(0);
        if let Some(r) = ranges.filter(|r| !r.value.len().is_multiple_of(pair)) {
            let len_bytes = r.value.len() as u32;
            return ReservedKind::Invalid(ReservedNodeError::BadAllocRanges { node, len_bytes });
        }
        ReservedKind::Dynamic {
            size: size.as_number(),
            alignment: alignment.map(|a| a.as_number()),
            alloc_ranges: ranges.map(|r| Regions::new(r.value, self.cells)),
        }
    }
}

impl<'a> DeviceTree<'a> {
    /// Whether Linux takes /reserved-memory at all; `None` if there is none (__reserved_mem_check_root).
    pub fn reserved_memory_root(&self) -> Option<Result<Node<'a>, ReservedRootError>> {
        let node = self.root().child("reserved-memory")?;
        let root = self.root_cells();
        let cells = |name| node.property(name).and_then(|p| p.as_u32());
        let (size, address) = (cells("#size-cells"), cells("#address-cells"));
        Some(if size != Some(root.size) {
            Err(ReservedRootError::SizeCells { found: size, root: root.size })
        } else if address != Some(root.address) {
            Err(ReservedRootError::AddressCells { found: address, root: root.address })
        } else if !node.has("ranges") {
            Err(ReservedRootError::NoRanges)
        } else {
            Ok(node)
        })
    }

    /// The children of /reserved-memory in order, disabled ones too; none if Linux refuses the node as a whole
    /// ([`Self::reserved_memory_root`]).
    pub fn reserved_memory(&self) -> impl Iterator<Item = ReservedNode<'a>> + Clone + use<'a> {
        let cells = self.root_cells();
        let root = self.reserved_memory_root().and_then(Result::ok);
        root.into_iter().flat_map(|n| n.children()).map(move |n| ReservedNode::new(n, cells))
    }
}
