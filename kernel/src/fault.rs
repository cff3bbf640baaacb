//! What is printed of a fault that nobody expected: whose address it was of vmalloc's, its way through the tables, and where the code came from.

use crate::console::{Console, Out, line};
use crate::direct_map::DirectMap;
use core::fmt::Write;
use pagewright::pgtable::{KernelFormat, KernelTables};
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_hot::KernelSpace;
use pagewright_pagetable::Entry;
use pagewright_platform::Mutex;

/// Frames of a backtrace, at most.
const FRAMES: usize = 32;

/// RAM, once there is a way to it: for walks through tables.
static RAM: Mutex<Option<DirectMap>> = Mutex::new(None);

/// The vmalloc area that serves, for reports.
static AREA: Mutex<Option<&'static dyn KernelSpace>> = Mutex::new(None);

/// Nobody explains addresses by an area that is over.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        *AREA.lock() = None;
    }
}

/// Does something with an area; reports of faults say meanwhile what is wrong with an access to it.
pub fn explained<R>(area: &dyn KernelSpace, work: impl FnOnce() -> R) -> R {
    // SAFETY: the area outlives this call, and what is made of it here is gone before it ends, however it does (`Over`): who uses it holds the lock, which
    // `Over` waits for.
    let area: &'static dyn KernelSpace = unsafe { core::mem::transmute(area) };
    *AREA.lock() = Some(area);
    let _over = Over;
    work()
}

/// What is wrong with an access to vmalloc's area, as KASAN would name it.
fn explain(console: &dyn Console, at: VirtAddr) {
    // As for RAM, and what cannot be asked now is left out.
    if let Some(area) = AREA.try_lock()
        && let Some(area) = *area
    {
        let regions = [Some(area.area()), area.modules()];
        for region in regions.into_iter().flatten().filter(|region| region.range().contains(at)) {
            region.explain(at, &mut |why| line(console, format_args!("pagewright: {why}")));
        }
    }
}

/// From here on reports show the walk of the address.
pub fn set_ram(ram: &DirectMap) {
    *RAM.lock() = Some(ram.clone());
}

/// The walk of an address through the tables that are loaded, as soon as there is a way to them.
pub fn walk_loaded(console: &dyn Console, root: PhysAddr, format: KernelFormat, at: VirtAddr) {
    explain(console, at);
    // A fault inside the lock leaves the walk out.
    if let Some(ram) = RAM.try_lock()
        && let Some(memory) = ram.as_ref()
    {
        walk(console, &KernelTables { memory, root, format }, at);
    }
}

/// The entries that an address leads through, level by level.
pub fn walk(console: &dyn Console, tables: &KernelTables<'_>, at: VirtAddr) {
    let mut out = Out(console);
    let done = tables.with(|tree| {
        let shape = tree.shape();
        writeln!(out, "walk of {at:#x} ({}), tables at {:#x}:", tree.format_name(), tree.root())?;
        let path = tree.path(at);
        if path.is_empty() {
            writeln!(out, "  not an address that these tables translate")?;
        }
        for e in &path {
            write!(out, "  {}[{}] at {:#x}: {:#018x} ", shape.name(e.level), e.index, e.at, e.word)?;
            match e.entry {
                Entry::Empty => writeln!(out, "empty")?,
                Entry::Table(next, limits) => writeln!(out, "table at {next:#x} {limits:?}")?,
                Entry::Leaf(leaf) => writeln!(
                    out,
                    "{:#x} bytes at {:#x} {:?} {:?}",
                    shape.level(e.level).bytes(),
                    leaf.phys,
                    leaf.attr.memory,
                    leaf.attr.flags
                )?,
                Entry::Software(_) => writeln!(out, "not for the hardware")?,
                Entry::Reserved(_) => writeln!(out, "damaged: reserved bits are set")?,
            }
        }
        Ok::<_, core::fmt::Error>(())
    });
    // The console takes everything.
    let _ = done;
}

/// The callers, by frame pointers: a frame holds the caller's frame pointer and, one word further, the address to return
/// to. `word` reads a word that may not be there.
pub fn backtrace(
    console: &dyn Console,
    at: u64,
    frame: u64,
    word_bytes: u64,
    word: impl Fn(u64) -> Option<u64>,
) {
    let mut out = Out(console);
    let mut print = |at: u64| {
        // The console takes everything.
        let _ = writeln!(out, " [<{at:#018x}>]");
    };
    print(at);
    let mut frame = frame;
    for _ in 0..FRAMES {
        let (Some(next), Some(back)) = (word(frame), word(frame.wrapping_add(word_bytes))) else { break };
        if back == 0 {
            break;
        }
        print(back);
        // A stack grows down: callers' frames lie above.
        if next <= frame {
            break;
        }
        frame = next;
    }
}

#[cfg(test)]
mod tests {
    use super::backtrace;
    use crate::console::tests::Kept;

    /// A stack at 0x100: three frames, then what `last` says.
    fn trace(last: u64) -> usize {
        let words = [0x110, 0xaaa, 0x120, 0xbbb, last, 0xccc];
        let kept = Kept::default();
        let read = |at: u64| words.get(usize::try_from(at.checked_sub(0x100)? / 8).ok()?).copied();
        backtrace(&kept, 0x999, 0x100, 8, read);
        kept.0.lock().unwrap().lines().count()
    }

    #[test]
    fn a_backtrace_ends_where_frames_do() {
        assert_eq!(trace(0), 4, "a frame pointer of 0 ends it");
        assert_eq!(trace(0x100), 4, "frames that lead back end it");
        assert_eq!(trace(0x9000), 4, "a frame that cannot be read ends it");
    }
}
