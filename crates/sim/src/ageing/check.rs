//! Replays fallbacks: was the block that was taken the right one?
//!
//! The rules are written down here a second time, from Linux's documented behaviour and not from the allocator's code: a request takes from
//! another type only when its own type has nothing; then the largest block there is, of the types in the order of the fallback table; a movable
//! request that would break up a smaller part of a pageblock takes the smallest block instead. From these follows what mobility
//! grouping is for, which is looked at by itself: no page that stays where it is enters a Movable pageblock while a whole pageblock,
//! or a block as large of a type that moves as little, would have served. Where the machine spares Movable pageblocks
//! ([`Rules::spares_movable`]), none does while any other block would have served.

use pagewright_addr::Order;
use pagewright_zone::buddy::{Fallback, MigrateType};
use std::fmt;

/// What the machine that is looked at does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Pageblocks are grouped by mobility. Without it only the choice of the list is looked at.
    pub grouping: bool,
    /// A smaller block of a type that moves as little is taken before a part of a Movable pageblock.
    pub spares_movable: bool,
}

/// What is wrong with a fallback.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// Another list than the rules name.
    Choice {
        /// The list that was due: order and type. None if the request should have failed.
        due: Option<(Order, MigrateType)>,
        /// The list that it was taken from.
        taken: (Order, MigrateType),
    },
    /// The request's own type, or CMA, had a block.
    Needless {
        /// The type that had one.
        list: MigrateType,
    },
    /// Immovable pages entered a Movable pageblock though another block would have served.
    Polluted {
        /// The list that had such a block.
        instead: (Order, MigrateType),
    },
    /// What the search looked at is not what was there, or the last block that it met is not the one that was taken.
    Search {
        /// The list.
        list: MigrateType,
        /// Its order.
        order: Order,
    },
    /// A block of whole pageblocks was taken and is not of the request's type now.
    NotClaimed,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The fallback table of Linux 6.1.
const fn table(migrate: MigrateType) -> [MigrateType; 2] {
    use MigrateType::{Movable, Reclaimable, Unmovable};
    match migrate {
        Unmovable => [Reclaimable, Movable],
        Reclaimable => [Unmovable, Movable],
        _ => [Reclaimable, Unmovable],
    }
}

fn has(event: &Fallback, order: u8, list: MigrateType) -> bool {
    event.occupied[list.index()] >> order & 1 != 0
}

fn orders(low: u8) -> impl DoubleEndedIterator<Item = u8> {
    low..16
}

/// The list that a request is due a block from.
fn due(event: &Fallback, rules: Rules) -> Option<(u8, MigrateType)> {
    let (wanted, pageblock) = (event.request.order.get(), event.pageblock.get());
    let first = |order: u8| table(event.request.migrate).into_iter().find(|&list| has(event, order, list));
    let lowest = if event.request.no_fragment { wanted.max(pageblock) } else { wanted };
    let (largest, list) = orders(lowest).rev().find_map(|order| Some((order, first(order)?)))?;
    // Only for a good part of a pageblock a movable request breaks up what others use.
    let moves = event.request.migrate == MigrateType::Movable;
    if moves && rules.grouping && largest > wanted && largest < pageblock / 2 {
        return orders(wanted).find_map(|order| Some((order, first(order)?)));
    }
    if rules.grouping && rules.spares_movable && !moves && list == MigrateType::Movable && largest < pageblock
    {
        let alike = table(event.request.migrate)[0];
        let smaller = orders(wanted).find(|&order| has(event, order, alike));
        return Some(smaller.map_or((largest, list), |order| (order, alike)));
    }
    Some((largest, list))
}

/// Whether pages that stay where they are enter a Movable block of movable pages: not one that they have shared for longer, whose free
/// blocks are in another type's lists.
pub fn pollutes(event: &Fallback) -> bool {
    event.request.migrate != MigrateType::Movable && event.list == MigrateType::Movable && event.mixes()
}

/// Holds a fallback to the rules.
///
/// # Errors
/// The first [`Violation`].
pub fn replay(event: &Fallback, rules: Rules) -> Result<(), Violation> {
    let request = event.request;
    let wanted = request.order.get();
    let of = |(order, list): (u8, MigrateType)| (Order::new(order).unwrap_or_default(), list);
    let serves = |list: MigrateType| event.occupied[list.index()] >> wanted != 0;
    if serves(request.migrate) {
        return Err(Violation::Needless { list: request.migrate });
    }
    if request.cma && serves(MigrateType::Cma) {
        return Err(Violation::Needless { list: MigrateType::Cma });
    }
    if rules.grouping && pollutes(event) {
        let alike = table(request.migrate)[0];
        let better = |order: u8, list: MigrateType| {
            has(event, order, list)
                && (order >= event.pageblock.get()
                    || (list == alike && (rules.spares_movable || order >= event.order.get())))
        };
        let lists = table(request.migrate);
        let instead = orders(wanted).flat_map(|order| lists.map(|list| (order, list)));
        if let Some(instead) = instead.into_iter().find(|&(order, list)| better(order, list)) {
            return Err(Violation::Polluted { instead: of(instead) });
        }
    }
    let (due, taken) = (due(event, rules), (event.order.get(), event.list));
    if due != Some(taken) {
        return Err(Violation::Choice { due: due.map(of), taken: of(taken) });
    }
    for seen in event.examined() {
        if has(event, seen.order.get(), seen.list) != seen.block.is_some() {
            return Err(Violation::Search { list: seen.list, order: seen.order });
        }
    }
    if event.examined().iter().rev().find_map(|seen| seen.block) != Some(event.block) {
        return Err(Violation::Search { list: event.list, order: event.order });
    }
    if event.order >= event.pageblock && event.after != request.migrate {
        return Err(Violation::NotClaimed);
    }
    Ok(())
}

/// Whether a smaller block of a type that moves as little would have served too. Linux takes the largest block all the same, in the hope
/// to get the whole pageblock; how often that leaves pages in Movable pageblocks is counted, and forbidden where the machine spares these.
pub fn passed_over_smaller(event: &Fallback) -> bool {
    let alike = table(event.request.migrate)[0];
    pollutes(event) && event.occupied[alike.index()] >> event.request.order.get() != 0
}
