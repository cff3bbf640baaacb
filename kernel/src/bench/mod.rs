//! In-kernel benchmarks: `bench=page,pagetable,percpu,slabs,vmalloc,kmap,boot` (or `bench=all`) on the command line.
//!
//! Each value is a line of its own, `BENCH name value`, for a program to read: ticks of the image's counter
//! ([`Metal::ticks`]) for one operation. Under QEMU's `-icount shift=0,sleep=off` a tick is one guest instruction;
//! the image tries that with a loop of known length ([`clock`]) and says which unit its values are in. What the loop
//! around the operations costs by itself is measured too, and taken off. Interrupts wait meanwhile.
//!
//! What is measured is what the image runs on: the page allocator as [`Pages`] calls it, page tables in
//! the format of the image's own (never loaded), and the image's own boot, step by step ([`steps`]).

pub mod clock;
#[cfg(feature = "bench")]
pub mod kmap;
#[cfg(feature = "bench")]
mod page;
#[cfg(feature = "bench")]
mod pagetable;
#[cfg(feature = "bench")]
mod percpu;
#[cfg(feature = "bench")]
mod slab;
pub mod steps;
#[cfg(feature = "bench")]
mod vmalloc;

use crate::console::{Out, line};
use crate::dynamic::{Space, Units};
use crate::metal::Metal;
use crate::objects::Objects;
use crate::options::Options;
use crate::pages::Pages;
use clock::{Clock, Value};
use core::fmt::{self, Write};
use steps::Steps;

/// What the benchmarks work on.
#[derive(Clone, Copy)]
pub struct Subject<'k> {
    /// The page allocator.
    pub pages: &'k Pages,
    /// The slabs above it.
    pub objects: &'k Objects<'k>,
    /// The processor.
    pub metal: &'k dyn Metal,
    /// The kernel's vmalloc area.
    pub space: Space<'k>,
    /// Where the boot has placed the processors' units.
    pub units: Option<&'k Units>,
    /// What maps high memory, where the kernel has windows for it.
    #[cfg(feature = "bench")]
    pub windows: Option<kmap::Windows<'k>>,
    /// When the boot's steps began.
    pub steps: &'k Steps,
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("steps", &self.steps).finish_non_exhaustive()
    }
}

/// Where values go, and what tells the time.
struct Bench<'k> {
    subject: Subject<'k>,
    clock: Clock<'k>,
}

impl Bench<'_> {
    /// A line for a program to read.
    fn value(&self, name: fmt::Arguments<'_>, value: Value) {
        // The console takes everything.
        let _ = writeln!(Out(self.subject.metal.console()), "BENCH {name} {value}");
    }
}

/// Why a benchmark has no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Failed {
    #[cfg(feature = "bench")]
    /// The machine has no block of this order.
    NoBlock(u8),
    #[cfg(feature = "bench")]
    /// So many pages were free before, so many are afterwards.
    Lost(u64, u64),
    #[cfg(feature = "bench")]
    /// Page tables cannot be built.
    Tables(&'static str),
    #[cfg(feature = "bench")]
    /// There is no first chunk of per-CPU memory, or it is too small.
    NoUnits,
    #[cfg(feature = "bench")]
    /// There is no memory for objects.
    NoObjects,
    #[cfg(feature = "bench")]
    /// There is no area of vmalloc's, or it cannot be freed.
    NoArea,
    #[cfg(feature = "bench")]
    /// There is no page of high memory, or it cannot be mapped.
    NoKmaps,
    /// Nobody said where the boot's steps began and ended.
    NoSteps,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "bench")]
            Self::NoBlock(order) => write!(f, "no free block of order {order}"),
            #[cfg(feature = "bench")]
            Self::Lost(before, after) => write!(f, "{before} pages were free, {after} are"),
            #[cfg(feature = "bench")]
            Self::Tables(what) => write!(f, "cannot {what}"),
            #[cfg(feature = "bench")]
            Self::NoUnits => f.write_str("there is no per-CPU memory"),
            #[cfg(feature = "bench")]
            Self::NoArea => f.write_str("there is no area of vmalloc's, or it cannot be freed"),
            #[cfg(feature = "bench")]
            Self::NoObjects => f.write_str("there is no memory for objects"),
            #[cfg(feature = "bench")]
            Self::NoKmaps => f.write_str("there is no page of high memory, or it cannot be mapped"),
            Self::NoSteps => f.write_str("the boot was not timed"),
        }
    }
}

/// A group of benchmarks.
type Group = fn(&Bench<'_>) -> Result<(), Failed>;

/// All groups by name.
const GROUPS: &[(&str, Group)] = &[
    ("boot", boot),
    #[cfg(feature = "bench")]
    ("page", page::run),
    #[cfg(feature = "bench")]
    ("pagetable", pagetable::run),
    #[cfg(feature = "bench")]
    ("percpu", percpu::run),
    #[cfg(feature = "bench")]
    ("slabs", slab::run),
    #[cfg(feature = "bench")]
    ("vmalloc", vmalloc::run),
    #[cfg(feature = "bench")]
    ("kmap", kmap::run),
];

/// The names that `bench=` takes, in an image that is built for them (feature `bench`); others know `boot` alone.
pub const NAMES: &str = "boot, page, pagetable, percpu, slabs, vmalloc, kmap, all";

/// The first benchmark that is asked for and that there is not.
pub fn unknown<'a>(options: &Options<'a>) -> Option<&'a str> {
    options.benches().find(|asked| *asked != "all" && GROUPS.iter().all(|(name, _)| name != asked))
}

/// Runs the benchmarks that are asked for. False if one of them has no value; the log says why.
pub fn run(subject: Subject<'_>, options: &Options<'_>) -> bool {
    let asked = |name: &str| options.benches().any(|asked| asked == "all" || asked == name);
    if !GROUPS.iter().any(|(name, _)| asked(name)) {
        return true;
    }
    let console = subject.metal.console();
    let bench = Bench { subject, clock: subject.pages.undisturbed(|| Clock::new(subject.metal)) };
    let unit = if bench.clock.counts_instructions() { "instructions" } else { "ticks" };
    line(console, format_args!("pagewright: benchmarks: values are {unit}"));
    bench.value(format_args!("clock.1000"), bench.clock.thousand());
    let mut all = true;
    for (name, group) in GROUPS.iter().filter(|(name, _)| asked(name)) {
        if let Err(why) = group(&bench) {
            all = false;
            line(console, format_args!("pagewright: bench {name}: FAILED: {why}"));
        }
    }
    all
}

/// The boot: from the image's first instruction to the page allocator in service, in all and for each step.
fn boot(bench: &Bench<'_>) -> Result<(), Failed> {
    let steps = bench.subject.steps;
    let total = steps.total().ok_or(Failed::NoSteps)?;
    steps.each(|name, ticks| bench.value(format_args!("boot.{name}"), Value::whole(ticks)));
    bench.value(format_args!("boot.total"), Value::whole(total));
    Ok(())
}
