//! Pages that are asked for zeroed, where nobody reaches them or only some.

use super::bulk::{empty, starts};
use super::*;
use crate::whole::with_plain_machine;
use pagewright_page::Frames;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{AllocFailure, NoHooks, NotZeroed};

/// Reaches frames below this one only.
struct Below(u32);

impl Hooks for Below {
    fn zero(&self, frames: &Frames<'_>) -> Result<(), NotZeroed> {
        if frames.start().get() < self.0 { Ok(()) } else { Err(NotZeroed) }
    }
}

#[test]
fn nobody_gets_pages_as_zeroed_that_are_not() {
    let gfp = Gfp::GFP_KERNEL | Gfp::ZERO;
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let all = &m.allocator;
            for order in [0, 1, 3, 9, 10].map(order) {
                for gfp in [gfp, gfp | Gfp::COMP, gfp | Gfp::NOFAIL, gfp | Gfp::HIGH] {
                    let refused = Some(AllocFailure::NotZeroed { order, gfp });
                    assert_eq!(all.alloc_pages(cx, gfp, order).err(), refused);
                    assert_eq!(all.alloc_pages_node(cx, node(0), gfp, order).err(), refused);
                    assert!(all.alloc_listed(cx, gfp, order).is_none());
                }
                assert!(all.get_free_pages(cx, gfp, order).is_err());
                assert!(all.alloc_pages_exact(cx, gfp, order.pages()).is_err());
                assert!(all.alloc_pages(cx, gfp - Gfp::ZERO, order).map(|f| all.free_pages(cx, f)).is_ok());
            }
            assert!(all.get_zeroed_page(cx, Gfp::GFP_KERNEL).is_err());
            for n in [1, 2, 30, 500] {
                let mut slots = empty(n);
                assert_eq!(all.alloc_pages_bulk(cx, gfp, &mut slots), 0);
                assert!(starts(&slots).is_empty());
                assert_eq!(all.alloc_pages_runs(cx, node(0), gfp, n as u64, &mut slots), 0);
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn of_many_pages_those_are_had_that_could_be_zeroed() {
    // Blocks of order 10 are cut from the first one on, so pages come in the order of their frames.
    with_plain_machine(&machine(16, 1), Below(100), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let gfp = Gfp::GFP_KERNEL | Gfp::ZERO;
            let taken: Vec<_> =
                (0..90).map(|_| m.allocator.alloc_pages(cx, gfp, Order::ZERO).unwrap()).collect();
            let mut slots = empty(40);
            slots[30] = m.allocator.alloc_pages(cx, gfp, Order::ZERO).ok();
            let mut got = m.allocator.alloc_pages_bulk(cx, gfp, &mut slots);
            // The rest is asked for one by one.
            while m.allocator.alloc_pages_bulk(cx, gfp, &mut slots) > got {
                got = m.allocator.alloc_pages_bulk(cx, gfp, &mut slots);
            }
            let mut all: Vec<_> = taken.iter().map(|page| page.start().get()).chain(starts(&slots)).collect();
            all.sort_unstable();
            assert!(all.iter().all(|&start| start < 100), "{all:?}");
            assert_eq!(all.len(), 91 + got, "those before the gap, and the one behind");
            m.allocator.free_pages_bulk(cx, taken.into_iter().chain(slots.into_iter().flatten()));
        });
        expect_all_back(m, &before);
    });
}
