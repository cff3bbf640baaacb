//! `init_mem_mapping`: which page tables the direct map takes, and from where.
//!
//! The first tables come from the brk area inside the image; once that is used up, or would be mapped by the very
//! tables in question, they come from memory that is mapped already. The direct map therefore grows from the top
//! down, in steps that get larger as more memory becomes usable.

use super::{ISA_END, PAGE, X86};
use crate::boot::{Boot, info};
use crate::census::Leaves;
use crate::error::BootError;
use crate::pgtable::x86::page_kernel;
use crate::pgtable::{Mapping, TableEvent, i386};
use arrayvec::ArrayVec;
use pagewright_addr::{Pfn, PfnRange, PhysAddr, PhysRange};
use pagewright_firmware::Arch;
use pagewright_pagetable::TableLimits;

/// What is mapped so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapped {
    /// One past the last mapped frame (`max_pfn_mapped`).
    pub(super) max_pfn: Pfn,
    /// The same below 4 GiB (`max_low_pfn_mapped`).
    pub(super) max_low_pfn: Pfn,
    /// The lowest frame from which page tables may come now.
    min_pfn: Pfn,
    ranges: ArrayVec<PfnRange, 256>,
    /// Pages of the brk buffer in use.
    brk_used: u64,
}

impl Mapped {
    /// Whether all these frames are mapped (`pfn_range_is_mapped`).
    pub(super) fn contains(&self, pfns: PfnRange) -> bool {
        self.ranges.iter().any(|r| r.contains_range(&pfns))
    }

    fn add(&mut self, pfns: PfnRange) -> Result<(), BootError> {
        self.max_pfn = self.max_pfn.max(pfns.end);
        if pfns.start < super::MAX_DMA32_PFN {
            self.max_low_pfn = self.max_low_pfn.max(pfns.end.min(super::MAX_DMA32_PFN));
        }
        match self.ranges.iter_mut().find(|r| r.end == pfns.start || r.start == pfns.end) {
            Some(r) => (r.start, r.end) = (r.start.min(pfns.start), r.end.max(pfns.end)),
            None => self
                .ranges
                .try_push(pfns)
                .map_err(|_| BootError::TooMany { what: "ranges of the direct map", limit: 256 })?,
        }
        self.ranges.sort_unstable_by_key(|r| r.start);
        let mut merged: ArrayVec<PfnRange, 256> = ArrayVec::new();
        for r in self.ranges.drain(..) {
            match merged.last_mut() {
                Some(last) if last.end >= r.start => last.end = last.end.max(r.end),
                _ => merged.push(r),
            }
        }
        self.ranges = merged;
        Ok(())
    }
}

/// Pages of the brk buffer that early tables may use (INIT_PGD_PAGE_COUNT): three or four tables for each of two
/// mappings, twice that where the map's base is randomised.
fn brk_pages(b: &Boot<'_>) -> u64 {
    let tables = if b.machine.config.pgtable_levels == 5 { 4 } else { 3 };
    if b.machine.arch == Arch::X86_64 && b.machine.config.randomize_base { 4 * tables } else { 2 * tables }
}

/// The end of the area that i386's head code maps.
pub(super) fn initial_pages_mapped(b: &Boot<'_>) -> PhysAddr {
    i386::head::initial_pages_mapped(b.machine, brk_pages(b))
}

/// Bytes of the brk area in use when it closes. i386's holds the head's tables and those of the direct map at least, whatever is
/// told.
pub(super) fn brk_used(b: &Boot<'_>) -> u64 {
    let told = b.machine.image.brk_used;
    if b.machine.arch == Arch::X86_64 {
        return told;
    }
    let head = initial_pages_mapped(b).get() / b.pmd_bytes();
    told.max((head + brk_pages(b)) * PAGE)
}

fn gbpages(b: &Boot<'_>) -> bool {
    b.machine.arch == Arch::X86_64 && b.machine.cpus.gbpages && b.params.gbpages.unwrap_or(true)
}

/// Maps all memory (`init_mem_mapping`).
pub(super) fn init_mem_mapping(b: &mut Boot<'_>, x: &mut X86<'_>) -> Result<(), BootError> {
    let levels = match (b.machine.arch, b.machine.cpus.la57) {
        (Arch::X86_64, true) => 5,
        (Arch::X86_64, false) => 4,
        _ => b.machine.config.pgtable_levels,
    };
    let bits = if b.machine.arch == Arch::I386 && !b.machine.config.lpae { 10 } else { 9 };
    b.tables.reset(12, bits, levels);
    if gbpages(b) {
        info!(b, "Using GB pages for direct mapping");
    }
    if b.machine.arch == Arch::I386 {
        let mapped = initial_pages_mapped(b);
        i386::put::census(b, mapped)?;
    }
    let shift = b.machine.config.page_shift;
    let end = if b.machine.arch == Arch::X86_64 { x.max_pfn } else { x.max_low_pfn }.phys(shift);
    init_memory_mapping(b, x, PhysRange::new(PhysAddr::ZERO, ISA_END), true)?;
    if b.mb.bottom_up() {
        let kernel_end = b.machine.image.end;
        bottom_up(b, x, PhysRange::new(kernel_end, end))?;
        bottom_up(b, x, PhysRange::new(ISA_END, kernel_end))?;
    } else {
        top_down(b, x, PhysRange::new(ISA_END, end))?;
    }
    if b.machine.arch == Arch::I386 {
        i386::put::fixed_mappings(b, &mut |b, count| take_more(b, &mut x.mapped, count))?;
    }
    if let (Arch::X86_64, Some(tables)) = (b.machine.arch, b.pgtable) {
        b.sink.page_tables(TableEvent::LoadCr3 { root: tables.root });
    }
    crate::memtest::early_memtest(b)
}

/// `native_pagetable_init` of i386 up to `paging_init`'s first step.
pub(super) fn pagetable_init(b: &mut Boot<'_>, x: &mut X86<'_>) -> Result<(), BootError> {
    i386::put::clear_beyond(b, x.max_low_pfn.phys(b.machine.config.page_shift))?;
    if b.machine.config.highmem {
        i386::put::persistent_kmaps(b, &mut |b, count| take_more(b, &mut x.mapped, count))?;
    }
    Ok(())
}

/// Pages for tables after the direct map is complete, from the brk buffer as long as it lasts.
pub(super) fn take_more(b: &mut Boot<'_>, m: &mut Mapped, count: u64) -> Result<PhysAddr, BootError> {
    take_tables(b, m, true, count)
}

/// How much larger the next step is: a table of leaf entries maps 512 times its size, and one half of that is safe.
fn next_step(step: u64, pmd_bytes: u64) -> u64 {
    step.saturating_mul(pmd_bytes / (2 * PAGE))
}

fn top_down(b: &mut Boot<'_>, x: &mut X86<'_>, map: PhysRange) -> Result<(), BootError> {
    let block = b.pmd_bytes();
    let shift = b.machine.config.page_shift;
    // A first block at the top, so that there is mapped memory for tables.
    b.mb.set_caller("init_mem_mapping");
    let real_end = match b.mb.phys_alloc_range(block, block, map.start, map.end) {
        Ok(at) => {
            b.mb.phys_free(PhysRange::from_len(at, block))?;
            at.saturating_add(block)
        }
        Err(_) => map.start.align_up(block).max(map.end.align_down(block)),
    };
    x.mapped.max_pfn = Pfn::ZERO;
    x.mapped.min_pfn = real_end.pfn(shift);
    let (mut step, mut mapped, mut last) = (block, 0, real_end);
    while last > map.start {
        let start = if last.get() > step {
            PhysAddr::new(last.get() - 1).align_down(step).max(map.start)
        } else {
            map.start
        };
        mapped += init_range(b, x, PhysRange::new(start, last))?;
        last = start;
        x.mapped.min_pfn = last.pfn(shift);
        if mapped >= step {
            step = next_step(step, block);
        }
    }
    if real_end < map.end {
        init_range(b, x, PhysRange::new(real_end, map.end))?;
    }
    Ok(())
}

fn bottom_up(b: &mut Boot<'_>, x: &mut X86<'_>, map: PhysRange) -> Result<(), BootError> {
    let shift = b.machine.config.page_shift;
    let (mut step, mut mapped, mut start) = (b.pmd_bytes(), 0, map.start);
    x.mapped.min_pfn = start.pfn(shift);
    while start < map.end {
        let room = map.end.get() - start.get();
        let next = if room > step { start.saturating_add(1).align_up(step).min(map.end) } else { map.end };
        mapped += init_range(b, x, PhysRange::new(start, next))?;
        start = next;
        if mapped >= step {
            step = next_step(step, b.pmd_bytes());
        }
    }
    Ok(())
}

/// Maps the RAM inside a range (`init_range_memory_mapping`); returns its bytes.
fn init_range(b: &mut Boot<'_>, x: &mut X86<'_>, range: PhysRange) -> Result<u64, BootError> {
    let shift = b.machine.config.page_shift;
    let mut mapped = 0;
    let mut i = 0;
    loop {
        let next = b.mb.mem_pfn_ranges(None).nth(i);
        let Some((pfns, _)) = next else { break };
        i += 1;
        let part = pfns.bytes(shift).intersection(&range);
        if part.is_empty() {
            continue;
        }
        // Tables that lie in what they are about to map cannot be written yet.
        let brk = PhysRange::from_len(
            brk_page(b, x.mapped.brk_used),
            brk_pages(b).saturating_sub(x.mapped.brk_used) * PAGE,
        );
        let can_use_brk = part.start.max(brk.start) >= part.end.min(brk.end);
        init_memory_mapping(b, x, part, can_use_brk)?;
        mapped += part.len();
    }
    Ok(mapped)
}

/// Maps one range with the largest pages that fit (`init_memory_mapping`).
fn init_memory_mapping(
    b: &mut Boot<'_>,
    x: &mut X86<'_>,
    range: PhysRange,
    can_use_brk: bool,
) -> Result<(), BootError> {
    let shift = b.machine.config.page_shift;
    for (part, leaves) in split(b, range) {
        if b.machine.arch == Arch::I386 {
            let take: i386::put::Take<'_, '_> =
                &mut |b, count| take_tables(b, &mut x.mapped, can_use_brk, count);
            i386::put::low_memory(b, part, leaves, take)?;
            continue;
        }
        let mapping = Mapping {
            step: "init_mem_mapping",
            virt: b.linear_map().virt(part.start).get(),
            phys: part.start.get(),
            len: part.len(),
            attr: page_kernel(b),
            leaves,
            contiguous: false,
            limits: TableLimits::empty(),
        };
        b.map(&mapping, &mut |b| take_tables(b, &mut x.mapped, can_use_brk, 1))?;
    }
    x.mapped.add(range.frames_inside(shift))
}

/// Page `n` of the brk buffer for tables. It is the last that the brk area is used for before it closes.
fn brk_page(b: &Boot<'_>, n: u64) -> PhysAddr {
    let before = brk_used(b).saturating_sub(brk_pages(b) * PAGE);
    b.machine.image.end.align_up(PAGE).saturating_add(before + n * PAGE).align_up(PAGE)
}

/// `alloc_low_pages`: pages side by side, from the brk buffer if they fit, or from memory that is mapped.
fn take_tables(
    b: &mut Boot<'_>,
    m: &mut Mapped,
    can_use_brk: bool,
    count: u64,
) -> Result<PhysAddr, BootError> {
    if can_use_brk && m.brk_used + count <= brk_pages(b) {
        m.brk_used += count;
        return Ok(brk_page(b, m.brk_used - count));
    }
    let shift = b.machine.config.page_shift;
    if m.min_pfn < m.max_pfn {
        b.mb.set_caller("alloc_low_pages");
        let (min, max) = (m.min_pfn.phys(shift), m.max_pfn.phys(shift));
        if let Ok(page) = b.mb.phys_alloc_range(count * PAGE, PAGE, min, max) {
            return Ok(page);
        }
    }
    if can_use_brk {
        // The brk area is extended.
        let at = brk_page(b, brk_pages(b).max(m.brk_used));
        m.brk_used = brk_pages(b).max(m.brk_used) + count;
        return Ok(at);
    }
    Err(BootError::Unsupported { what: "a direct map whose page tables find no mapped memory" })
}

/// The parts of a range by page size (`split_mem_range`): small pages up to the first large boundary, large ones up
/// to the first huge boundary, and down again. A part that memory surrounds on all sides of a large page is mapped
/// with that page whole.
fn split(b: &Boot<'_>, range: PhysRange) -> ArrayVec<(PhysRange, Leaves), 5> {
    let mut out = ArrayVec::new();
    let pmd = b.pmd_bytes();
    let pud = 1u64 << 30;
    let huge = gbpages(b);
    if b.machine.arch == Arch::I386 && !b.machine.cpus.i386.pse {
        out.push((range, Leaves::Pages));
        return out;
    }
    let mut push = |start: PhysAddr, end: PhysAddr, level: u8| {
        if start < end {
            out.push((
                PhysRange::new(start, end),
                if level == 0 { Leaves::Pages } else { Leaves::Blocks(level) },
            ));
        }
    };
    let (start, end) = (range.start, range.end);
    // i386 maps the first large page in small ones: parts of it have other attributes.
    let head_floor = if b.machine.arch == Arch::I386 && start == PhysAddr::ZERO { pmd } else { 0 };
    let head_end = start.align_up(pmd).max(PhysAddr::new(head_floor)).min(end);
    push(start, head_end, 0);
    let mut at = head_end;
    if huge {
        let large_end = at.align_up(pud).min(end.align_down(pmd)).max(at);
        push(at, large_end, 1);
        at = large_end;
        let huge_end = end.align_down(pud).max(at);
        push(at, huge_end, 2);
        at = huge_end;
    }
    let tail = end.align_down(pmd).max(at);
    push(at, tail, 1);
    push(tail, end, 0);
    for (part, leaves) in &mut out {
        widen(b, part, leaves, huge);
    }
    out
}

/// `adjust_range_page_size_mask`.
fn widen(b: &Boot<'_>, part: &mut PhysRange, leaves: &mut Leaves, huge: bool) {
    let shift = b.machine.config.page_shift;
    for (level, bytes) in [(1u8, b.pmd_bytes()), (2, 1 << 30)] {
        let have = match leaves {
            Leaves::Pages => 0,
            Leaves::Blocks(l) => *l,
        };
        if have >= level || (level == 2 && !huge) {
            continue;
        }
        let whole = PhysRange::new(part.start.align_down(bytes), part.end.align_up(bytes));
        if b.machine.arch == Arch::I386 && whole.end.pfn(shift) > b.high_memory.pfn(shift) {
            continue;
        }
        if b.mb.is_region_memory(whole) {
            *part = whole;
            *leaves = Leaves::Blocks(level);
        }
    }
}
