//! What `start_kernel` takes from memblock outside `setup_arch`: copies of the command line, the log buffer, the
//! early hash tables, the bounce buffers.

use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use pagewright_addr::{PhysAddr, PhysRange};

/// `setup_command_line`: one copy to keep, one to tear apart while parsing.
pub(crate) fn setup_command_line(boot: &mut Boot<'_>) -> Result<(), BootError> {
    let line = boot.cache_line();
    let bytes = boot.cmdline.text.len() as u64 + 1;
    boot.mb.set_caller("start_kernel");
    boot.alloc(bytes, line)?;
    boot.alloc(bytes, line)?;
    Ok(())
}

/// `print_unknown_bootoptions`: what no handler took goes to user space, and is said so.
pub(crate) fn print_unknown_bootoptions(boot: &mut Boot<'_>) -> Result<(), BootError> {
    if boot.params.unknown.is_empty() {
        return Ok(());
    }
    let line = boot.cache_line();
    let bytes = boot.params.unknown.message_bytes();
    boot.mb.set_caller("start_kernel");
    let at = boot.alloc(bytes, line)?;
    info!(boot, "{}", boot.params.unknown);
    boot.mb.phys_free(PhysRange::from_len(at, bytes))?;
    Ok(())
}

/// Bytes that each possible CPU beyond the first adds to the log (CONFIG_LOG_CPU_MAX_BUF_SHIFT of 12).
const LOG_PER_CPU: u64 = 1 << 12;
/// A record of the log is assumed to take this many bytes as a shift (PRB_AVGBITS).
const LOG_AVERAGE_SHIFT: u32 = 5;
/// `sizeof(struct printk_info)`.
const PRINTK_INFO: u64 = 88;

/// `setup_log_buf`: a larger log when `log_buf_len=` asks for one or many CPUs will fill it. x86 does so early, once
/// memory can be had, for what the command line asks.
pub(crate) fn setup_log_buf(boot: &mut Boot<'_>, early: bool) -> Result<(), BootError> {
    if boot.log_buf_done {
        return Ok(());
    }
    let built_in = 1u64 << boot.machine.config.log_buf_shift;
    let mut len = boot.params.log_buf_len.filter(|l| *l > 0).map_or(0, |l| {
        let rounded = l.checked_next_power_of_two().unwrap_or(1 << 31).min(1 << 31);
        if rounded > built_in { rounded } else { 0 }
    });
    if len == 0 && !early {
        let extra = (boot.num_possible_cpus() - 1) * LOG_PER_CPU;
        if extra > built_in / 2 {
            info!(boot, "printk: log_buf_len individual max cpu contribution: {LOG_PER_CPU} bytes");
            info!(boot, "printk: log_buf_len total cpu_extra contributions: {extra} bytes");
            info!(boot, "printk: log_buf_len min size: {built_in} bytes");
            len = (extra + built_in).next_power_of_two();
        }
    }
    if len == 0 {
        return Ok(());
    }
    let records = len >> LOG_AVERAGE_SHIFT;
    let long = boot.long_bytes();
    boot.mb.set_caller("setup_log_buf");
    // The text, one descriptor and one info for each record; failing any of them keeps the built-in buffer.
    let parts = [(len, "text"), (records * 3 * long, "desc"), (records * PRINTK_INFO, "info")];
    let mut taken: arrayvec::ArrayVec<PhysRange, 3> = arrayvec::ArrayVec::new();
    for (bytes, what) in parts {
        match boot.alloc(bytes, long) {
            Ok(at) => taken.push(PhysRange::from_len(at, bytes)),
            Err(_) => {
                warning!(boot, "printk: log_buf_len: {bytes} {what} bytes not available");
                for range in taken.into_iter().rev() {
                    boot.mb.phys_free(range)?;
                }
                return Ok(());
            }
        }
    }
    boot.log_buf_done = true;
    info!(boot, "printk: log_buf_len: {len} bytes");
    Ok(())
}

/// A hash table sized from memory (`alloc_large_system_hash` with HASH_EARLY): `scale` is the shift from bytes of
/// memory to entries.
fn large_system_hash(
    boot: &mut Boot<'_>,
    name: &str,
    scale: u32,
    wanted: Option<u64>,
) -> Result<(), BootError> {
    let bucket = boot.long_bytes();
    let page_shift = boot.machine.config.page_shift.get();
    let mut entries = match wanted.filter(|w| *w > 0) {
        Some(w) => w,
        None => {
            let mut pages = boot.nr_kernel_pages;
            if page_shift < 20 {
                pages = pages.next_multiple_of(1 << (20 - page_shift));
            }
            let mut scale = scale;
            if bucket == 8 {
                // Very large machines: one entry for each four times as much memory, from 64 GiB on.
                let mut adapt = (64u64 << 30) >> page_shift;
                while adapt < pages {
                    adapt <<= 2;
                    scale += 1;
                }
            }
            let e = if scale > page_shift {
                pages >> (scale - page_shift)
            } else {
                pages << (page_shift - scale)
            };
            if e * bucket < boot.page_bytes() { boot.page_bytes() / bucket } else { e }
        }
    };
    entries = entries.checked_next_power_of_two().unwrap_or(1 << 31);
    let max = ((boot.nr_all_pages << page_shift) >> 4) / bucket;
    entries = entries.min(max.min(0x8000_0000)).max(1);
    let mut log2 = entries.ilog2();
    let line = boot.cache_line();
    boot.mb.set_caller("alloc_large_system_hash");
    loop {
        let bytes = bucket << log2;
        if boot.alloc(bytes, line).is_ok() {
            let order = bytes.ilog2().saturating_sub(page_shift);
            info!(
                boot,
                "{name} hash table entries: {} (order: {order}, {bytes} bytes, linear)",
                1u64 << log2
            );
            return Ok(());
        }
        if bytes <= boot.page_bytes() {
            return Err(BootError::Unsupported { what: "a machine too small for its early hash tables" });
        }
        log2 -= 1;
    }
}

/// `vfs_caches_init_early`: the dentry and inode tables, unless they are to be spread over the nodes later.
pub(crate) fn vfs_caches_init_early(boot: &mut Boot<'_>) -> Result<(), BootError> {
    let default = boot.machine.config.numa && boot.long_bytes() == 8;
    let spread = boot.params.hashdist.unwrap_or(default) && boot.nodes_with_memory() > 1;
    if spread {
        return Ok(());
    }
    let (dentries, inodes) = (boot.params.dhash_entries, boot.params.ihash_entries);
    large_system_hash(boot, "Dentry cache", 13, dentries)?;
    large_system_hash(boot, "Inode-cache", 14, inodes)
}

/// IO_TLB_DEFAULT_SIZE.
const IO_TLB_BYTES: u64 = 64 << 20;
/// One slot of the bounce buffer, as a shift (IO_TLB_SHIFT).
const IO_TLB_SHIFT: u32 = 11;
/// `sizeof(struct io_tlb_slot)`: an address, a size, an index; padded.
const fn io_tlb_slot(long: u64) -> u64 {
    if long == 8 { 24 } else { 16 }
}
/// `sizeof(struct io_tlb_area)`: a counter, an index, a lock.
const fn io_tlb_area(long: u64) -> u64 {
    long + 8
}

/// Slots that make a segment (IO_TLB_SEGSIZE): sizes are multiples of it.
const IO_TLB_SEGMENT: u64 = 128;
/// The fewest slots worth having (IO_TLB_MIN_SLABS).
const IO_TLB_MIN_SLOTS: u64 = (1 << 20) >> IO_TLB_SHIFT;

/// Lines of early parameters that act while they are parsed.
pub(crate) fn early_param_lines(boot: &Boot<'_>) {
    if boot.params.swiotlb.areas.is_some() {
        swiotlb_adjust_nareas(boot);
    }
}

/// `swiotlb_adjust_nareas`: areas and slots of the bounce buffer as they are wished for. As many areas as
/// `swiotlb=` says, else one for each CPU, in a power of two. Slots for a segment in each area, in a power of two too.
fn swiotlb_wishes(boot: &Boot<'_>) -> (u64, u64, bool) {
    let swiotlb = &boot.params.swiotlb;
    let areas = swiotlb.areas.unwrap_or(boot.num_possible_cpus()).clamp(1, 1 << 31).next_power_of_two();
    // More than there are addresses is not to be had, like any other too large size.
    let given = swiotlb.slabs.unwrap_or(IO_TLB_BYTES >> IO_TLB_SHIFT).clamp(1, 1 << 52);
    let given = given.next_multiple_of(IO_TLB_SEGMENT);
    let slots = given.max(areas * IO_TLB_SEGMENT).next_power_of_two();
    (areas, slots, slots != given)
}

fn swiotlb_adjust_nareas(boot: &Boot<'_>) {
    let (areas, slots, adjusted) = swiotlb_wishes(boot);
    info!(boot, "software IO TLB: area num {areas}.");
    if adjusted {
        let mib = (slots << IO_TLB_SHIFT) >> 20;
        info!(boot, "software IO TLB: SWIOTLB bounce buffer size roundup to {mib}MB");
    }
}

/// `swiotlb_init`: bounce buffers for devices that cannot reach all memory, if there is such memory (`limited`) or
/// `swiotlb=force` wants them. `low_limit` is the highest address they may end at; `verbose` prints where they lie at
/// once (x86 does so later).
pub(crate) fn swiotlb_init(
    boot: &mut Boot<'_>,
    limited: bool,
    low_limit: PhysAddr,
    verbose: bool,
) -> Result<(), BootError> {
    if !boot.params.swiotlb.force.unwrap_or(limited) {
        return Ok(());
    }
    let page = boot.page_bytes();
    let line = boot.cache_line();
    if boot.params.swiotlb.areas.is_none() {
        swiotlb_adjust_nareas(boot);
    }
    let (areas, wanted, _) = swiotlb_wishes(boot);
    let Some((at, bytes, slots)) = swiotlb_memblock_alloc(boot, wanted, low_limit) else { return Ok(()) };
    if slots != wanted {
        info!(boot, "software IO TLB: SWIOTLB bounce buffer size adjusted {wanted} -> {slots} slabs");
    }
    let areas = areas.min(slots / IO_TLB_SEGMENT);
    boot.mb.set_caller("swiotlb_init_remap");
    let long = boot.long_bytes();
    let slot_bytes = (slots * io_tlb_slot(long)).next_multiple_of(page);
    // Linux keeps what it has by then and goes on without the buffer; here it is given back.
    let Ok(slots_at) = boot.alloc(slot_bytes, page) else {
        warning!(
            boot,
            "software IO TLB: swiotlb_init_remap: Failed to allocate {slot_bytes} bytes align={page:#x}"
        );
        return Ok(boot.mb.phys_free(PhysRange::from_len(at, bytes))?);
    };
    if boot.alloc(areas * io_tlb_area(long), line).is_err() {
        warning!(boot, "software IO TLB: swiotlb_init_remap: Failed to allocate mem->areas.");
        boot.mb.phys_free(PhysRange::from_len(slots_at, slot_bytes))?;
        return Ok(boot.mb.phys_free(PhysRange::from_len(at, bytes))?);
    }
    boot.swiotlb = Some(PhysRange::from_len(at, bytes));
    if verbose {
        print_swiotlb(boot);
    }
    Ok(())
}

/// The buffer itself: where, its bytes, its slots. Halved as long as there is no room for it.
fn swiotlb_memblock_alloc(
    boot: &mut Boot<'_>,
    wanted: u64,
    low_limit: PhysAddr,
) -> Option<(PhysAddr, u64, u64)> {
    let page = boot.page_bytes();
    let mut slots = wanted;
    boot.mb.set_caller("swiotlb_memblock_alloc");
    loop {
        let bytes = (slots << IO_TLB_SHIFT).next_multiple_of(page);
        if let Ok(at) = boot.mb.alloc_try_nid(bytes, page, PhysAddr::ZERO, low_limit, None) {
            return Some((at, bytes, slots));
        }
        warning!(
            boot,
            "software IO TLB: swiotlb_memblock_alloc: Failed to allocate {bytes} bytes tlb structure"
        );
        if slots <= IO_TLB_MIN_SLOTS {
            return None;
        }
        slots = (slots >> 1).next_multiple_of(IO_TLB_SEGMENT);
    }
}

/// `swiotlb_print_info`: where the bounce buffers lie. The end is the first byte after them.
pub(crate) fn print_swiotlb(boot: &Boot<'_>) {
    if let Some(range) = boot.swiotlb {
        let (start, end) = (boot.pa(range.start), boot.pa(range.end));
        info!(boot, "software IO TLB: mapped [mem {start}-{end}] ({}MB)", range.len() >> 20);
    } else {
        warning!(boot, "software IO TLB: No low mem");
    }
}
