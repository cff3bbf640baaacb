//! How much the model's test does: natively all that is worth doing, under Miri less of the same.
//!
//! Under Miri each entry that is looked at costs microseconds, so that filling a table or comparing a tree is what a run
//! consists of. There the ranges are a few pages, whole blocks are rare, and the tree is compared as a whole every
//! fiftieth time. What an operation can meet stays the same: blocks, groups, shared tables, sources that run dry.

use pagewright_pagetable::{Format, Level};

/// Under Miri a run of the whole test takes a few formats, unless it is told how many operations each gets.
const FEW: [&str; 3] = ["X86Level4", "Arm64Page4kVa48", "ArmShort"];

/// The sizes of a run.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Operations, on two areas together.
    pub(crate) ops: u64,
    /// Pages that tables can be in.
    pub(crate) table_pages: u64,
    /// Blocks in the area where things happen.
    pub(crate) area_blocks: u64,
    /// One range in so many is made of blocks.
    pub(crate) blocks_one_in: u64,
    /// The most pages of a range that is not made of blocks or groups.
    pub(crate) most_pages: u64,
    /// Pages and groups are taken from so many around the beginning of each block; from anywhere if `None`.
    pub(crate) near_pages: Option<u64>,
    /// The tree is compared as a whole each time that so many operations are done.
    pub(crate) compare_every: u64,
    /// Addresses that are compared after each operation.
    pub(crate) looks: u64,
    /// How many of the attributes that the format can say are used.
    pub(crate) attrs: usize,
}

impl Effort {
    /// What the test `name` is to do with a format; `None` if nothing.
    pub(crate) fn of<F: Format>(name: &str) -> Option<Self> {
        let told = std::env::var("PAGEWRIGHT_OPS").ok().and_then(|v| v.parse().ok());
        if !cfg!(miri) {
            return Some(Self {
                ops: told.unwrap_or(4_000),
                table_pages: 600,
                area_blocks: 4,
                blocks_one_in: 4,
                most_pages: 40,
                near_pages: None,
                compare_every: 64,
                looks: 4,
                attrs: usize::MAX,
            });
        }
        if told.is_none() && !FEW.contains(&name) {
            return None;
        }
        let level = F::SHAPE.level(Level::PTE);
        // A block of a large granule has thousands of pages.
        let (pages, contiguous) = (level.entries() as u64, level.contiguous);
        Some(Self {
            ops: told.unwrap_or(30),
            table_pages: 16,
            area_blocks: 2,
            blocks_one_in: (pages / 16).max(16),
            most_pages: 6,
            near_pages: Some(u64::from(2 * contiguous).max(32)),
            compare_every: 50,
            looks: 2,
            attrs: 12,
        })
    }
}
