//! The page tables that a boot builds: what they map, and that they are those that are counted.

mod head;
mod old;
mod same;
mod what;

use crate::support::facts::{Depth, Facts};
use crate::support::spec::RAM;
use crate::support::{GIB, MIB, Spec};
use pagewright::pgtable::arm::section_bytes;
use pagewright::pgtable::{KernelFormat, KernelTables, TableCounts};
use pagewright::{Boot, BootError};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_memblock::Flags;
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_pagetable::{Attr, AttrFlags, Level, MemoryType, RunKind, Shareability};
use pagewright_sim::{EntryWidth, PhysMemory};

/// The linear map of a kernel in the upper gigabyte.
const PAGE_OFFSET: u64 = 0xc000_0000;

/// Mappings that follow each other in both address spaces, with the same attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shown {
    start: u64,
    len: u64,
    phys: u64,
    /// Bytes of one mapping.
    size: u64,
    attr: Attr,
}

/// A boot with tables.
pub(crate) struct Built {
    pub(crate) facts: Facts,
    pub(crate) counts: TableCounts,
    /// Right after `mem_init`.
    early: Vec<Shown>,
    /// After the initcalls.
    late: Vec<Shown>,
    page_offset: u64,
    image_end: PhysAddr,
    memory: &'static PhysMemory,
    root: PhysAddr,
    format: KernelFormat,
}

/// RAM for tables, for as long as the tests run.
fn ram(spec: &Spec) -> &'static PhysMemory {
    let width = if spec.config.lpae { EntryWidth::Bits64 } else { EntryWidth::Bits32 };
    let ram = PhysRange::from_len(PhysAddr::new(RAM), 4 * GIB);
    Box::leak(Box::new(PhysMemory::new([ram], width)))
}

fn shown(tables: &KernelTables<'_>) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    tables.with(|tree| {
        let shape = tree.shape();
        let whole = VirtRange { start: VirtAddr::ZERO, len: 1 << 32 };
        let walked = tree.walk(whole, &mut |run| {
            let RunKind::Leaf(leaf) = run.kind else { panic!("{run:?}") };
            let now = Shown {
                start: run.range.start.get(),
                len: run.range.len,
                phys: leaf.phys.get(),
                size: shape.level(run.level).bytes(),
                attr: leaf.attr,
            };
            match all.last_mut() {
                Some(last)
                    if last.start + last.len == now.start
                        && last.phys + last.len == now.phys
                        && (last.size, last.attr) == (now.size, now.attr) =>
                {
                    last.len += now.len;
                }
                _ => all.push(now),
            }
        });
        walked.expect("sound tables");
    });
    all
}

/// Boots with memory for tables; `prepare` has its word first.
pub(crate) fn try_build(spec: &Spec, prepare: impl FnOnce(&mut Boot<'_>)) -> Result<Built, BootError> {
    let memory = ram(spec);
    let mut seen = None;
    let (result, _) = spec.boot_looking(
        Depth::Allocator,
        |boot| {
            boot.set_table_memory(memory);
            prepare(boot);
        },
        |boot| {
            let tables = boot.pgtable.expect("there is memory for tables");
            seen = Some((tables.root, tables.format, boot.table_counts.clone(), shown(&tables)));
        },
    );
    let facts = result?;
    let (root, format, counts, early) = seen.expect("the boot came to its end");
    let late = shown(&KernelTables { memory, root, format });
    let page_offset = spec.config.page_offset.into();
    let image_end = spec.image.end.align_up(section_bytes(spec.config.lpae));
    Ok(Built { facts, counts, early, late, page_offset, image_end, memory, root, format })
}

#[track_caller]
fn build(spec: &Spec) -> Built {
    try_build(spec, |_| ()).unwrap_or_else(|e| panic!("the boot stopped: {e}"))
}

impl Built {
    fn tables(&self) -> KernelTables<'static> {
        KernelTables { memory: self.memory, root: self.root, format: self.format }
    }

    /// Checks that all of low memory is mapped, and at the one address that it has. Linux ends its walk at a bank that the
    /// sections from the start of RAM to the end of the image cover.
    ///
    /// # Errors
    /// Says what is not.
    pub(crate) fn linear_map(&self) -> Result<(), String> {
        let offset = self.page_offset.wrapping_sub(self.facts.memstart.get());
        for bank in &self.facts.memory {
            if bank.flags.contains(Flags::NOMAP) {
                continue;
            }
            if bank.range.start > self.facts.memstart && bank.range.end < self.image_end {
                break;
            }
            let (start, end) =
                (bank.range.start.max(self.facts.memstart), bank.range.end.min(self.facts.high_memory));
            let mut at = start;
            while at < end {
                let va = at.get().wrapping_add(offset);
                let hit = self.early.iter().find(|s| s.start <= va && va - s.start < s.len);
                // A board's registers may have taken its place: Linux does not look whether there is something already.
                let there =
                    |s: &&Shown| s.attr.memory == MemoryType::Device || s.phys + (va - s.start) == at.get();
                let Some(s) = hit.filter(there) else {
                    return Err(format!("{at:?} is not at {va:#x}: {hit:x?}"));
                };
                at = at.saturating_add(s.len - (va - s.start));
            }
        }
        Ok(())
    }

    /// The domain that an address is in, with short descriptors.
    fn domain(&self, va: u64) -> u8 {
        let path = self.tables().with(|tree| tree.path(VirtAddr::new(va)));
        ArmShort::domain(path[0].word)
    }

    /// Whether a table of pages serves an address.
    fn has_table(&self, va: u64) -> bool {
        let path = self.tables().with(|tree| tree.path(VirtAddr::new(va)));
        path.last().is_some_and(|entry| entry.level == Level::PTE)
    }
}

/// The mappings in a range.
fn inside(all: &[Shown], start: u64, end: u64) -> Vec<Shown> {
    all.iter().filter(|s| s.start >= start && s.start < end).copied().collect()
}

/// Start, length, physical start and mapping size, in KiB relative to PAGE_OFFSET and [`RAM`].
fn kib(all: &[Shown]) -> Vec<(u64, u64, u64, u64)> {
    let of = |s: &Shown| ((s.start - PAGE_OFFSET) >> 10, s.len >> 10, (s.phys - RAM) >> 10, s.size >> 10);
    all.iter().map(of).collect()
}

/// Who may do what: `r` or `w`, then `x` for the kernel.
fn rights(attr: Attr) -> &'static str {
    let exec = attr.flags.contains(AttrFlags::EXEC);
    match (attr.flags.contains(AttrFlags::WRITE), exec) {
        (true, true) => "rwx",
        (true, false) => "rw-",
        (false, true) => "r-x",
        (false, false) => "r--",
    }
}
