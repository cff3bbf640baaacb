//! Zone kinds, the set of kinds a kernel is built with, and sets of nodes.

use core::fmt;
use pagewright_addr::NodeId;

/// A kind of zone. The order is Linux's: a higher kind falls back to lower ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ZoneKind {
    /// ZONE_DMA: frames that devices with few address bits reach (16 MiB on a PC; 30 or 32 bits elsewhere).
    Dma,
    /// ZONE_DMA32: frames below 4 GiB on kernels whose ZONE_DMA is smaller.
    Dma32,
    /// ZONE_NORMAL: the rest of the frames that the kernel maps permanently.
    Normal,
    /// ZONE_HIGHMEM: frames without a permanent kernel mapping (32-bit kernels).
    HighMem,
    /// ZONE_MOVABLE: frames for allocations that can be migrated; taken out of the highest populated zone.
    Movable,
    /// ZONE_DEVICE: frames of device memory, hot-added later.
    Device,
}

impl ZoneKind {
    /// How many kinds there are; tables indexed by [`Self::index`] have this length.
    pub const COUNT: usize = 6;

    /// Every kind, lowest first.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Dma, Self::Dma32, Self::Normal, Self::HighMem, Self::Movable, Self::Device];

    /// The kind's place in [`Self::ALL`]. Not Linux's zone number: that depends on the configuration, see
    /// [`ZoneSet::number`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that logs and /proc print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
            Self::HighMem => "HighMem",
            Self::Movable => "Movable",
            Self::Device => "Device",
        }
    }
}

impl fmt::Display for ZoneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The zone kinds that a kernel is configured with (CONFIG_ZONE_DMA, CONFIG_ZONE_DMA32, CONFIG_HIGHMEM,
/// CONFIG_ZONE_DEVICE). Normal and Movable are always in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ZoneSet(u8);

impl ZoneSet {
    /// Normal and Movable, which every kernel has.
    pub const BASE: Self = Self(1 << ZoneKind::Normal as u8 | 1 << ZoneKind::Movable as u8);

    /// The set with `kind` added.
    #[must_use]
    pub const fn with(self, kind: ZoneKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// Whether the kernel has zones of this kind.
    pub const fn contains(self, kind: ZoneKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// How many kinds there are: MAX_NR_ZONES.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Never true: Normal and Movable are always there.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Linux's number of a zone kind under this configuration (`zone_idx`), or `None` if it is not built in.
    pub const fn number(self, kind: ZoneKind) -> Option<usize> {
        if self.contains(kind) {
            Some((self.0 & ((1 << kind as u8) - 1)).count_ones() as usize)
        } else {
            None
        }
    }

    /// The kinds, lowest first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = ZoneKind> + Clone {
        ZoneKind::ALL.into_iter().filter(move |&k| self.contains(k))
    }
}

impl Default for ZoneSet {
    fn default() -> Self {
        Self::BASE
    }
}

impl FromIterator<ZoneKind> for ZoneSet {
    /// The kinds of the iterator and [`ZoneSet::BASE`].
    fn from_iter<I: IntoIterator<Item = ZoneKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::BASE, Self::with)
    }
}

/// A set of NUMA nodes (`nodemask_t`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NodeMask([u64; NodeId::LIMIT / 64]);

impl NodeMask {
    /// No node.
    pub const EMPTY: Self = Self([0; NodeId::LIMIT / 64]);

    /// Only `nid`.
    pub fn only(nid: NodeId) -> Self {
        let mut mask = Self::EMPTY;
        mask.insert(nid);
        mask
    }

    /// Adds a node; returns whether it was absent.
    pub fn insert(&mut self, nid: NodeId) -> bool {
        let (word, bit) = (nid.index() / 64, 1u64 << (nid.index() % 64));
        let absent = self.0[word] & bit == 0;
        self.0[word] |= bit;
        absent
    }

    /// Takes a node out.
    pub fn remove(&mut self, nid: NodeId) {
        self.0[nid.index() / 64] &= !(1u64 << (nid.index() % 64));
    }

    /// Whether the node is in the set.
    pub fn contains(&self, nid: NodeId) -> bool {
        self.0[nid.index() / 64] & (1u64 << (nid.index() % 64)) != 0
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&w| w == 0)
    }

    /// The lowest node.
    pub fn first(&self) -> Option<NodeId> {
        self.iter().next()
    }

    /// The next node above `nid`, or from the lowest on again (`next_node_in`).
    pub fn next_in(&self, nid: NodeId) -> Option<NodeId> {
        self.iter().find(|&next| next > nid).or_else(|| self.first())
    }

    /// The nodes that are in both sets.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// Whether all of its nodes are in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.and(other) == *self
    }

    /// The nodes as Linux lists them (`%*pbl`): runs by their ends, such as `0-3,8`.
    pub fn list(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| {
            let mut nodes = self.iter().map(NodeId::get).peekable();
            let mut separator = "";
            while let Some(first) = nodes.next() {
                let mut last = first;
                while let Some(next) = nodes.next_if_eq(&(last + 1)) {
                    last = next;
                }
                write!(f, "{separator}{first}")?;
                if last > first {
                    write!(f, "-{last}")?;
                }
                separator = ",";
            }
            Ok(())
        })
    }

    /// Reads such a list (`nodelist_parse`).
    ///
    /// # Errors
    /// [`NodeListError`]: what is no list, runs backwards, or names a node beyond the limit.
    pub fn parse_list(text: &str) -> Result<Self, NodeListError> {
        let mut mask = Self::EMPTY;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten().and_then(NodeId::new)
        };
        let mut at = 0;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let wrong = NodeListError { at, len: part.len() };
            let (Some(first), Some(last)) = (number(first.trim()), number(last.trim())) else {
                return Err(wrong);
            };
            if last < first {
                return Err(wrong);
            }
            (first.get()..=last.get()).filter_map(NodeId::new).for_each(|nid| _ = mask.insert(nid));
            at += part.len() + 1;
        }
        Ok(mask)
    }

    /// The nodes, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            core::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                NodeId::new((i * 64 + bit) as u16)
            })
        })
    }
}

/// A part of a list of nodes is neither a node nor a run of nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeListError {
    /// Where the part begins, in bytes.
    pub at: usize,
    /// How long it is, in bytes.
    pub len: usize,
}

impl fmt::Display for NodeListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no node or run of nodes in {} bytes from byte {} of a list on", self.len, self.at)
    }
}

impl core::error::Error for NodeListError {}

impl Default for NodeMask {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl FromIterator<NodeId> for NodeMask {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut mask = Self::EMPTY;
        for nid in nodes {
            mask.insert(nid);
        }
        mask
    }
}

impl fmt::Debug for NodeMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(NodeId::get)).finish()
    }
}
