//! Machines that have all their pages back when a test is done with them: what CPUs' lists hold is drained, everything validated, and the free
//! blocks compared with those at the start. Tests of what breaks a machine, or takes pages away for good, ask for one that is not looked at again.

use super::{buddyinfo, expect_all_back};
use pagewright_sim::pages::{self, Pages, PlainMachine};
use pagewright_zone::alloc::{Hooks, PageEvents};
use pagewright_zone::debug::Debugging;

/// Machines that nobody looks at in the end.
pub(super) use pagewright_sim::pages::{
    with_debugged_machine as with_broken_debugged_machine, with_plain_machine as with_broken_machine,
};

fn whole<H: Hooks, R>(m: &Pages<'_, '_, '_, '_, H>, then: impl FnOnce(&Pages<'_, '_, '_, '_, H>) -> R) -> R {
    let before = buddyinfo(m);
    let result = then(m);
    expect_all_back(m, &before);
    result
}

/// A machine without firmware, and all of its pages at the end.
pub(super) fn with_plain_machine<H: Hooks, R>(
    machine: &PlainMachine,
    hooks: H,
    then: impl FnOnce(&Pages<'_, '_, '_, '_, H>) -> R,
) -> R {
    pages::with_plain_machine(machine, hooks, |m| whole(m, then))
}

/// The same, with somebody who is told of events.
pub(super) fn with_watched_machine<H: Hooks, R>(
    machine: &PlainMachine,
    hooks: H,
    events: &dyn PageEvents,
    then: impl FnOnce(&Pages<'_, '_, '_, '_, H>) -> R,
) -> R {
    pages::with_watched_machine(machine, hooks, events, |m| whole(m, then))
}

/// The same, with debugging.
pub(super) fn with_debugged_machine<H: Hooks, R>(
    machine: &PlainMachine,
    hooks: H,
    debugging: Option<&Debugging<'_>>,
    then: impl FnOnce(&Pages<'_, '_, '_, '_, H>) -> R,
) -> R {
    pages::with_debugged_machine(machine, hooks, debugging, |m| whole(m, then))
}
