//! `replay`: the memblock calls of a captured log, executed one by one on our memblock.
//!
//! [`log`] reads the calls, [`state`] sets a memblock up as it was at the first of them, [`align`] finds which of
//! our boot's calls each one corresponds to, [`engine`] executes and compares. Every logged call is executed with
//! its logged arguments and must print what Linux printed: allocations must land at the logged address. What
//! Linux changes without a line (nodes, limits, marks) comes from our boot, at the place where it stands between
//! the calls there, and is listed; so are calls that our boot makes where the captured log has lost lines.

pub mod align;
pub mod engine;
pub mod log;
mod silent;
pub mod state;

pub use engine::{Finals, Outcome, replay};
pub use state::Start;

use pagewright_memblock::Event;

/// One entry of our boot's own stream, from [`Start`] on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ours {
    /// A memblock event.
    Event(Event),
    /// The boot printed a `MEMBLOCK configuration:` block.
    Dump,
    /// The boot printed `Kernel command line:`. A log whose early buffer was too small has lost lines below it.
    CommandLine,
}

#[cfg(test)]
mod tests;
