//! What describes the first chunk once its units are there (`pcpu_setup_first_chunk`): lists, maps and blocks, with the sizes that the modelled
//! kernel has.

use super::{AllocInfo, BLOCK_MD, MIN_ALLOC, Map, Sizes};
use crate::boot::Boot;
use crate::error::BootError;
use crate::sink::Level;
use arrayvec::ArrayVec;
use pagewright_addr::PhysRange;

/// Everything that describes a first chunk: five lists, and four pieces for each of its two parts.
type Pieces = ArrayVec<PhysRange, 13>;

/// Describes the first chunk and prints its layout.
///
/// # Errors
/// Whatever memblock refuses (Linux panics then); what was taken is given back.
pub(super) fn setup_first_chunk(
    boot: &mut Boot<'_>,
    ai: &AllocInfo,
    sizes: Sizes,
    cpus: u64,
) -> Result<(), BootError> {
    let mut pieces = Pieces::new();
    let done = describe(boot, ai, sizes, cpus, &mut pieces);
    if done.is_err() {
        for piece in pieces.iter().rev() {
            boot.mb.phys_free(*piece)?;
        }
    }
    done
}

fn describe(
    boot: &mut Boot<'_>,
    ai: &AllocInfo,
    sizes: Sizes,
    cpus: u64,
    pieces: &mut Pieces,
) -> Result<(), BootError> {
    let long = boot.long_bytes();
    let groups = ai.groups.len() as u64;
    boot.mb.set_caller("pcpu_setup_first_chunk");
    for bytes in [groups * long, groups * long, cpus * 4, cpus * long] {
        piece(boot, pieces, bytes)?;
    }
    boot.sink.line(
        Level::Debug,
        format_args!(
            "pcpu-alloc: s{} r{} d{} u{} alloc={}*{}",
            ai.static_size,
            ai.reserved_size,
            ai.dyn_size,
            ai.unit_size,
            ai.alloc_size / ai.atom_size,
            ai.atom_size
        ),
    );
    boot.sink.line(Level::Debug, format_args!("{}", Map(ai)));
    // One list of chunks for each size class: classes are powers of two from 32 bytes, and three special lists.
    piece(boot, pieces, chunk_lists(ai.unit_size) * 2 * long)?;
    let base = ai.static_size;
    if ai.reserved_size > 0 {
        alloc_first_chunk(boot, pieces, base, ai.reserved_size, sizes.page)?;
    }
    alloc_first_chunk(boot, pieces, base + ai.reserved_size, ai.dyn_size, sizes.page)
}

/// Takes memory of whole cache lines' alignment for one of them.
fn piece(boot: &mut Boot<'_>, pieces: &mut Pieces, bytes: u64) -> Result<(), BootError> {
    let at = boot.alloc(bytes, boot.cache_line())?;
    // There is room for all.
    let _ = pieces.try_push(PhysRange::from_len(at, bytes));
    Ok(())
}

/// How many chunk lists there are for a unit size (`pcpu_nr_slots`).
fn chunk_lists(unit_size: u64) -> u64 {
    let highest_bit = u64::from(u64::BITS - unit_size.leading_zeros());
    highest_bit.saturating_sub(5).saturating_add(2).max(1) + 4
}

/// The bookkeeping of one first chunk that serves `[offset, offset + bytes)` of a unit.
fn alloc_first_chunk(
    boot: &mut Boot<'_>,
    pieces: &mut Pieces,
    offset: u64,
    bytes: u64,
    page: u64,
) -> Result<(), BootError> {
    let long = boot.long_bytes();
    let pages = (offset % page + bytes).div_ceil(page);
    let bitmap = |bits: u64| bits.div_ceil(long * 8) * long;
    let bits = pages * page / MIN_ALLOC;
    // struct pcpu_chunk without its bitmap of populated pages.
    let head = if long == 8 { 136 } else { 92 };
    boot.mb.set_caller("pcpu_alloc_first_chunk");
    for size in [head + bitmap(pages), bitmap(bits), bitmap(bits + 1), pages * BLOCK_MD] {
        piece(boot, pieces, size)?;
    }
    Ok(())
}
