//! `/proc/meminfo`: one labelled amount a line.

use crate::State;
use core::fmt::{self, Write};
use pagewright_firmware::Arch;
use pagewright_firmware::config::Thp;
use pagewright_zone::ZoneKind;

/// Writes a line: the label without its colon, the amount, and whether that is in KiB (written `kB`) or a plain count.
///
/// # Errors
/// The writer's.
pub fn amount(w: &mut dyn Write, name: &str, value: u64, kib: bool) -> fmt::Result {
    let unit = if kib { " kB" } else { "" };
    // Linux pads most labels to 16 columns and amounts to 8; these were given their own widths.
    let letters = name.chars().count() + ":".len();
    let (label, digits) = match name {
        "HardwareCorrupted" => (letters + 1, 5),
        _ if name.starts_with("HugePages_") => (19, 5),
        _ => (16, 8),
    };
    let blanks = usize::saturating_sub(label, letters);
    writeln!(w, "{name}:{:blanks$}{value:>digits$}{unit}", "")
}

/// Writes the file.
///
/// # Errors
/// The writer's.
pub fn write(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> fmt::Result {
    let config = &state.boot.machine.config;
    let out = &mut |name: &str, kib: u64| amount(w, name, kib, true);
    let page = state.page_kib();
    let (total, free) = (state.managed_pages(), state.sum(|zone| zone.free));
    // Of what reclaim can ask for, half is not counted on, but no more than the low watermarks.
    let slabs = state.all_slab_pages();
    let low: u64 = state.running.watermarks.zones().iter().map(|zone| zone.low).sum();
    let reclaimable = slabs.reclaimable - (slabs.reclaimable / 2).min(low);
    let available = (free + reclaimable).saturating_sub(state.running.watermarks.totalreserve_pages());
    out("MemTotal", total * page)?;
    out("MemFree", free * page)?;
    out("MemAvailable", available * page)?;
    zeroes(
        out,
        "Buffers Cached SwapCached Active Inactive Active(anon) Inactive(anon) Active(file) Inactive(file) \
         Unevictable Mlocked",
    )?;
    if config.highmem {
        let high = state.sum_of(ZoneKind::HighMem, |zone| zone.managed);
        let high_free = state.sum_of(ZoneKind::HighMem, |zone| zone.free);
        out("HighTotal", high * page)?;
        out("HighFree", high_free * page)?;
        out("LowTotal", (total - high) * page)?;
        out("LowFree", (free - high_free) * page)?;
    }
    zeroes(out, "SwapTotal SwapFree Zswap Zswapped Dirty Writeback AnonPages Mapped Shmem")?;
    out("KReclaimable", slabs.reclaimable * page)?;
    out("Slab", slabs.all() * page)?;
    out("SReclaimable", slabs.reclaimable * page)?;
    out("SUnreclaim", slabs.unreclaimable * page)?;
    zeroes(out, "KernelStack PageTables SecPageTables NFS_Unstable Bounce WritebackTmp")?;
    out("CommitLimit", total.saturating_sub(state.hugetlb_pages()) / 2 * page)?;
    out("Committed_AS", 0)?;
    out("VmallocTotal", vmalloc_kib(state))?;
    out("VmallocUsed", state.vmalloc.map_or(0, |vmalloc| vmalloc.nr_pages()) * page)?;
    // 6.1 does not look for the largest gap, and says 0.
    out("VmallocChunk", 0)?;
    let percpu = state.boot.percpu.as_ref().map_or(0, |p| {
        let used = p.static_size + p.reserved_size + p.dyn_size;
        used / 1024 * u64::from(state.boot.possible_cpus.count())
    });
    out("Percpu", percpu)?;
    tail(w, state)
}

fn zeroes(out: &mut dyn FnMut(&str, u64) -> fmt::Result, list: &str) -> fmt::Result {
    list.split_whitespace().try_for_each(|name| out(name, 0))
}

/// What depends on how the kernel was built.
fn tail(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> fmt::Result {
    let config = &state.boot.machine.config;
    let page = state.page_kib();
    let out = &mut |name: &str, kib: u64| amount(w, name, kib, true);
    if config.memory_failure {
        out("HardwareCorrupted", 0)?;
    }
    if config.thp != Thp::Off {
        zeroes(out, "AnonHugePages ShmemHugePages ShmemPmdMapped FileHugePages FilePmdMapped")?;
    }
    if config.cma.is_some() {
        out("CmaTotal", state.boot.total_cma_pages * page)?;
        out("CmaFree", state.sum(|zone| zone.free_cma) * page)?;
    }
    if config.hugetlb {
        let default = state.huge_pools().find(|p| p.default);
        let (size, count) = default.map_or((0, 0), |p| (p.size, p.count));
        for (name, value) in [
            ("HugePages_Total", count),
            ("HugePages_Free", count),
            ("HugePages_Rsvd", 0),
            ("HugePages_Surp", 0),
        ] {
            amount(w, name, value, false)?;
        }
        amount(w, "Hugepagesize", size >> 10, true)?;
        amount(w, "Hugetlb", state.hugetlb_pages() * page, true)?;
    }
    if config.is_x86() { direct_map(w, state) } else { Ok(()) }
}

/// How x86's direct map is built before anything splits it: 4 KiB at the borders, large pages between.
fn direct_map(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> fmt::Result {
    let boot = state.boot;
    let config = &boot.machine.config;
    let large = if config.arch == Arch::I386 && !config.lpae { 4 << 20 } else { 2 << 20 };
    let high = boot.high_memory.get();
    let mut sizes = [0u64; 3];
    for range in boot.mb.mem_ranges() {
        let (start, end) = (range.start.get(), range.end.get().min(high));
        let (first, last) = (start.next_multiple_of(large), end / large * large);
        let middle = last.saturating_sub(first);
        sizes[1] += middle;
        sizes[0] += end.saturating_sub(start).saturating_sub(middle);
        if boot.machine.cpus.gbpages {
            let whole = (last >> 30 << 30).saturating_sub(first.next_multiple_of(1 << 30));
            sizes[2] += whole;
            sizes[1] -= whole;
        }
    }
    amount(w, "DirectMap4k", sizes[0] >> 10, true)?;
    let name = if large == 4 << 20 { "DirectMap4M" } else { "DirectMap2M" };
    amount(w, name, sizes[1] >> 10, true)?;
    if boot.machine.cpus.gbpages {
        amount(w, "DirectMap1G", sizes[2] >> 10, true)?;
    }
    Ok(())
}
/// The size of the vmalloc area in KiB.
fn vmalloc_kib(state: &State<'_, '_, '_, '_, '_>) -> u64 {
    const MIB: u64 = 1 << 20;
    let config = &state.boot.machine.config;
    match config.arch {
        Arch::X86_64 if state.boot.machine.cpus.la57 => (12800 << 30) - 1,
        Arch::X86_64 => (32 << 30) - 1,
        Arch::Arm64 => {
            // From the modules' end to 256 MiB below the memory map at the top.
            let va = u32::from(config.va_bits);
            let memmap = 1u64 << (va - (config.page_shift.get() - 6));
            ((1u64 << (va - 1)) - 128 * MIB - memmap - 256 * MIB) >> 10
        }
        Arch::Arm | Arch::I386 => {
            // 8 MiB above the permanent map, up to where the fixed mappings begin.
            let offset = u64::from(config.page_offset).wrapping_sub(state.boot.memstart.get());
            let start = (state.boot.high_memory.get().wrapping_add(offset) & 0xffff_ffff) + 8 * MIB;
            let (start, end) = match config.arch {
                Arch::Arm => (start & !(8 * MIB - 1), 0xff80_0000),
                _ => (start, state.boot.i386_areas().map_or(start, |areas| areas.vmalloc_end)),
            };
            end.saturating_sub(start) >> 10
        }
    }
}
