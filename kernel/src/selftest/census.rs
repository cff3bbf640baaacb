//! Whether every page is back: free blocks of each order in each zone, counted while nobody uses the allocator.

use super::{Note, Subject, note};
use crate::metal::Metal;
use crate::pages::Pages;
use arrayvec::ArrayVec;
use pagewright_addr::Order;

/// Zones that are told apart; further ones count with the last.
const ZONES: usize = 32;

/// Free blocks (buddyinfo).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Census {
    zones: ArrayVec<[u64; Order::LIMIT], ZONES>,
}

impl Census {
    /// Free blocks now, those in processors' lists not among them.
    fn of(pages: &Pages) -> Self {
        let mut census = Self::default();
        for (n, cell) in pages.allocator().zones().iter().enumerate() {
            if n < ZONES {
                census.zones.push([0; Order::LIMIT]);
            }
            let Some(zone) = census.zones.last_mut() else { continue };
            let now = pages.allocator().free_areas(cell.id()).counts();
            zone.iter_mut().zip(now).for_each(|(blocks, now)| *blocks += now);
        }
        census
    }

    /// Pages in all of them.
    pub fn pages(&self) -> u64 {
        let zone = |blocks: &[u64; Order::LIMIT]| blocks.iter().enumerate().map(|(n, b)| b << n).sum::<u64>();
        self.zones.iter().map(zone).sum()
    }

    /// The first zone and order in which two differ, and how many blocks they have.
    fn difference(&self, other: &Self) -> Option<(usize, usize, u64, u64)> {
        let zones = self.zones.iter().zip(&other.zones).enumerate();
        let mut orders = zones
            .flat_map(|(zone, (a, b))| a.iter().zip(b).enumerate().map(move |(n, (a, b))| (zone, n, *a, *b)));
        orders.find(|(_, _, a, b)| a != b)
    }
}

/// Empties the lists of all processors while no handler uses them, and does `look` then.
fn quietly<R>(pages: &Pages, metal: &dyn Metal, look: impl FnOnce(&Pages) -> R) -> R {
    pages.without_handlers(|| {
        metal.on_each_cpu(&|_| pages.drain());
        look(pages)
    })
}

/// Free blocks, with the lists of all processors empty.
pub fn take(subject: &Subject<'_>) -> Census {
    quietly(subject.pages, subject.metal, Census::of)
}

/// Free pages, with the lists of all processors empty.
pub fn free_pages(pages: &Pages, metal: &dyn Metal) -> u64 {
    quietly(pages, metal, |pages| Census::of(pages).pages())
}

/// Whether every page is back where it was, to the page and the block, and the allocator's lists are right.
///
/// # Errors
/// What is wrong.
pub fn all_back(subject: &Subject<'_>, before: &Census) -> Result<(), Note> {
    let (now, valid) =
        quietly(subject.pages, subject.metal, |pages| (Census::of(pages), pages.allocator().validate()));
    valid.map_err(|e| note(format_args!("{e:?}")))?;
    match before.difference(&now) {
        None => Ok(()),
        Some((zone, order, was, is)) => Err(note(format_args!(
            "{} pages were free, {} are; zone {zone} had {was} blocks of order {order}, has {is}",
            before.pages(),
            now.pages()
        ))),
    }
}

/// The same where `kept` pages stay in use, whatever blocks they were cut from.
///
/// # Errors
/// What is wrong.
pub fn all_back_but(subject: &Subject<'_>, before: &Census, kept: u64) -> Result<(), Note> {
    if kept == 0 {
        return all_back(subject, before);
    }
    let (now, valid) = quietly(subject.pages, subject.metal, |pages| {
        (Census::of(pages).pages(), pages.allocator().validate())
    });
    valid.map_err(|e| note(format_args!("{e:?}")))?;
    match before.pages() - kept {
        expected if expected == now => Ok(()),
        expected => Err(note(format_args!("{expected} pages should be free, {now} are"))),
    }
}
