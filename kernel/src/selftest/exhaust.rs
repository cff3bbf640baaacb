//! All memory in use: allocations fail as their masks say, reserves are kept, and every page comes back.

use super::{Note, Subject, census, note};
use crate::pages::Pages;
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, OwnerHandle, Use};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::AllocFailure;

/// Blocks in use, however many: linked through their own metadata.
struct Chain<'p> {
    pages: &'p Pages,
    last: Option<FrameIdx>,
    blocks: u64,
}

impl Chain<'_> {
    /// Takes all blocks of an order that a mask gets.
    fn take_all(&mut self, gfp: Gfp, order: Order) -> AllocFailure {
        loop {
            match self.pages.alloc_pages(gfp, order) {
                Ok(frames) => {
                    let map = self.pages.map();
                    let idx = map.deposit(frames, Use::Kernel, OwnerHandle::NONE);
                    map.set_next(idx, self.last);
                    self.last = Some(idx);
                    self.blocks += 1;
                }
                Err(why) => return why,
            }
        }
    }

    /// Gives them all back.
    fn give_back(mut self) -> u64 {
        while let Some(idx) = self.last {
            let map = self.pages.map();
            self.last = map.next(idx);
            map.set_next(idx, None);
            self.pages.free(map.withdraw(idx, Use::Kernel, OwnerHandle::NONE));
        }
        self.blocks
    }
}

/// The test.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    let pages = subject.pages;
    let before = census::take(subject);
    let mut held = Chain { pages, last: None, blocks: 0 };
    let kernel = Gfp::GFP_KERNEL | Gfp::NOWARN;
    let user = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN;
    for order in (0..=pages.running().buddy.largest_order().get()).rev().filter_map(Order::new) {
        held.take_all(user, order);
    }
    let failure = held.take_all(kernel, Order::ZERO);
    let seen = look(pages, failure, kernel);
    let left: u64 = pages.allocator().zones().iter().map(|zone| zone.free_pages()).sum();
    let blocks = held.give_back();
    seen?;
    census::all_back(subject, &before)?;
    Ok(note(format_args!(
        "{blocks} blocks until no more could be had, {left} pages of {} kept",
        before.pages()
    )))
}

/// Looks at a machine without memory to spare.
fn look(pages: &Pages, failure: AllocFailure, gfp: Gfp) -> Result<(), Note> {
    if failure != (AllocFailure::NoMemory { order: Order::ZERO, gfp }) {
        return Err(note(format_args!("the failure is {failure}")));
    }
    // Whoever cannot wait digs deeper.
    let urgent = pages.alloc_pages(Gfp::GFP_ATOMIC | Gfp::NOWARN, Order::ZERO);
    urgent
        .map(|page| pages.free(page))
        .map_err(|why| note(format_args!("nothing is kept for the urgent: {why}")))
}
