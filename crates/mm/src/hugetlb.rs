//! Huge pages at boot: `hugetlb_cma=`, and the pools that `hugepages=` asks for.
//!
//! Gigantic pages (larger than the buddy's largest block) can only be had from memblock, and are taken while the
//! command line is parsed. Smaller ones come from the buddy later and are only counted here as wanted.

use crate::boot::{Boot, info, warning};
use crate::cma;
use crate::error::BootError;
use arrayvec::{ArrayString, ArrayVec};
use core::fmt::Write as _;
use pagewright_addr::{NodeId, PhysAddr};
use pagewright_firmware::Arch;
use pagewright_firmware::cmdline::{HugePagesSpec, HugetlbParam};
use pagewright_zone::ZoneKind;

/// A pool of huge pages of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Bytes of a page.
    pub size: u64,
    /// Pages asked for.
    pub wanted: u64,
    /// Gigantic pages taken from memblock.
    pub gigantic: u64,
    /// The default size.
    pub default: bool,
}

/// Pools of a boot, in the order in which sizes are registered.
pub type Pools = ArrayVec<Pool, 8>;

/// The sizes that an architecture has (HUGE_MAX_HSTATE): large blocks, and on arm64 contiguous runs of them.
fn sizes(b: &Boot<'_>) -> ArrayVec<u64, 4> {
    let shift = b.machine.config.page_shift.get();
    let pmd = b.pmd_bytes();
    let mut out = ArrayVec::new();
    if !b.machine.config.hugetlb {
        return out;
    }
    match b.machine.arch {
        Arch::Arm64 => {
            let (cont_pte, cont_pmd) = match shift {
                12 => (16, 16),
                14 => (128, 32),
                _ => (32, 32),
            };
            if shift == 12 {
                out.push(1 << 30);
            }
            out.push(pmd * cont_pmd);
            out.push(pmd);
            out.push(cont_pte << shift);
        }
        Arch::X86_64 => {
            if b.machine.cpus.gbpages {
                out.push(1 << 30);
            }
            out.push(pmd);
        }
        Arch::Arm | Arch::I386 => out.push(pmd),
    }
    out
}

fn is_gigantic(b: &Boot<'_>, size: u64) -> bool {
    size >= b.page_bytes() << b.machine.config.max_order
}

/// Goes through the `hugepagesz=` and `hugepages=` parameters in order (`hugepages_setup` and its kin).
///
/// # Errors
/// None of its own: what cannot be had is said in the log.
pub(crate) fn setup(b: &mut Boot<'_>) -> Result<(), BootError> {
    let sizes = sizes(b);
    let Some(mut default) = (if b.machine.config.hugetlb { Some(b.pmd_bytes()) } else { None }) else {
        return Ok(());
    };
    if let Some(size) = b.params.default_hugepage_size() {
        if sizes.contains(&size) {
            default = size;
        } else {
            warning!(b, "HugeTLB: unsupported default_hugepagesz={size}");
        }
    }
    for size in sizes.iter().copied() {
        let _ = b.huge_pools.try_push(Pool { size, wanted: 0, gigantic: 0, default: size == default });
    }
    // Without a size before it, a number counts pages of the default size.
    let mut current = Some(default);
    let mut named: ArrayVec<u64, 4> = ArrayVec::new();
    // The pool that the last number was for: the default size's as long as no size was named (Linux counts that apart).
    let mut last = None;
    let params = b.params.hugetlb.clone();
    for param in params {
        match param {
            HugetlbParam::DefaultSize(size) => {
                current = Some(default);
                name(&mut named, &sizes, size);
            }
            HugetlbParam::HugepageSize(size) => {
                current = sizes.contains(&size).then_some(size);
                name(&mut named, &sizes, size);
                if current.is_none() {
                    warning!(b, "HugeTLB: unsupported hugepagesz={size}");
                }
            }
            HugetlbParam::Hugepages(spec) => {
                let Some(size) = current else {
                    warning!(
                        b,
                        "HugeTLB: hugepages={} does not follow a valid hugepagesz, ignoring",
                        spec.text
                    );
                    continue;
                };
                let pool = (!named.is_empty()).then_some(size);
                if last.replace(pool) == Some(pool) {
                    warning!(
                        b,
                        "HugeTLB: hugepages= specified twice without interleaving hugepagesz=, ignoring hugepages={}",
                        spec.text
                    );
                    continue;
                }
                fill_pool(b, size, spec)?;
            }
        }
    }
    // A size is registered when the command line names it; the architecture adds the others afterwards.
    let rank = |list: &[u64], size: u64| list.iter().position(|s| *s == size).unwrap_or(list.len());
    b.huge_pools.sort_unstable_by_key(|p| (rank(&named, p.size), rank(&sizes, p.size)));
    Ok(())
}

fn name(named: &mut ArrayVec<u64, 4>, sizes: &[u64], size: u64) {
    if sizes.contains(&size) && !named.contains(&size) {
        // There are no more sizes than entries.
        let _ = named.try_push(size);
    }
}

fn fill_pool(b: &mut Boot<'_>, size: u64, spec: HugePagesSpec<'_>) -> Result<(), BootError> {
    let gigantic = is_gigantic(b, size);
    let mut got = 0;
    let mut wanted = 0;
    if let Some(total) = spec.total() {
        wanted = total;
        if gigantic {
            let nodes = memory_nodes(b);
            while got < total && alloc_round_robin(b, size, &nodes, got) {
                got += 1;
            }
            if got < total {
                failed(b, total, size, None, got);
            }
        }
    } else {
        for (node, count) in spec.per_node() {
            let Some(nid) =
                u16::try_from(node).ok().and_then(NodeId::new).filter(|n| b.nodes_online.contains(*n))
            else {
                warning!(b, "HugeTLB: Invalid hugepages parameter {}", spec.text);
                return Ok(());
            };
            wanted = wanted.saturating_add(count);
            if gigantic {
                b.mb.set_caller("__alloc_bootmem_huge_page");
                let mut here = 0;
                while here < count {
                    // The node is a wish: another one gives what it cannot.
                    let at = b.mb.alloc_try_nid_raw(size, size, PhysAddr::ZERO, PhysAddr::ZERO, Some(nid));
                    let Ok(at) = at else {
                        failed(b, count, size, Some(nid), here);
                        break;
                    };
                    count_gigantic(b, at, size);
                    here += 1;
                }
                got += here;
            }
        }
    }
    if let Some(pool) = b.huge_pools.iter_mut().find(|p| p.size == size) {
        pool.wanted = if gigantic { got } else { wanted };
        pool.gigantic += got;
    }
    Ok(())
}

/// Says that a pool, or a node's part of it, stays smaller than asked for.
pub(crate) fn failed(b: &Boot<'_>, wanted: u64, size: u64, nid: Option<NodeId>, got: u64) {
    let size = Size(size);
    match nid {
        Some(nid) => warning!(
            b,
            "HugeTLB: allocating {wanted} of page size {size} failed node{nid}.  Only allocated {got} hugepages."
        ),
        None => warning!(
            b,
            "HugeTLB: allocating {wanted} of page size {size} failed.  Only allocated {got} hugepages."
        ),
    }
}

/// What the command line asks for of pages of one size, the last time it does.
pub(crate) fn asked<'a>(b: &Boot<'a>, size: u64) -> Option<HugePagesSpec<'a>> {
    let mut current = b.huge_pools.iter().find(|p| p.default).map(|p| p.size);
    let default = current;
    let mut asked = None;
    for param in &b.params.hugetlb {
        match param {
            HugetlbParam::DefaultSize(_) => current = default,
            HugetlbParam::HugepageSize(size) => current = Some(*size),
            HugetlbParam::Hugepages(spec) if current == Some(size) => asked = Some(*spec),
            HugetlbParam::Hugepages(_) => {}
        }
    }
    asked
}

pub(crate) fn memory_nodes(b: &Boot<'_>) -> ArrayVec<NodeId, 64> {
    b.layout.as_ref().map(|l| l.memory_nodes.iter().take(64).collect()).unwrap_or_default()
}

/// One page from the next node that has one.
fn alloc_round_robin(b: &mut Boot<'_>, size: u64, nodes: &[NodeId], turn: u64) -> bool {
    b.mb.set_caller("__alloc_bootmem_huge_page");
    let n = nodes.len();
    (0..n).any(|i| {
        let nid = nodes[(turn as usize + i) % n];
        let at = b.mb.alloc_try_nid_raw(size, size, PhysAddr::ZERO, PhysAddr::ZERO, Some(nid));
        if let Ok(at) = at {
            count_gigantic(b, at, size);
        }
        at.is_ok()
    })
}

/// Enters the frames of a gigantic page under the zone that holds it.
fn count_gigantic(b: &mut Boot<'_>, at: PhysAddr, size: u64) {
    let shift = b.machine.config.page_shift;
    let pfn = at.pfn(shift);
    let Some(layout) = &b.layout else { return };
    let zones =
        layout.nodes().iter().flat_map(|n| ZoneKind::ALL.map(|kind| (n.nid, kind, n.zone(kind).pfns())));
    let Some((nid, kind, _)) = zones.into_iter().find(|(.., pfns)| pfns.contains(pfn)) else { return };
    let pages = size >> shift.get();
    match b.gigantic_pages.iter_mut().find(|(n, k, _)| (*n, *k) == (nid, kind)) {
        Some((.., counted)) => *counted += pages,
        // There are no more zones than entries.
        None => _ = b.gigantic_pages.try_push((nid, kind, pages)),
    }
}

/// A size as `string_get_size` prints it: three significant digits.
struct Size(u64);

impl core::fmt::Display for Size {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (unit, name) = match self.0 {
            s if s >= 1 << 30 => (30, "GiB"),
            s if s >= 1 << 20 => (20, "MiB"),
            _ => (10, "KiB"),
        };
        let whole = self.0 >> unit;
        let digits = 3 - (whole.max(1).ilog10() as usize + 1).min(3);
        if digits == 0 { write!(f, "{whole} {name}") } else { write!(f, "{whole}.{:0digits$} {name}", 0) }
    }
}

/// The lines of `hugetlb_init`.
pub(crate) fn report(b: &Boot<'_>) {
    for pool in &b.huge_pools {
        info!(b, "HugeTLB: registered {} page size, pre-allocated {} pages", Size(pool.size), pool.wanted);
        // All but the first page of a huge page's part of the memory map repeats; only x86 gives the rest back.
        let map = pool.size / b.page_bytes() * u64::from(b.machine.build.struct_page);
        let spare = if b.machine.arch == Arch::X86_64 { map.saturating_sub(b.page_bytes()) } else { 0 };
        info!(b, "HugeTLB: {} KiB vmemmap can be freed for a {} page", spare >> 10, Size(pool.size));
    }
}

/// `hugetlb_cma_reserve`: contiguous areas from which gigantic pages are made later, one for each node.
///
/// # Errors
/// None of its own: what cannot be had is said in the log.
pub(crate) fn cma_reserve(b: &mut Boot<'_>) -> Result<(), BootError> {
    let c = &b.machine.config;
    let supported = match b.machine.arch {
        Arch::Arm64 => true,
        Arch::X86_64 => b.machine.cpus.gbpages,
        _ => false,
    };
    let Some(text) = b.params.hugetlb_cma.filter(|_| c.cma.is_some() && supported && c.hugetlb) else {
        return Ok(());
    };
    let page = sizes(b).first().copied().unwrap_or(1 << 30);
    let huge = b.page_bytes() << c.hugetlb_page_order();
    let nodes: ArrayVec<NodeId, 64> = b.nodes_online.iter().take(64).collect();
    let mut requests: ArrayVec<(NodeId, u64), 64> = ArrayVec::new();
    if text.contains(':') {
        for item in text.split(',') {
            let Some((node, size)) = item.split_once(':') else { break };
            let node = node.trim().parse().ok().and_then(NodeId::new).filter(|n| nodes.contains(n));
            let size = pagewright_firmware::cmdline::memparse(size).0;
            let Some(nid) = node else {
                warning!(b, "hugetlb_cma: invalid node {item} specified");
                continue;
            };
            if size < page {
                warning!(b, "hugetlb_cma: cma area of node {nid} should be at least {} MiB", page >> 20);
                continue;
            }
            let _ = requests.try_push((nid, size));
        }
    } else {
        let total = pagewright_firmware::cmdline::memparse(text).0;
        if total == 0 {
            return Ok(());
        }
        if total < page {
            warning!(b, "hugetlb_cma: cma area should be at least {} MiB", page >> 20);
            return Ok(());
        }
        let per_node = total.div_ceil(nodes.len().max(1) as u64);
        info!(b, "hugetlb_cma: reserve {} MiB, up to {} MiB per node", total >> 20, per_node >> 20);
        let mut left = total;
        for nid in &nodes {
            let Some(size) = per_node.min(left).checked_next_multiple_of(page).filter(|s| *s > 0) else {
                break;
            };
            left = left.saturating_sub(size);
            let _ = requests.try_push((*nid, size));
        }
    }
    for (nid, size) in requests {
        // A size that cannot be rounded is more than any node has, and is refused as it stands.
        let size = size.checked_next_multiple_of(page).unwrap_or(size);
        let mut name: ArrayString<16> = ArrayString::new();
        let _ = write!(name, "hugetlb{nid}");
        let request = cma::Request {
            base: PhysAddr::ZERO,
            size,
            limit: PhysAddr::ZERO,
            align: huge,
            fixed: false,
            name: &name,
            nid: Some(nid),
        };
        match cma::declare_contiguous(b, request)? {
            Ok(_) => info!(b, "hugetlb_cma: reserved {} MiB on node {nid}", size >> 20),
            Err(_) => warning!(b, "hugetlb_cma: reservation failed: err -12, node {nid}"),
        }
    }
    Ok(())
}

/// `dma_pernuma_cma_reserve`: an area on each node for its own devices.
///
/// # Errors
/// None of its own.
pub(crate) fn pernuma_cma_reserve(b: &mut Boot<'_>) -> Result<(), BootError> {
    let Some(size) = b.params.cma_pernuma.filter(|s| *s > 0 && b.machine.config.pernuma_cma) else {
        return Ok(());
    };
    let nodes: ArrayVec<NodeId, 64> = b.nodes_online.iter().take(64).collect();
    for nid in nodes {
        let mut name: ArrayString<16> = ArrayString::new();
        let _ = write!(name, "pernuma{nid}");
        let request = cma::Request {
            base: PhysAddr::ZERO,
            size,
            limit: PhysAddr::ZERO,
            align: 0,
            fixed: false,
            name: &name,
            nid: Some(nid),
        };
        if cma::declare_contiguous(b, request)?.is_ok() {
            b.cma.last_mut().into_iter().for_each(|area| area.of_node = Some(nid));
        } else {
            warning!(b, "dma_pernuma_cma_reserve: reservation failed: err -12, node {nid}");
        }
    }
    Ok(())
}
