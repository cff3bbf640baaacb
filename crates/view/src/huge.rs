//! Huge pages of a booted machine: which pools have how many, and what the page allocator never saw of them.

use crate::State;
use pagewright_addr::NodeId;
use pagewright_zone::ZoneKind;

/// One size's pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Bytes of a huge page.
    pub size: u64,
    /// Huge pages in the pool; nobody uses one right after boot.
    pub count: u64,
    /// Whether it is the pool that `/proc/meminfo` shows.
    pub default: bool,
}

impl<'b> State<'b, '_, '_, '_, '_> {
    /// The pools in the kernel's order.
    pub fn huge_pools(&self) -> impl Iterator<Item = Pool> + use<'b> {
        let page = self.boot.page_bytes();
        // Pages from the page allocator are counted in one sum. Pools are filled in this order until one finds no more.
        let mut rest = self.running.huge_pages;
        self.boot.huge_pools.iter().map(move |pool| {
            let pages = (pool.size / page).max(1);
            let count = if pool.gigantic > 0 { pool.gigantic } else { pool.wanted.min(rest / pages) };
            if pool.gigantic == 0 {
                rest -= count * pages;
            }
            Pool { size: pool.size, count, default: pool.default }
        })
    }

    /// Base pages in the pools of all sizes.
    pub(crate) fn hugetlb_pages(&self) -> u64 {
        let page = self.boot.page_bytes();
        self.huge_pools().map(|p| p.count * (p.size / page)).sum()
    }

    /// Base pages in gigantic pages of that zone: memblock gave them, and Linux counts them as managed.
    pub fn gigantic_pages(&self, nid: NodeId, kind: ZoneKind) -> u64 {
        let here = self.boot.gigantic_pages.iter().filter(|(n, k, _)| (*n, *k) == (nid, kind));
        here.map(|(.., pages)| pages).sum()
    }

    /// Pages that Linux counts as managed in all zones.
    pub fn managed_pages(&self) -> u64 {
        let gigantic = self.boot.gigantic_pages.iter().map(|(.., pages)| pages);
        self.sum(|zone| zone.managed) + gigantic.sum::<u64>()
    }
}
