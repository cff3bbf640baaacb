//! `memmap_alloc` and the buffer that a node's section maps are cut from.
//!
//! Section maps are aligned to their own size, which need not be a power of two: 36 or 40 bytes for each frame of a
//! section on 32-bit kernels. Linux rounds by masks all the same; what comes out is not a multiple of the size, but it
//! is where the map lies.

use crate::boot::Boot;
use crate::error::BootError;
use pagewright_addr::{NodeId, PhysAddr, PhysRange};
use pagewright_memblock::{Error, Flags, Set};

/// `memmap_alloc`: memory for a map, above the memory that is precious for DMA if there is some, on exactly this node
/// or best on it.
///
/// # Errors
/// Whatever memblock refuses.
pub(super) fn memmap_alloc(
    boot: &mut Boot<'_>,
    size: u64,
    align: u64,
    nid: NodeId,
    exact: bool,
) -> Result<PhysAddr, Error> {
    let from = boot.max_dma_address();
    boot.mb.set_caller("memmap_alloc");
    let asked = if exact {
        boot.mb.alloc_exact_nid_raw(size, align, from, PhysAddr::ZERO, Some(nid))
    } else {
        boot.mb.alloc_try_nid_raw(size, align, from, PhysAddr::ZERO, Some(nid))
    };
    match asked {
        Err(Error::BadAlign { .. }) => alloc_by_mask(boot, size, align, nid, exact),
        result => result,
    }
}

/// The search that memblock makes, from the top down, with its mask arithmetic for an alignment of no power of two.
fn alloc_by_mask(
    boot: &mut Boot<'_>,
    size: u64,
    align: u64,
    nid: NodeId,
    exact: bool,
) -> Result<PhysAddr, Error> {
    let (from, limit) = (boot.max_dma_address(), boot.mb.current_limit());
    let mirrored = boot.mb.regions(Set::Memory).iter().any(|r| r.flags().contains(Flags::MIRROR));
    let first_page = PhysAddr::new(boot.page_bytes());
    let find = |min: PhysAddr, node: Option<NodeId>, flags: Flags| {
        let window = PhysRange::new(min.max(first_page), limit);
        boot.mb.free_ranges(node, flags).rev().find_map(|(free, _)| {
            let free = free.intersection(&window);
            let at = free.end.get().checked_sub(size)? & !(align - 1);
            (at >= free.start.get()).then_some(PhysAddr::new(at))
        })
    };
    let flags = [mirrored.then_some(Flags::MIRROR), Some(Flags::NONE)];
    let nodes = [Some(Some(nid)), (!exact).then_some(None)];
    let found = [from, PhysAddr::ZERO].into_iter().find_map(|min| {
        let mut ways = flags.iter().flatten().flat_map(|f| nodes.iter().flatten().map(move |n| (*n, *f)));
        ways.find_map(|(node, flags)| find(min, node, flags))
    });
    let at = found.ok_or(Error::NoMemory { size, align, min: from, max: PhysAddr::ZERO, nid: Some(nid) })?;
    boot.mb.set_caller("memblock_alloc_range_nid");
    boot.mb.reserve(PhysRange::from_len(at, size))?;
    Ok(at)
}

/// The buffer of one node (`sparse_buffer_init` to `sparse_buffer_fini`); without memory for it, there is none.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    left: PhysRange,
}

impl Buffer {
    /// Room for `count` maps of `bytes`, in one piece.
    pub(super) fn init(boot: &mut Boot<'_>, bytes: u64, count: u64, nid: NodeId) -> Self {
        let size = bytes.saturating_mul(count);
        match memmap_alloc(boot, size, bytes, nid, true) {
            Ok(at) => Self { left: PhysRange::from_len(at, size) },
            Err(_) => Self::default(),
        }
    }

    /// The next piece, at a multiple of its size in virtual memory; what that leaves out is given back. `None` if
    /// there is not so much left (`sparse_buffer_alloc`).
    ///
    /// # Errors
    /// Whatever memblock refuses.
    pub(super) fn alloc(&mut self, boot: &mut Boot<'_>, size: u64) -> Result<Option<PhysAddr>, BootError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let virt = boot.linear_map().virt(self.left.start).get();
        let skipped = virt.checked_next_multiple_of(size).map_or(u64::MAX, |at| at - virt);
        let at = self.left.start.saturating_add(skipped);
        let end = at.saturating_add(size);
        if end > self.left.end {
            return Ok(None);
        }
        self.give_back(boot, PhysRange::new(self.left.start, at))?;
        self.left.start = end;
        // The boot keeps no more places than it has room for.
        note(boot, PhysRange::new(at, end));
        Ok(Some(at))
    }

    /// Gives back what is left (`sparse_buffer_fini`).
    ///
    /// # Errors
    /// Whatever memblock refuses.
    pub(super) fn fini(self, boot: &mut Boot<'_>) -> Result<(), BootError> {
        self.give_back(boot, self.left)
    }

    fn give_back(&self, boot: &mut Boot<'_>, range: PhysRange) -> Result<(), BootError> {
        if range.start < range.end {
            boot.mb.set_caller("sparse_buffer_free");
            boot.mb.phys_free(range)?;
        }
        Ok(())
    }
}

/// Enters a place of a map in the boot's list, joined with the one before where they touch.
pub(super) fn note(boot: &mut Boot<'_>, area: PhysRange) {
    match boot.memmap_areas.last_mut() {
        Some(last) if last.end == area.start => last.end = area.end,
        // A list that is full says less than there is.
        _ => drop(boot.memmap_areas.try_push(area)),
    }
}
