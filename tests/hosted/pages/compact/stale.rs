//! Pages that compaction has in its hands are nobody's to free.

use super::*;
use pagewright_page::{Frames, PageMap, State};
use pagewright_zone::debug::BadFree;

/// Tenants, and somebody who gets in the way of each move.
struct Meddled<'q, 'a> {
    tenants: &'q Tenants<'a>,
    meddle: &'q dyn Fn(),
}

impl Migrate for Meddled<'_, '_> {
    fn isolate(&self, map: &PageMap<'_>, page: FrameIdx, mode: MigrateMode) -> bool {
        self.tenants.isolate(map, page, mode)
    }
    fn migrate<'b>(
        &self,
        map: &PageMap<'b>,
        page: FrameIdx,
        to: Frames<'b>,
        mode: MigrateMode,
    ) -> Migrated<'b> {
        (self.meddle)();
        self.tenants.migrate(map, page, to, mode)
    }
    fn putback<'b>(&self, map: &PageMap<'b>, page: FrameIdx) -> Option<Frames<'b>> {
        self.tenants.putback(map, page)
    }
}

#[test]
fn a_stale_number_frees_no_page_that_compaction_has() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let map = m.base.map();
            let tenants = Tenants::new(*map);
            scatter(m, cx, &tenants, 4);
            let refused = RefCell::new(0);
            let meddle = || {
                // Nobody has pages by number: what looks like it lies in compaction's hands.
                let kernel = (0..4096).map(FrameIdx::new).filter(|&idx| map.state(idx) == State::Kernel);
                for pfn in kernel.map(|idx| map.pfn(idx)) {
                    let freed = m.allocator.free_pages_at(cx, pfn, Order::ZERO);
                    assert_eq!(freed, Err(BadFree::DoubleFree(pfn)));
                    *refused.borrow_mut() += 1;
                }
            };
            m.allocator.compact_node(cx, &Meddled { tenants: &tenants, meddle: &meddle }, NodeId::ZERO);
            assert!(refused.take() > 100);
            assert_eq!(m.allocator.validate(), Ok(()));
            tenants.check();
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}
