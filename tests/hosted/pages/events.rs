//! Events: told while they are switched on, in tracefs's words.

use super::*;
use crate::whole::with_watched_machine;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{Context, NoHooks, PageEvent, PageEvents};
use pagewright_zone::buddy::{Fallback, WatchFallbacks};
use std::sync::Mutex;

/// Keeps the lines.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl PageEvents for Lines {
    fn event(&self, event: &PageEvent<'_>) {
        self.0.lock().unwrap().push(event.to_string());
    }
}

impl WatchFallbacks for Lines {
    fn fallback(&self, fallback: &Fallback) {
        let pfn = pagewright_addr::Pfn::new(0x4_0000 + u64::from(fallback.block.get()));
        self.event(&PageEvent::Fallback { pfn, fallback });
    }
}

/// A pair of order 1; where it was.
fn pair<'m, 'a>(m: &Pages<'_, 'm, '_, 'a, NoHooks>, cx: &Context<'_, 'm, 'a>) -> u32 {
    let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(1)).unwrap();
    let at = page.start().get();
    m.allocator.free_pages(cx, page);
    at
}

#[test]
fn events_are_told_while_they_are_on_and_the_allocator_does_the_same() {
    let lines = Lines::default();
    let machine = PlainMachine { pageblock: order(4), ..PlainMachine::new(2048, 2) };
    with_watched_machine(&machine, NoHooks, &lines, |m| {
        let before = buddyinfo(m);
        m.on_cpu(1, |cx| {
            let at = pair(m, cx);
            assert_eq!(lines.take(), Vec::<String>::new(), "off is the beginning");
            m.allocator.set_events(true);
            assert_eq!(pair(m, cx), at, "what is told changes nothing");
            let pfn = 0x4_0000 + at;
            let told = [
                format!("mm_page_alloc: pfn={pfn:#x} order=1 migratetype=0 gfp_flags=GFP_KERNEL"),
                format!("mm_page_free: pfn={pfn:#x} order=1"),
            ];
            assert_eq!(lines.take(), told);
            // What is no block comes back as the blocks that it is made of.
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_HIGHUSER_MOVABLE, order(3)).unwrap();
            let (low, high) = m.base.map().split_at(page, 3);
            m.allocator.free_pages(cx, low);
            m.allocator.free_pages(cx, high);
            let told = lines.take();
            let freed: Vec<_> = told.iter().filter(|line| line.starts_with("mm_page_free")).collect();
            let orders: Vec<_> = freed.iter().filter_map(|line| line.rsplit('=').next()).collect();
            assert_eq!(orders, ["1", "0", "0", "2"]);
            let refused = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::NOWARN, order(11));
            assert!(refused.is_err());
            assert_eq!(lines.take(), Vec::<String>::new(), "no list was looked at");
            let mut held = Vec::new();
            while let Ok(frames) = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::NOWARN, order(9)) {
                held.push(frames);
            }
            assert!(lines.take().last().unwrap().starts_with("mm_page_alloc: pfn=0x0 order=9 "));
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            lines.take();
            m.allocator.set_events(false);
            pair(m, cx);
            assert_eq!(lines.take(), Vec::<String>::new());
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_fallback_is_told_as_mm_page_alloc_extfrag() {
    let lines = Lines::default();
    let machine = PlainMachine { pageblock: order(4), ..PlainMachine::new(2048, 1) };
    with_watched_machine(&machine, NoHooks, &lines, |m| {
        m.allocator.set_events(true);
        m.on_cpu(0, |cx| {
            // All memory is Movable at first: a whole block of the largest order is taken over.
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            m.allocator.free_pages(cx, page);
        });
        let told = lines.take();
        assert_eq!(
            told[0],
            "mm_page_alloc_extfrag: pfn=0x40000 alloc_order=0 fallback_order=10 pageblock_order=4 alloc_migratetype=0 \
             fallback_migratetype=1 fragmenting=0 change_ownership=1"
        );
        assert!(told[1].starts_with("mm_page_alloc: "));
    });
}
