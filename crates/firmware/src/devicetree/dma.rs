//! How far the buses of the tree reach (`of_dma_get_max_cpu_address`), which bounds arm64's ZONE_DMA.

use super::DeviceTree;
use super::translate::Path;

/// What Linux computes with when an address has no translation (OF_BAD_ADDR).
const BAD_ADDR: u64 = u64::MAX;

impl DeviceTree<'_> {
    /// The last address that every bus can reach by DMA, `u64::MAX` without any `dma-ranges`.
    ///
    /// Linux translates every entry of each `dma-ranges` up to the root, takes the largest end of each property, and
    /// of those the smallest over the tree; disabled nodes and what is below them do not count. ZONE_DMA ends at the
    /// power of two above it, and at 4 GiB at the most. A phandle in `interconnects` that names another parent for
    /// DMA is not followed.
    pub fn dma_max_cpu_address(&self) -> u64 {
        const RANGES: &str = "dma-ranges";
        let mut path = Path::new(&self.blob);
        let mut lowest = u64::MAX;
        for (depth, node) in self.blob.nodes() {
            let Some(level) = path.enter(depth, node).copied() else { continue };
            if !level.available || node.property(RANGES).is_none_or(|p| p.value.is_empty()) {
                continue;
            }
            // The arithmetic wraps as Linux's does, also that on an address without a translation.
            let end = level.entries(RANGES, path.cells()).fold(0, |end, entry| {
                let base = path.translate(entry.parent, RANGES).unwrap_or(BAD_ADDR);
                let past = base.wrapping_add(entry.size);
                if past > end { past.wrapping_sub(1) } else { end }
            });
            lowest = lowest.min(end);
        }
        lowest
    }
}
