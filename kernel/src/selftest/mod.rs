//! The tests that an image runs on itself once its page allocator serves.
//!
//! What a host can show just as well is not repeated here. These show what only a real machine can: that the tables which the
//! library built mean to the hardware what they mean to the library, that frames which the allocator gives out are
//! memory that nobody else has, that an address space's changes take effect, and that memory is either written or executed.

#[cfg(feature = "tests")]
pub mod buddy;
#[cfg(feature = "tests")]
mod cases;
pub mod census;
#[cfg(feature = "tests")]
mod copies;
#[cfg(all(feature = "tests", feature = "designs"))]
mod designs;
#[cfg(feature = "tests")]
mod exhaust;
#[cfg(feature = "tests")]
pub mod highmem;
#[cfg(feature = "tests")]
mod module;
#[cfg(feature = "tests")]
mod objects;
#[cfg(feature = "tests")]
mod percpu;
#[cfg(feature = "tests")]
mod smp;
#[cfg(feature = "tests")]
mod space;
#[cfg(feature = "tests")]
mod stacks;
#[cfg(feature = "tests")]
mod tables;
#[cfg(feature = "tests")]
mod typesafe;
#[cfg(feature = "tests")]
pub mod vmalloc;
#[cfg(feature = "tests")]
mod wx;

use crate::console::line;
use crate::dynamic::{Space, Units};
use crate::metal::Metal;
use crate::objects::Objects;
use crate::options::Options;
use crate::pages::Pages;
use arrayvec::ArrayString;
use core::fmt::{self, Write};
use pagewright::highmem::KmapWindows;
use pagewright::pgtable::KernelTables;
use pagewright_addr::VirtRange;
use pagewright_kspace::module::ModuleWindows;

/// What a test has to say.
pub type Note = ArrayString<112>;

/// A note with this text, as far as it fits.
pub fn note(text: fmt::Arguments<'_>) -> Note {
    let mut note = Note::new();
    // What is too long is cut.
    let _ = note.write_fmt(text);
    note
}

/// What the tests work on.
#[derive(Clone, Copy)]
pub struct Subject<'k> {
    /// The page allocator.
    pub pages: &'k Pages,
    /// The slabs above it.
    pub objects: &'k Objects<'k>,
    /// The processor.
    pub metal: &'k dyn Metal,
    /// The kernel's page tables, as they are loaded.
    pub tables: KernelTables<'k>,
    /// Where the boot has placed the processors' units.
    pub units: Option<&'k Units>,
    /// The kernel's vmalloc area.
    pub space: Space<'k>,
    /// Pages that its areas have for good: the processors' stacks.
    pub stack_pages: u64,
    /// Addresses of the kernel's half that nothing is mapped at.
    pub scratch: Option<VirtRange>,
    /// Where the kernel looks for the addresses of a module.
    pub windows: Option<ModuleWindows>,
    /// Where high memory gets its addresses.
    pub highmem: Option<KmapWindows>,
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("tables", &self.tables).finish_non_exhaustive()
    }
}

/// A test: what it saw, or what is wrong.
type Test = fn(&Subject<'_>) -> Result<Note, Note>;

/// All tests by name, in an image that is built for them.
#[cfg(feature = "tests")]
const TESTS: &[(&str, Test)] = &[
    ("buddy", buddy::run),
    ("exhaust", exhaust::run),
    ("space", space::run),
    ("tables", tables::run),
    ("wx", wx::run),
    ("copies", copies::run),
    ("percpu", smp::percpu),
    ("dynamic", percpu::run),
    ("kmalloc", objects::kmalloc),
    ("heap", objects::heap),
    #[cfg(feature = "designs")]
    ("designs", designs::run),
    ("typesafe", typesafe::run),
    ("smp", smp::stress),
    ("shootdown", smp::shootdown),
    ("vmalloc", vmalloc::run),
    ("cases", cases::run),
    ("stacks", stacks::run),
    (HIGHMEM, highmem::run),
    (MODULE, module::run),
];
/// The others have none.
#[cfg(not(feature = "tests"))]
const TESTS: &[(&str, Test)] = &[];

/// The test that only kernels with windows for high memory have.
const HIGHMEM: &str = "highmem";
/// The test that only images with a module have.
const MODULE: &str = "module";

/// The first test that is asked for and that there is not. `none` stands for no test.
pub fn unknown<'a>(options: &Options<'a>) -> Option<&'a str> {
    options.tests().find(|asked| *asked != "none" && TESTS.iter().all(|(name, _)| name != asked))
}

/// Runs the tests that are asked for, with a line for each. Returns how many passed, and how many failed.
pub fn run(subject: &Subject<'_>, options: &Options<'_>) -> (u32, u32) {
    let (mut passed, mut failed) = (0, 0);
    let console = subject.metal.console();
    let has = |name: &str| match name {
        MODULE => subject.metal.modules().is_some(),
        HIGHMEM => subject.highmem.is_some(),
        _ => true,
    };
    for (name, test) in TESTS.iter().filter(|(name, _)| options.runs(name) && has(name)) {
        match test(subject) {
            Ok(saw) => {
                passed += 1;
                line(console, format_args!("pagewright: test {name}: ok: {saw}"));
            }
            Err(wrong) => {
                failed += 1;
                line(console, format_args!("pagewright: test {name}: FAILED: {wrong}"));
            }
        }
    }
    line(console, format_args!("pagewright: {passed} tests passed, {failed} failed"));
    (passed, failed)
}

/// Numbers that look random and are the same every time (xorshift64).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Numbers from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}
