//! The first chunk made of single pages (`pcpu_page_first_chunk`): what `percpu_alloc=page` asks for, and what is left where units cannot lie together.
//!
//! Each processor's unit is as large as its data and no larger; its pages come one by one from its node, and lie one behind the other in the
//! kernel's virtual space only, in an early area of vmalloc's. Where the boot has memory for page tables they are mapped there, else the tables are
//! counted. Later chunks have units as far from each other as these: one behind the other.

use super::setup::setup_first_chunk;
use super::{AllocInfo, CpuPlace, MAX_CPUS, Sizes, alloc_info};
use crate::boot::{Boot, info};
use crate::census::Leaves;
use crate::error::BootError;
use crate::pgtable::Mapping;
use crate::{built, pgtable, x86};
use arrayvec::ArrayVec;
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_kspace::Kind;
use pagewright_kspace::vmalloc::VmFlags;
use pagewright_pagetable::{Attr, AttrFlags, NoTables, TableLimits};

/// Runs of pages at most. Free memory gives pages from the top down, so that a run ends where a unit does (the next one may be another node's) or
/// a piece of free memory: all units may end one, and as many pieces.
const RUNS: usize = 2 * MAX_CPUS;

/// Pages that follow each other.
#[derive(Clone, Copy)]
struct Run {
    /// The one that came first.
    first: PhysAddr,
    count: u32,
    /// Whether each is below the one before.
    down: bool,
}

/// Pages in the order in which they came.
#[derive(Default)]
struct Runs {
    runs: ArrayVec<Run, RUNS>,
}

impl Runs {
    fn push(&mut self, at: PhysAddr, page: u64) -> Result<(), BootError> {
        if let Some(Run { first, count, down }) = self.runs.last_mut() {
            let bytes = u64::from(*count) * page;
            let below = first.get().checked_sub(bytes) == Some(at.get());
            let above = first.get() + bytes == at.get();
            if *count == 1 && (below || above) {
                (*count, *down) = (2, below);
                return Ok(());
            }
            if *count > 1 && if *down { below } else { above } {
                *count += 1;
                return Ok(());
            }
        }
        let too_many = BootError::TooMany { what: "runs of per-CPU pages", limit: RUNS as u64 };
        self.runs.try_push(Run { first: at, count: 1, down: false }).map_err(|_| too_many)
    }

    fn pages(&self, page: u64) -> impl DoubleEndedIterator<Item = PhysAddr> {
        self.runs.iter().flat_map(move |&Run { first, count, down }| {
            (0..count).map(move |n| match down {
                true => PhysAddr::new(first.get() - u64::from(n) * page),
                false => PhysAddr::new(first.get() + u64::from(n) * page),
            })
        })
    }
}

/// How a page for a table is had; the names are Linux's.
fn table(boot: &mut Boot<'_>) -> Result<PhysAddr, BootError> {
    let page = boot.page_bytes();
    if built::I386 && boot.machine.arch == Arch::I386 {
        return x86::low_table(boot);
    }
    let x86 = boot.machine.arch == Arch::X86_64;
    boot.mb.set_caller(if x86 { "spp_getpage" } else { "pcpu_populate_pte" });
    Ok(boot.alloc(page, page)?)
}

/// What was taken for the chunk so far.
#[derive(Default)]
struct Taken {
    /// Where the units are to be.
    area: Option<VirtAddr>,
    runs: Runs,
    /// How many of the pages are mapped.
    mapped: u64,
}

impl Taken {
    /// Gives all of it back, the last page first. Tables stay in the tree, without what was mapped.
    fn give_up(&self, boot: &mut Boot<'_>, page: u64) -> Result<(), BootError> {
        if let Some(start) = self.area {
            boot.early_areas.remove(start);
            let range = VirtRange { start, len: self.mapped * page };
            if let Some(tables) = boot.pgtable.filter(|_| self.mapped > 0) {
                let out = tables.with(|tree| tree.unmap(range, true, &mut NoTables));
                out.map_err(|e| BootError::PageTables(e.into()))?;
            }
        }
        boot.mb.set_caller("pcpu_fc_free");
        for at in self.runs.pages(page).rev() {
            boot.mb.phys_free(PhysRange::from_len(at, page))?;
        }
        Ok(())
    }
}

/// Places the first chunk page by page, each processor's on its node where `grouped` says that there are such.
///
/// # Errors
/// Whatever memblock refuses, a layout without room for the chunk, and page tables that do not take it. Nothing is taken then but page tables.
pub(super) fn page_first_chunk(
    boot: &mut Boot<'_>,
    sizes: Sizes,
    cpus: &[CpuPlace],
    grouped: bool,
) -> Result<(), BootError> {
    // As much dynamic memory as there must be, in units of no more than that.
    let mut ai = AllocInfo::build(Sizes { dynamic: 0, atom: sizes.page, ..sizes }, cpus, false)?;
    let info = alloc_info(boot, &ai, sizes)?;
    let done = with_list(boot, &mut ai, sizes, cpus, grouped);
    boot.mb.set_caller("pcpu_page_first_chunk");
    boot.mb.phys_free(info)?;
    done?;
    *boot.percpu = Some(ai);
    Ok(())
}

/// The same while memory is taken for a list of the pages.
fn with_list(
    boot: &mut Boot<'_>,
    ai: &mut AllocInfo,
    sizes: Sizes,
    cpus: &[CpuPlace],
    grouped: bool,
) -> Result<(), BootError> {
    let pages = ai.unit_size / sizes.page * cpus.len() as u64;
    boot.mb.set_caller("pcpu_page_first_chunk");
    let bytes = (pages * boot.long_bytes()).next_multiple_of(sizes.page);
    let list = PhysRange::from_len(boot.alloc(bytes, boot.cache_line())?, bytes);
    let mut taken = Taken::default();
    let done = place(boot, ai, sizes, cpus, grouped, &mut taken);
    if done.is_err() {
        taken.give_up(boot, sizes.page)?;
    }
    boot.mb.set_caller("pcpu_page_first_chunk");
    boot.mb.phys_free(list)?;
    done
}

/// What its addresses are for.
const FIRST_CHUNK: &str = "per-CPU first chunk";

/// Takes the pages, maps them and makes the chunk.
fn place(
    boot: &mut Boot<'_>,
    ai: &mut AllocInfo,
    sizes: Sizes,
    cpus: &[CpuPlace],
    grouped: bool,
    taken: &mut Taken,
) -> Result<(), BootError> {
    let page = sizes.page;
    let (units, unit_pages) = (cpus.len() as u64, ai.unit_size / page);
    let region = boot.virtual_layout(boot.version).ok().and_then(|layout| layout.get(Kind::Vmalloc));
    let no_room =
        BootError::Machine { what: "per-CPU memory without vmalloc space, bytes", value: ai.unit_size };
    // Linux finds the addresses after the pages; that order shows nowhere.
    let start = boot.register_early_area(
        FIRST_CHUNK,
        region.ok_or(no_room)?,
        units * ai.unit_size,
        page,
        VmFlags::ALLOC,
    )?;
    taken.area = Some(start);
    let goal = boot.max_dma_address();
    // All pages come before the first table: which they are follows from how many there are, so they are remembered by runs.
    for place in cpus {
        let node = place.node.filter(|node| grouped && boot.node_has_data(*node));
        for _ in 0..unit_pages {
            boot.mb.set_caller("pcpu_fc_alloc");
            let at = match node {
                Some(node) => boot.mb.alloc_try_nid(page, page, goal, PhysAddr::ZERO, Some(node))?,
                None => boot.mb.alloc_from(page, page, goal)?,
            };
            if let Err(full) = taken.runs.push(at, page) {
                boot.mb.phys_free(PhysRange::from_len(at, page))?;
                return Err(full);
            }
        }
    }
    let attr = boot.page_kernel().unwrap_or(Attr::normal(AttrFlags::empty()));
    let arm64 = built::ARM64 && boot.machine.arch == Arch::Arm64;
    let limits = if arm64 { pgtable::arm64::table_limits(boot) } else { TableLimits::empty() };
    for phys in taken.runs.pages(page) {
        let mapping = Mapping {
            step: "pcpu_page_first_chunk",
            virt: start.get() + taken.mapped * page,
            phys: phys.get(),
            len: page,
            attr,
            leaves: Leaves::Pages,
            contiguous: false,
            limits,
        };
        boot.map(&mapping, &mut table)?;
        taken.mapped += 1;
    }
    info!(
        boot,
        "percpu: {unit_pages} {}K pages/cpu s{} r{} d{}",
        page >> 10,
        ai.static_size,
        ai.reserved_size,
        ai.dyn_size
    );
    ai.paged = Some(start);
    setup_first_chunk(boot, ai, sizes, units)
}

#[cfg(test)]
mod tests {
    use super::{PhysAddr, Runs};

    #[test]
    fn pages_are_remembered_in_the_order_in_which_they_came() {
        const PAGE: u64 = 4096;
        let came = [9, 8, 7, 20, 21, 22, 23, 5, 30, 29, 31, 32, 32].map(|n| PhysAddr::new(n * PAGE));
        let mut runs = Runs::default();
        came.iter().for_each(|at| runs.push(*at, PAGE).unwrap());
        assert!(runs.pages(PAGE).eq(came));
        assert_eq!(runs.runs.len(), 6);
    }
}
