//! Pages of the image for page tables, before there is anything to take pages from.

use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_pagetable::TableSource;

const PAGE: u64 = 4096;

/// Pages of a range, from the first on.
#[derive(Debug)]
pub struct EarlyTables {
    left: PhysRange,
}

impl EarlyTables {
    /// Pages of `range`, which begins with one.
    pub const fn new(range: PhysRange) -> Self {
        Self { left: range }
    }
}

impl TableSource for EarlyTables {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        let page = self.left.start;
        let next = page.checked_add(PAGE).filter(|next| *next <= self.left.end)?;
        self.left.start = next;
        Some(page)
    }

    // What a refused mapping gives back is not needed again: the boot ends.
    fn free_table(&mut self, _: PhysAddr) {}
}

#[cfg(test)]
mod tests {
    use super::EarlyTables;
    use pagewright_addr::{PhysAddr, PhysRange};
    use pagewright_pagetable::TableSource;

    #[test]
    fn pages_end_with_the_range() {
        let mut tables = EarlyTables::new(PhysRange::new(PhysAddr::new(0x1000), PhysAddr::new(0x3800)));
        let pages = [(); 3].map(|()| tables.alloc_table());
        assert_eq!(pages, [Some(PhysAddr::new(0x1000)), Some(PhysAddr::new(0x2000)), None]);
    }
}
