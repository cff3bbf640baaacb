//! When the boot's steps began.
//!
//! `entry.s` notes the counter in its first instructions, the image marks its own steps, and the log marks those of the
//! boot sequence as they are announced ([`crate::console::Log`]).

use arrayvec::ArrayVec;
use core::cell::RefCell;
use core::fmt;
use pagewright::Phase;

/// How many steps there is room for; what comes later counts to the last.
const ROOM: usize = 24;

/// The counter at each step's begin.
pub struct Steps {
    ticks: fn() -> u64,
    begun: RefCell<ArrayVec<(&'static str, u64), ROOM>>,
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").field("begun", &self.begun).finish_non_exhaustive()
    }
}

/// What the mark behind the last step is called.
const END: &str = "end";

impl Steps {
    /// Steps by a counter, the first of which, `head`, began when it was `start`.
    pub fn new(ticks: fn() -> u64, start: u64) -> Self {
        let mut begun = ArrayVec::new();
        begun.push(("head", start));
        Self { ticks, begun: RefCell::new(begun) }
    }

    /// A step begins, and the one before ends.
    pub fn begin(&self, name: &'static str) {
        // Nobody holds it for longer than a line.
        if let Ok(mut begun) = self.begun.try_borrow_mut() {
            // Full: the step counts to the one before.
            let _ = begun.try_push((name, (self.ticks)()));
        }
    }

    /// A phase of the boot sequence begins.
    pub fn phase(&self, phase: Phase) {
        self.begin(match phase {
            Phase::Firmware => "firmware",
            Phase::EarlyParams => "early_params",
            Phase::Memblock => "memblock",
            Phase::PagingInit => "paging_init",
            Phase::BootmemInit => "bootmem_init",
            Phase::SetupArch => "setup_arch",
            Phase::PerCpu => "percpu",
            Phase::StartKernel => "start_kernel",
            Phase::MemInit => "mem_init",
            Phase::Running => "initcalls",
        });
    }

    /// The last step has ended: the page allocator is in service.
    pub fn end(&self) {
        self.begin(END);
    }

    /// Ticks from the first instruction to [`Self::end`]; `None` before.
    pub fn total(&self) -> Option<u64> {
        let begun = self.begun.borrow();
        let (_, end) = begun.iter().find(|(name, _)| *name == END)?;
        Some(end.wrapping_sub(begun.first()?.1))
    }

    /// Tells each step and its ticks, in order.
    pub fn each(&self, mut tell: impl FnMut(&str, u64)) {
        let begun = self.begun.borrow();
        for pair in begun.windows(2) {
            let [(name, start), (_, end)] = pair else { return };
            if *name == END {
                return;
            }
            tell(name, end.wrapping_sub(*start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Steps;
    use core::sync::atomic::{AtomicU64, Ordering};
    use pagewright::Phase;
    use std::borrow::ToOwned;
    use std::vec::Vec;

    #[test]
    fn steps_follow_each_other_and_add_up_to_the_total() {
        static NOW: AtomicU64 = AtomicU64::new(100);
        // Each look at the counter is 10 later than the one before.
        let steps = Steps::new(|| NOW.fetch_add(10, Ordering::Relaxed), 60);
        steps.begin("image");
        steps.phase(Phase::PagingInit);
        assert_eq!(steps.total(), None);
        steps.end();
        steps.begin("later");
        let mut told = Vec::new();
        steps.each(|name, ticks| told.push((name.to_owned(), ticks)));
        let told: Vec<_> = told.iter().map(|(name, ticks)| (name.as_str(), *ticks)).collect();
        assert_eq!(told, [("head", 40), ("image", 10), ("paging_init", 10)]);
        assert_eq!(steps.total(), Some(60));
    }

    #[test]
    fn more_steps_than_there_is_room_for_count_to_the_last() {
        let steps = Steps::new(|| 1, 0);
        (0..100).for_each(|_| steps.begin("x"));
        assert_eq!(steps.total(), None, "no room for the end either");
    }
}
