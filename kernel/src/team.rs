//! The processors that run: how they come, what they do together, what their timers' handlers do.

use crate::console::{Console, line};
use crate::objects::{READERS, REAPED};
use crate::pages::Pages;
use crate::percpu::CpuLocal;
use crate::stack::STACKS;
use crate::work::{Post, Work};
use arrayvec::ArrayVec;
use core::fmt;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use pagewright::Boot;
use pagewright_platform::Mutex;

/// Processors that an image starts, at most: two places for stacks of the image's each.
pub const MAX_CPUS: usize = STACKS as usize / 2;
/// Timer interrupts each second, on each processor.
pub const HZ: u64 = 100;
/// How long the others may take with work that all do.
const PATIENCE_MICROS: u64 = 60_000_000;

/// Data of the processors that run, by their numbers.
pub type Locals = ArrayVec<&'static CpuLocal, MAX_CPUS>;

/// The processors that run.
pub struct Team {
    locals: Mutex<Locals>,
    post: &'static Post,
    wake: fn(),
    console: &'static dyn Console,
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team").field("cpus", &self.cpus()).finish_non_exhaustive()
    }
}

impl Team {
    /// Those of `locals`; all but the first serve `post`, and `wake` wakes them.
    pub fn new(locals: Locals, post: &'static Post, wake: fn(), console: &'static dyn Console) -> Self {
        Self { locals: Mutex::new(locals), post, wake, console }
    }

    /// How many there are.
    pub fn cpus(&self) -> u32 {
        self.locals.lock().len().max(1) as u32
    }

    /// A processor's own data.
    pub fn local(&self, cpu: u32) -> Option<&'static CpuLocal> {
        self.locals.lock().get(cpu as usize).copied()
    }

    /// Starts the processors behind the first, in the order of their numbers, up to the first that does not come; none if the first has no data of its own. `start`
    /// starts one and waits for it; it knows of none for `None`. The lines are Linux's.
    pub fn bring_up(
        &self,
        boot: &Boot<'_>,
        mut start: impl FnMut(u32) -> Option<Result<&'static CpuLocal, &'static str>>,
    ) {
        let console = self.console;
        let alone = self.locals.lock().is_empty();
        line(console, format_args!("smp: Bringing up secondary CPUs ..."));
        for cpu in boot.online_cpus().skip(1).take(MAX_CPUS - 1).take_while(|_| !alone) {
            match start(cpu) {
                // There is room for so many.
                Some(Ok(local)) => _ = self.locals.lock().try_push(local),
                Some(Err(why)) => {
                    line(console, format_args!("CPU{cpu}: failed to come online: {why}"));
                    break;
                }
                None => break,
            }
        }
        let (nodes, cpus) = (boot.nodes_online.len(), self.cpus());
        let (s, all) = (if nodes == 1 { "" } else { "s" }, if cpus == 1 { "" } else { "s" });
        line(console, format_args!("smp: Brought up {nodes} node{s}, {cpus} CPU{all}"));
    }

    /// Does `work` on each of them, and returns when all have done it.
    ///
    /// # Panics
    /// If one does not come back from it.
    pub fn on_each(&self, work: &Work<'_>) {
        let begin = self.console.micros();
        let idle = || {
            core::hint::spin_loop();
            self.console.micros().wrapping_sub(begin) < PATIENCE_MICROS
        };
        self.post.all(0, self.cpus() - 1, self.wake, idle, work);
    }
}

/// Waits for a processor, but no longer than that. Returns whether it came.
pub fn arrives(console: &dyn Console, local: &CpuLocal, cpu: u32, micros: u64) -> bool {
    let begin = console.micros();
    while local.cpu() != Some(cpu) {
        if console.micros().wrapping_sub(begin) > micros {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// What handlers of interrupts use.
///
/// # Invariants
/// `pages` is null, or points to an allocator that stays for good. Established by [`Self::set`]'s caller.
#[derive(Debug)]
pub struct Handlers {
    pages: AtomicPtr<Pages>,
}

impl Handlers {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { pages: AtomicPtr::new(null_mut()) }
    }

    /// From here on they use this allocator.
    ///
    /// # Safety
    /// It stays where it is for good.
    pub unsafe fn set(&self, pages: &Pages) {
        self.pages.store((&raw const *pages).cast_mut(), Ordering::Release);
    }

    /// The allocator.
    pub fn pages(&self) -> Option<&'static Pages> {
        // SAFETY: the invariant.
        unsafe { self.pages.load(Ordering::Acquire).as_ref() }
    }

    /// A timer's interrupt on the processor with this data: its handler takes a page and gives it back. Nothing in it waits for the code
    /// that it interrupted: that masks interrupts while it has a zone's lock, and lists in use are passed by.
    ///
    /// If it interrupts no read section, its processor holds nothing that others may take back. Every two seconds the slabs' reaper comes.
    ///
    /// # Safety
    /// The data is that of the processor that this runs on.
    pub unsafe fn tick(&self, local: &CpuLocal) {
        // SAFETY: this processor's number, as the caller says; the handler returns before what it interrupted goes on.
        if let Some(here) = local.cpu().and_then(|cpu| unsafe { READERS.here(cpu as usize) }) {
            here.online();
            here.quiescent();
        }
        local.tick(self.pages().is_some_and(Pages::touch));
        REAPED.reap(local);
    }
}

impl Default for Handlers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{Locals, Team, arrives};
    use crate::console::tests::Kept;
    use crate::percpu::CpuLocal;
    use crate::work::Post;
    use std::boxed::Box;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    #[test]
    fn all_processors_of_a_team_do_the_work_and_each_has_its_own_data() {
        static POST: Post = Post::new();
        let locals: Locals = (0..3).map(|_| &*Box::leak(Box::<CpuLocal>::default())).collect();
        for (cpu, local) in locals.iter().copied().enumerate() {
            local.arrive(cpu as u32);
            if cpu > 0 {
                // They serve until the process ends.
                thread::spawn(move || POST.serve(cpu as u32, 0, thread::yield_now));
            }
        }
        let kept: &'static Kept = Box::leak(Box::default());
        assert!(arrives(kept, locals[2], 2, 0));
        let team = Team::new(locals, &POST, || {}, kept);
        let seen = AtomicU32::new(0);
        team.on_each(&|cpu| {
            seen.fetch_or(1 << cpu, Ordering::Relaxed);
        });
        assert_eq!((team.cpus(), seen.into_inner()), (3, 0b111));
        assert_eq!(team.local(1).and_then(CpuLocal::cpu), Some(1));
        assert!(team.local(3).is_none());
    }
}
