//! Contiguous memory areas: `cma_declare_contiguous` and the default DMA area (`dma_contiguous_reserve`).

use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use arrayvec::ArrayString;
use core::fmt::Write as _;
use pagewright_addr::{NodeId, PhysAddr, PhysRange};
use pagewright_firmware::config::CmaSize;

/// An area reserved for contiguous allocations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CmaArea {
    /// Its name in sysfs: "reserved" for the default area, the node's name for one from the device tree.
    pub name: ArrayString<32>,
    /// Where it lies.
    pub range: PhysRange,
    /// Whether it is the default area for DMA.
    pub default: bool,
    /// Whose devices' area it is (`cma_pernuma=`), if it is one node's.
    pub of_node: Option<NodeId>,
    /// It could not be activated, and its pages are ordinary memory.
    pub given_back: bool,
}

/// Why an area could not be declared. The texts are those of the kernel log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CmaRefusal {
    /// CONFIG_CMA_AREAS are in use already.
    OutOfAreas,
    /// The size is zero.
    Empty,
    /// A fixed base that is not aligned.
    Unaligned {
        /// The base.
        base: PhysAddr,
        /// The alignment it needs.
        align: u64,
    },
    /// A fixed region that straddles the top of low memory.
    CrossesHighmem {
        /// The base.
        base: PhysAddr,
        /// Where high memory starts.
        highmem: PhysAddr,
    },
    /// The region ends above the limit.
    ExceedsLimit {
        /// The region's size in bytes.
        size: u64,
        /// Its base.
        base: PhysAddr,
        /// The limit.
        limit: PhysAddr,
    },
    /// A fixed region of which some part is reserved.
    Busy,
    /// No free range is large enough.
    NoMemory,
}

/// What to declare.
#[derive(Clone, Copy, Debug)]
pub struct Request<'n> {
    /// Lowest address, or the exact base when `fixed`.
    pub base: PhysAddr,
    /// Bytes.
    pub size: u64,
    /// Highest end; zero for none.
    pub limit: PhysAddr,
    /// Alignment in bytes; at least a pageblock is used.
    pub align: u64,
    /// `base` is exact.
    pub fixed: bool,
    /// The area's name.
    pub name: &'n str,
    /// Only from this node.
    pub nid: Option<NodeId>,
}

/// Bytes that an area's base and size must be multiples of (CMA_MIN_ALIGNMENT_BYTES): one pageblock.
pub(crate) fn min_alignment(boot: &Boot<'_>) -> u64 {
    boot.page_bytes() << boot.machine.config.pageblock_order()
}

/// Reserves a contiguous area (`cma_declare_contiguous_nid`) and logs what came of it.
///
/// # Errors
/// Only what cannot be a verdict on the request; a refusal is `Ok(Err(_))` and already logged.
pub fn declare_contiguous(
    boot: &mut Boot<'_>,
    req: Request<'_>,
) -> Result<Result<CmaArea, CmaRefusal>, BootError> {
    let outcome = place(boot, req)?;
    match outcome {
        Ok(range) => {
            let area = register(boot, req.name, range);
            info!(boot, "cma: Reserved {} MiB at {}", range.len() >> 20, boot.pa(range.start));
            Ok(Ok(area))
        }
        Err(refusal) => {
            match refusal {
                CmaRefusal::OutOfAreas => warning!(boot, "cma: Not enough slots for CMA reserved regions!"),
                CmaRefusal::Unaligned { base, align } => {
                    let align = PhysAddr::new(align);
                    warning!(
                        boot,
                        "cma: Region at {} must be aligned to {} bytes",
                        boot.pa(base),
                        boot.pa(align)
                    );
                }
                CmaRefusal::CrossesHighmem { base, highmem } => warning!(
                    boot,
                    "cma: Region at {} defined on low/high memory boundary ({})",
                    boot.pa(base),
                    boot.pa(highmem)
                ),
                CmaRefusal::ExceedsLimit { size, base, limit } => warning!(
                    boot,
                    "cma: Size ({}) of region at {} exceeds limit ({})",
                    boot.pa(PhysAddr::new(size)),
                    boot.pa(base),
                    boot.pa(limit)
                ),
                CmaRefusal::Empty | CmaRefusal::Busy | CmaRefusal::NoMemory => {}
            }
            if refusal != CmaRefusal::OutOfAreas && refusal != CmaRefusal::Empty {
                warning!(boot, "cma: Failed to reserve {} MiB", req.size >> 20);
            }
            Ok(Err(refusal))
        }
    }
}

/// Enters an area whose memory is already reserved (`cma_init_reserved_mem`).
pub(crate) fn register(boot: &mut Boot<'_>, name: &str, range: PhysRange) -> CmaArea {
    let mut text = ArrayString::new();
    // A name that is too long is cut, as in the kernel (CMA_MAX_NAME).
    for c in name.chars() {
        if text.try_push(c).is_err() {
            break;
        }
    }
    if name.is_empty() {
        let _ = write!(text, "cma{}", boot.cma.len());
    }
    let area = CmaArea { name: text, range, default: false, of_node: None, given_back: false };
    if boot.cma.try_push(area.clone()).is_ok() {
        boot.total_cma_pages += range.len() >> boot.machine.config.page_shift.get();
    }
    area
}

/// Whether another area can be entered.
pub(crate) fn has_slot(boot: &Boot<'_>) -> bool {
    let areas = boot.machine.config.cma.map_or(0, |c| usize::from(c.areas) + 1);
    boot.cma.len() < areas.min(boot.cma.capacity())
}

fn place(boot: &mut Boot<'_>, req: Request<'_>) -> Result<Result<PhysRange, CmaRefusal>, BootError> {
    if !has_slot(boot) {
        return Ok(Err(CmaRefusal::OutOfAreas));
    }
    if req.size == 0 {
        return Ok(Err(CmaRefusal::Empty));
    }
    let end_of_dram = boot.mb.end_of_dram();
    let align = req.align.max(min_alignment(boot));
    let fixed = req.fixed && req.base > PhysAddr::ZERO;
    if fixed && !req.base.is_aligned(align) {
        return Ok(Err(CmaRefusal::Unaligned { base: req.base, align }));
    }
    let base = req.base.align_up(align);
    let Some(size) = req.size.checked_next_multiple_of(align) else {
        return Ok(Err(CmaRefusal::NoMemory));
    };
    let highmem = boot.high_memory;
    let end = base.saturating_add(size);
    if fixed && base < highmem && end > highmem {
        return Ok(Err(CmaRefusal::CrossesHighmem { base, highmem }));
    }
    let mut limit = req.limit.align_down(align);
    if limit == PhysAddr::ZERO || limit > end_of_dram {
        limit = end_of_dram;
    }
    if end > limit {
        return Ok(Err(CmaRefusal::ExceedsLimit { size, base, limit }));
    }
    if fixed {
        let range = PhysRange::from_len(base, size);
        if boot.mb.overlaps_region(pagewright_memblock::Set::Reserved, range) {
            return Ok(Err(CmaRefusal::Busy));
        }
        boot.mb.set_caller("cma_declare_contiguous_nid");
        boot.mb.reserve(range)?;
        return Ok(Ok(range));
    }
    let mut at = None;
    if base < highmem && limit > highmem {
        // One area lies in one zone: prefer all of it above the low memory.
        at = boot.mb.alloc_range_nid(size, align, highmem, limit, req.nid, true).ok();
        limit = highmem;
    }
    let four_gib = PhysAddr::new(4 << 30);
    // Also when high memory has been found already: Linux 6.1 forgets that and leaves it reserved.
    if boot.phys_addr_is_64bit() && !boot.mb.bottom_up() && end_of_dram >= four_gib.saturating_add(size) {
        // With memory to spare, leave the space below 4 GiB to those who cannot reach higher.
        boot.mb.set_bottom_up(true);
        at = boot.mb.alloc_range_nid(size, align, four_gib, limit, req.nid, true).ok();
        boot.mb.set_bottom_up(false);
    }
    let at = match at {
        Some(at) => Some(at),
        None => boot.mb.alloc_range_nid(size, align, base, limit, req.nid, true).ok(),
    };
    Ok(at.map(|a| PhysRange::from_len(a, size)).ok_or(CmaRefusal::NoMemory))
}

/// Reserves the default DMA area below `limit` (`dma_contiguous_reserve`), as `cma=` or the configuration says.
///
/// # Errors
/// See [`declare_contiguous`].
pub fn dma_contiguous_reserve(boot: &mut Boot<'_>, limit: PhysAddr) -> Result<(), BootError> {
    let Some(config) = boot.machine.config.cma else { return Ok(()) };
    let (mut base, mut fixed, mut limit) = (PhysAddr::ZERO, false, limit);
    let size = match boot.params.cma {
        Some(param) => {
            // `cma=size@base` means exactly there; a range after the base only bounds the search.
            base = PhysAddr::new(param.base);
            let wanted = PhysAddr::new(param.limit);
            if wanted > PhysAddr::ZERO && (limit == PhysAddr::ZERO || wanted < limit) {
                limit = wanted;
            }
            fixed = param.base.wrapping_add(param.size) == param.limit;
            param.size
        }
        None => default_size(boot, config.size),
    };
    if size == 0 || boot.cma.iter().any(|a| a.default) {
        return Ok(());
    }
    let req = Request { base, size, limit, align: 0, fixed, name: "reserved", nid: None };
    if declare_contiguous(boot, req)?.is_ok()
        && let Some(area) = boot.cma.last_mut()
    {
        area.default = true;
    }
    Ok(())
}

fn default_size(boot: &Boot<'_>, size: CmaSize) -> u64 {
    let mbytes = |m: u32| u64::from(m) << 20;
    let percent = |p: u8| {
        let shift = boot.machine.config.page_shift;
        let pages: u64 = boot.mb.mem_pfn_ranges(None).map(|(r, _)| r.len()).sum();
        (pages * u64::from(p) / 100) << shift.get()
    };
    match size {
        CmaSize::Mbytes(m) => mbytes(m),
        CmaSize::Percentage(p) => percent(p),
        CmaSize::Min(m, p) => mbytes(m).min(percent(p)),
        CmaSize::Max(m, p) => mbytes(m).max(percent(p)),
    }
}
