//! How the modelled kernel packs section, node, zone, last CPU/PID, KASAN tag and the multi-generational LRU
//! fields into the upper bits of `page->flags`.
//!
//! Pure arithmetic over the kernel's configuration, checked against the five `mminit::pageflags_layout_*` lines
//! that Linux prints under `mminit_loglevel=4`. Pagewright's own metadata does not use this layout
//! (see [`crate::meta`]); the answer is a fact about the kernel that is being reproduced. The boot path calls
//! [`PageFlagsLayout::compute`] where `paging_init`/`free_area_init` call `mminit_verify_pageflags_layout`.
//!
//! From the top bit down the fields are: section, node, zone, last CPU/PID, KASAN tag, LRU generation, LRU tier
//! (reference count). Fields are placed in order of need: zone, generation and section always; the node
//! if it fits; then the last CPU/PID if it fits; the tier takes what is left.
//!
//! ```
//! use pagewright_page::flags_layout::{Inputs, PageFlagsLayout};
//!
//! // Debian's arm64 kernel: 4 KiB pages, SPARSEMEM_VMEMMAP, NODES_SHIFT 4, NR_CPUS 256.
//! let inputs = Inputs {
//!     bits_per_long: 64, nr_flags: 24, sections_shift: 21, vmemmap: true, nodes_shift: 4, max_nr_zones: 4,
//!     nr_cpus: 256, numa_balancing: true, lru_gen: true, kasan_tag_width: 0,
//! };
//! let layout = PageFlagsLayout::compute(&inputs).unwrap();
//! assert_eq!(layout.zones_pgshift(), 58);
//! ```

mod lines;
#[cfg(test)]
mod tests;

use core::fmt;
pub use lines::Line;

/// Bits that hold a PID in the last CPU/PID field (LAST__PID_SHIFT).
const LAST_PID_SHIFT: u32 = 8;
/// Generations of the multi-generational LRU (MAX_NR_GENS) plus one for "in no list": 3 bits.
const LRU_GEN_BITS: u32 = 3;
/// Bits asked for the tier (`MAX_NR_TIERS - 2` of 4): granted as far as room allows.
const LRU_REFS_BITS: u32 = 2;

/// Which optional page flags a kernel was built with; [`PageFlagsConfig::count`] is its `NR_PAGEFLAGS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageFlagsConfig {
    /// An MMU (`CONFIG_MMU`): the mlocked flag.
    pub mmu: bool,
    /// `CONFIG_ARCH_USES_PG_UNCACHED` (x86): the uncached flag.
    pub uncached: bool,
    /// `CONFIG_MEMORY_FAILURE`: the hwpoison flag.
    pub memory_failure: bool,
    /// `CONFIG_PAGE_IDLE_FLAG`; its two flags are in the word on 64-bit kernels only.
    pub page_idle: bool,
    /// A 64-bit kernel: the second architecture flag.
    pub bits64: bool,
    /// `CONFIG_KASAN_HW_TAGS`: the skip-poison flag.
    pub kasan_hw_tags: bool,
}

impl PageFlagsConfig {
    /// Flags that every 6.1 kernel has, from locked to unevictable.
    pub const ALWAYS: u32 = 21;

    /// The number of page flags (`NR_PAGEFLAGS`).
    pub const fn count(&self) -> u32 {
        Self::ALWAYS
            + self.mmu as u32
            + self.uncached as u32
            + self.memory_failure as u32
            + if self.page_idle && self.bits64 { 2 } else { 0 }
            + self.bits64 as u32
            + self.kasan_hw_tags as u32
    }
}

/// What the layout depends on. All of it is decided by the kernel's configuration, except that x86_64 chooses
/// the physical address width (and so `sections_shift`) by the paging mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inputs {
    /// 32 or 64 (BITS_PER_LONG).
    pub bits_per_long: u32,
    /// How many page flags the kernel has (NR_PAGEFLAGS); see [`PageFlagsConfig::count`].
    pub nr_flags: u32,
    /// SECTIONS_SHIFT: MAX_PHYSMEM_BITS - SECTION_SIZE_BITS with SPARSEMEM, else 0.
    pub sections_shift: u32,
    /// SPARSEMEM_VMEMMAP: the section number need not be in the word.
    pub vmemmap: bool,
    /// NODES_SHIFT; 0 without NUMA.
    pub nodes_shift: u32,
    /// How many zone types are configured (MAX_NR_ZONES), ZONE_MOVABLE included: 2 to 6.
    pub max_nr_zones: u32,
    /// CONFIG_NR_CPUS.
    pub nr_cpus: u32,
    /// CONFIG_NUMA_BALANCING: a last CPU/PID field is wanted.
    pub numa_balancing: bool,
    /// CONFIG_LRU_GEN.
    pub lru_gen: bool,
    /// Bits of a KASAN tag: 8 with software or hardware tags, else 0.
    pub kasan_tag_width: u32,
}

/// A configuration that cannot be built: Linux stops at compile time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// The word is neither 32 nor 64 bits wide.
    WordWidth {
        /// The width that was asked for.
        bits_per_long: u32,
    },
    /// More zone types than the two to eight that `ZONES_SHIFT` covers.
    Zones {
        /// The number of zone types that was asked for.
        max_nr_zones: u32,
    },
    /// SPARSEMEM_VMEMMAP needs the node in the word and there is no room ("Vmemmap: No space for nodes field").
    NoSpaceForNode {
        /// Bits that zone, generation, section and node need.
        needed: u32,
        /// Bits that the flags leave.
        available: u32,
    },
    /// "Not enough bits in page flags".
    NotEnoughBits {
        /// Bits that the fields need without node and last CPU/PID.
        needed: u32,
        /// Bits that the flags leave.
        available: u32,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WordWidth { bits_per_long } => {
                write!(f, "page flags of {bits_per_long} bits: 32 or 64 expected")
            }
            Self::Zones { max_nr_zones } => write!(f, "{max_nr_zones} zone types: 1 to 8 expected"),
            Self::NoSpaceForNode { needed, available } => write!(
                f,
                "vmemmap: no space for the node field in page flags ({needed} bits needed, {available} available)"
            ),
            Self::NotEnoughBits { needed, available } => {
                write!(f, "not enough bits in page flags ({needed} needed, {available} available)")
            }
        }
    }
}

impl core::error::Error for LayoutError {}

/// Where each field of `page->flags` lies: widths in bits, and shifts as the kernel's macros define them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageFlagsLayout {
    bits: u32,
    nr_flags: u32,
    sections_shift: u32,
    nodes_shift: u32,
    zones_shift: u32,
    last_cpupid_shift: u32,
    sections_width: u32,
    nodes_width: u32,
    last_cpupid_width: u32,
    kasan_tag_width: u32,
    lru_gen_width: u32,
    lru_refs_width: u32,
}

/// The bits that number `n` things (ceil(log2(n))).
const fn order_base_2(n: u32) -> u32 {
    if n <= 1 { 0 } else { u32::BITS - (n - 1).leading_zeros() }
}

impl PageFlagsLayout {
    /// Lays the word out.
    ///
    /// # Errors
    /// [`LayoutError`] for what Linux refuses to compile.
    pub fn compute(inputs: &Inputs) -> Result<Self, LayoutError> {
        let Inputs { bits_per_long: bits, nr_flags, max_nr_zones, nodes_shift, sections_shift, .. } = *inputs;
        if bits != 32 && bits != 64 {
            return Err(LayoutError::WordWidth { bits_per_long: bits });
        }
        if !(1..=8).contains(&max_nr_zones) {
            return Err(LayoutError::Zones { max_nr_zones });
        }
        let available = bits.saturating_sub(nr_flags);
        let zones_shift = order_base_2(max_nr_zones);
        let sections_width = if inputs.vmemmap { 0 } else { sections_shift };
        let lru_gen_width = if inputs.lru_gen { LRU_GEN_BITS } else { 0 };
        let last_cpupid_shift =
            if inputs.numa_balancing { LAST_PID_SHIFT + order_base_2(inputs.nr_cpus) } else { 0 };

        let fixed = zones_shift.saturating_add(lru_gen_width).saturating_add(sections_width);
        let with_node = fixed.saturating_add(nodes_shift);
        let nodes_width = if with_node <= available {
            nodes_shift
        } else if inputs.vmemmap {
            return Err(LayoutError::NoSpaceForNode { needed: with_node, available });
        } else {
            0
        };
        let used = fixed.saturating_add(nodes_width).saturating_add(inputs.kasan_tag_width);
        if used > available {
            return Err(LayoutError::NotEnoughBits { needed: used, available });
        }
        let last_cpupid_width = if used + last_cpupid_shift <= available { last_cpupid_shift } else { 0 };
        let left = available - used - last_cpupid_width;
        Ok(Self {
            bits,
            nr_flags,
            sections_shift,
            nodes_shift,
            zones_shift,
            last_cpupid_shift,
            sections_width,
            nodes_width,
            last_cpupid_width,
            kasan_tag_width: inputs.kasan_tag_width,
            lru_gen_width,
            lru_refs_width: if inputs.lru_gen { LRU_REFS_BITS.min(left) } else { 0 },
        })
    }

    /// Bits of the section number in the word (SECTIONS_WIDTH).
    pub const fn sections_width(&self) -> u32 {
        self.sections_width
    }

    /// Bits of the node number in the word (NODES_WIDTH); 0 if it is kept elsewhere.
    pub const fn nodes_width(&self) -> u32 {
        self.nodes_width
    }

    /// Bits of the zone number (ZONES_WIDTH, ZONES_SHIFT).
    pub const fn zones_width(&self) -> u32 {
        self.zones_shift
    }

    /// Bits of the last CPU/PID in the word (LAST_CPUPID_WIDTH); 0 if it is a field of its own.
    pub const fn last_cpupid_width(&self) -> u32 {
        self.last_cpupid_width
    }

    /// Bits of the LRU tier in the word (LRU_REFS_WIDTH).
    pub const fn lru_refs_width(&self) -> u32 {
        self.lru_refs_width
    }

    /// Bits of the LRU generation in the word (LRU_GEN_WIDTH).
    pub const fn lru_gen_width(&self) -> u32 {
        self.lru_gen_width
    }

    /// The node number is looked up by section (NODE_NOT_IN_PAGE_FLAGS).
    pub const fn node_not_in_page_flags(&self) -> bool {
        self.nodes_shift != 0 && self.nodes_width == 0
    }

    /// The last CPU/PID is a field of its own in `struct page` (LAST_CPUPID_NOT_IN_PAGE_FLAGS), which makes
    /// `struct page` larger.
    pub const fn last_cpupid_not_in_page_flags(&self) -> bool {
        self.last_cpupid_shift != 0 && self.last_cpupid_width == 0
    }

    const fn sections_pgoff(&self) -> u32 {
        self.bits - self.sections_width
    }

    const fn nodes_pgoff(&self) -> u32 {
        self.sections_pgoff() - self.nodes_width
    }

    const fn zones_pgoff(&self) -> u32 {
        self.nodes_pgoff() - self.zones_shift
    }

    const fn last_cpupid_pgoff(&self) -> u32 {
        self.zones_pgoff() - self.last_cpupid_width
    }

    const fn kasan_tag_pgoff(&self) -> u32 {
        self.last_cpupid_pgoff() - self.kasan_tag_width
    }

    /// The section number's lowest bit (SECTIONS_PGSHIFT), 0 if it has no field.
    pub const fn sections_pgshift(&self) -> u32 {
        shift_if(self.sections_width, self.sections_pgoff())
    }

    /// The node number's lowest bit (NODES_PGSHIFT), 0 if it has no field.
    pub const fn nodes_pgshift(&self) -> u32 {
        shift_if(self.nodes_width, self.nodes_pgoff())
    }

    /// The zone number's lowest bit (ZONES_PGSHIFT), 0 if it has no field.
    pub const fn zones_pgshift(&self) -> u32 {
        shift_if(self.zones_shift, self.zones_pgoff())
    }

    /// The last CPU/PID's lowest bit (LAST_CPUPID_PGSHIFT), 0 if it has no field.
    pub const fn last_cpupid_pgshift(&self) -> u32 {
        shift_if(self.last_cpupid_width, self.last_cpupid_pgoff())
    }

    /// The KASAN tag's lowest bit (KASAN_TAG_PGSHIFT), 0 if it has no field.
    pub const fn kasan_tag_pgshift(&self) -> u32 {
        shift_if(self.kasan_tag_width, self.kasan_tag_pgoff())
    }

    /// One past the highest and the lowest bit of what `page_zone_id` extracts: the zone with the node, or with
    /// the section where the node is not in the word (ZONEID_PGOFF + ZONEID_SHIFT, ZONEID_PGOFF).
    pub const fn zoneid_bits(&self) -> (u32, u32) {
        let (shift, upper) = if self.node_not_in_page_flags() {
            (self.sections_shift + self.zones_shift, self.sections_pgoff())
        } else {
            (self.nodes_shift + self.zones_shift, self.nodes_pgoff())
        };
        let low = if upper < self.zones_pgoff() { upper } else { self.zones_pgoff() };
        (low + shift, low)
    }

    /// The lines Linux prints, in its order, without a prefix: five, and one more for each field that found no room.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        Line::all(self)
    }
}

const fn shift_if(width: u32, offset: u32) -> u32 {
    if width == 0 { 0 } else { offset }
}
