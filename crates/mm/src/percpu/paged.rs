//! The first chunk made of single pages (`pcpu_page_first_chunk`): what `percpu_alloc=page` asks for, and what is left where units cannot lie together.
//!
//! Each processor's unit is as large as its data and no larger; its pages come one by one from its node, and lie one behind the other in the
//! kernel's virtual space only, in an early area of vmalloc's. Where the boot has memory for page tables they are mapped there, else the tables are
//! counted. Later chunks have units as far from each other as these: one behind the other.

use super::{AllocInfo, CpuPlace, Sizes, alloc_info, setup_first_chunk};
use crate::boot::{Boot, info};
use crate::census::Leaves;
use crate::error::BootError;
use crate::pgtable::Mapping;
use crate::{built, pgtable, x86};
use arrayvec::ArrayVec;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::Arch;
use pagewright_kspace::Kind;
use pagewright_kspace::vmalloc::VmFlags;
use pagewright_pagetable::{Attr, AttrFlags, TableLimits};

/// Runs of pages at most. On a machine that is not in pieces each node's memory gives them from the top down, in one run.
const RUNS: usize = 512;

/// Pages in the order in which they came, each run upwards or downwards.
#[derive(Default)]
struct Runs {
    /// The first page, how many there are, and whether each is below the one before.
    runs: ArrayVec<(PhysAddr, u64, bool), RUNS>,
}

impl Runs {
    fn push(&mut self, at: PhysAddr, page: u64) -> Result<(), BootError> {
        if let Some((first, count, down)) = self.runs.last_mut() {
            let below = first.get().checked_sub(*count * page) == Some(at.get());
            let above = first.get() + *count * page == at.get();
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
        self.runs.try_push((at, 1, false)).map_err(|_| too_many)
    }

    fn pages(&self, page: u64) -> impl Iterator<Item = PhysAddr> {
        self.runs.iter().flat_map(move |&(first, count, down)| {
            (0..count).map(move |n| match down {
                true => PhysAddr::new(first.get() - n * page),
                false => PhysAddr::new(first.get() + n * page),
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

/// Places the first chunk page by page, each processor's on its node where `grouped` says that there are such.
///
/// # Errors
/// Whatever memblock refuses, a layout without room for the chunk, and page tables that do not take it.
pub(crate) fn page_first_chunk(
    boot: &mut Boot<'_>,
    sizes: Sizes,
    cpus: &[CpuPlace],
    grouped: bool,
) -> Result<(), BootError> {
    let page = sizes.page;
    // As much dynamic memory as there must be, in units of no more than that.
    let mut ai = AllocInfo::build(Sizes { dynamic: 0, atom: page, ..sizes }, cpus, false)?;
    let info = alloc_info(boot, &ai, sizes)?;
    let (long, line) = (boot.long_bytes(), boot.cache_line());
    let (units, unit_pages) = (cpus.len() as u64, ai.unit_size / page);
    boot.mb.set_caller("pcpu_page_first_chunk");
    let list_bytes = (unit_pages * units * long).next_multiple_of(page);
    let list = boot.alloc(list_bytes, line)?;

    let region = boot.virtual_layout(boot.version).ok().and_then(|layout| layout.get(Kind::Vmalloc));
    let no_room =
        BootError::Machine { what: "per-CPU memory without vmalloc space, bytes", value: ai.unit_size };
    let region = region.ok_or(no_room)?;
    let goal = boot.max_dma_address();
    // All pages come before the first table: which they are follows from how many there are, so they are remembered by runs.
    let mut runs = Runs::default();
    for place in cpus {
        let node = place.node.filter(|node| grouped && boot.node_has_data(*node));
        for _ in 0..unit_pages {
            boot.mb.set_caller("pcpu_fc_alloc");
            let at = match node {
                Some(node) => boot.mb.alloc_try_nid(page, page, goal, PhysAddr::ZERO, Some(node))?,
                None => boot.mb.alloc_from(page, page, goal)?,
            };
            runs.push(at, page)?;
        }
    }
    let start = boot.register_early_area(region, units * ai.unit_size, page, VmFlags::ALLOC)?;
    let attr = boot.page_kernel().unwrap_or(Attr::normal(AttrFlags::empty()));
    let arm64 = built::ARM64 && boot.machine.arch == Arch::Arm64;
    let limits = if arm64 { pgtable::arm64::table_limits(boot) } else { TableLimits::empty() };
    for (n, phys) in (0..).zip(runs.pages(page)) {
        let mapping = Mapping {
            step: "pcpu_page_first_chunk",
            virt: start.get() + n * page,
            phys: phys.get(),
            len: page,
            attr,
            leaves: Leaves::Pages,
            contiguous: false,
            limits,
        };
        boot.map(&mapping, &mut table)?;
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
    setup_first_chunk(boot, &ai, sizes, units)?;
    boot.mb.set_caller("pcpu_page_first_chunk");
    boot.mb.phys_free(PhysRange::from_len(list, list_bytes))?;
    boot.mb.phys_free(info)?;
    *boot.percpu = Some(ai);
    Ok(())
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
