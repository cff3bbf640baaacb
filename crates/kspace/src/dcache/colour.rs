//! Colours: which addresses share the sets of an aliasing cache, and where shared mappings may lie.
//!
//! arm counts four colours whatever the cache has (SHMLBA is four pages): caches have at most four, and user code can rely on it.

use pagewright_addr::{VirtAddr, VirtRange};

/// The colours that arm counts.
pub const COLOURS: u64 = 4;

/// SHMLBA: shared mappings of one offset lie at addresses that are equal modulo this.
pub const fn shmlba(page_bytes: u64) -> u64 {
    COLOURS * page_bytes
}

/// The colour of an address (`CACHE_COLOUR`).
pub const fn cache_colour(at: VirtAddr, page_bytes: u64) -> u64 {
    (at.get() & (shmlba(page_bytes) - 1)) / page_bytes
}

/// The colour that a shared mapping of page `index` of an object has at all its addresses.
pub const fn colour_of_index(index: u64) -> u64 {
    index % COLOURS
}

/// The first address from `at` on where page `index` of an object may begin a shared mapping (`COLOUR_ALIGN`); `None` beyond the end of addresses.
pub const fn colour_align(at: VirtAddr, index: u64, page_bytes: u64) -> Option<VirtAddr> {
    let lba = shmlba(page_bytes);
    let wanted = colour_of_index(index) * page_bytes;
    let inside = at.get() % lba;
    let more = if wanted >= inside { wanted - inside } else { lba + wanted - inside };
    match at.get().checked_add(more) {
        Some(at) => Some(VirtAddr::new(at)),
        None => None,
    }
}

/// Whether a shared mapping of page `index` may begin at a fixed address (MAP_FIXED is refused otherwise).
pub const fn may_begin_at(at: VirtAddr, index: u64, page_bytes: u64) -> bool {
    cache_colour(at, page_bytes) == colour_of_index(index) && at.get().is_multiple_of(page_bytes)
}

/// The lowest place for `bytes` bytes in a gap. A mapping of an object that is shared begins with page `index` of it, given as `Some`, and gets its
/// colour; a private one goes anywhere.
pub fn place(gap: VirtRange, bytes: u64, index: Option<u64>, page_bytes: u64) -> Option<VirtAddr> {
    let start = gap.start.get().checked_next_multiple_of(page_bytes)?;
    let at = match index {
        Some(index) => colour_align(VirtAddr::new(start), index, page_bytes)?,
        None => VirtAddr::new(start),
    };
    let last = at.get().checked_add(bytes.checked_sub(1)?)?;
    (!gap.is_empty() && at >= gap.start && last <= gap.last().get()).then_some(at)
}

/// The highest place, likewise.
pub fn place_topdown(gap: VirtRange, bytes: u64, index: Option<u64>, page_bytes: u64) -> Option<VirtAddr> {
    if gap.is_empty() || bytes == 0 {
        return None;
    }
    // The first byte of the highest place, were there no colours.
    let highest = gap.last().get().checked_sub(bytes - 1)? & !(page_bytes - 1);
    let at = match index {
        Some(index) => {
            let colour = cache_colour(VirtAddr::new(highest), page_bytes);
            highest.checked_sub((COLOURS + colour - colour_of_index(index)) % COLOURS * page_bytes)?
        }
        None => highest,
    };
    (at >= gap.start.get()).then_some(VirtAddr::new(at))
}

#[cfg(test)]
mod tests;
