//! `paging_init`: the kernel's own page tables.
//!
//! The image is mapped in five segments, each with its permissions, then all memory in the linear map, one memblock page for
//! each table. Then the CPU switches to them, and the tables of the head go. memblock's own arrays may grow only from
//! here on: before, there was no linear map to reach them by.

use crate::boot::Boot;
use crate::census::{Census, Leaves};
use crate::error::BootError;
use crate::pgtable::arm64::{self, PAGE_KERNEL, PAGE_KERNEL_EXEC, PAGE_KERNEL_ROX};
use crate::pgtable::{Mapping, TableEvent};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::cmdline::Rodata;
use pagewright_kspace::vmalloc::{EarlyArea, VmFlags};
use pagewright_pagetable::{Attr, MemoryType, TableLimits};

/// `paging_init`: the kernel's page tables, one memblock page for each.
pub(super) fn paging_init(b: &mut Boot<'_>) -> Result<(), BootError> {
    let old = arm64::begin_swapper(b)?;
    map_kernel(b)?;
    arm64::copy_fixmap(b, old)?;
    map_mem(b)?;
    if let (Some(old), Some(new)) = (old, b.pgtable) {
        b.sink.page_tables(TableEvent::ReplaceTtbr1 { old: old.root, new: new.root });
    }
    // The tables that the head code made are not needed any more.
    b.mb.set_caller("paging_init");
    b.mb.phys_free(b.machine.image.init_pg_dir)?;
    b.mb.allow_resize();
    create_idmap(b)
}

/// Code is written by nobody unless `rodata=off` asks for it.
fn text_prot(b: &Boot<'_>) -> Attr {
    if b.params.rodata == Some(Rodata::Off) { PAGE_KERNEL_EXEC } else { PAGE_KERNEL_ROX }
}

/// `map_kernel`: text, read-only data, init text, init data, data: each from its own call, with its own permissions. Read-only data
/// may be written until the end of the boot, and has no contiguous groups, whose permissions could not change on a running
/// CPU. Each is an early area, the last with a guard page behind it.
fn map_kernel(b: &mut Boot<'_>) -> Result<(), BootError> {
    let image = b.machine.image;
    let offset = arm64::image_offset(b);
    let virt = |p: PhysAddr| p.get().wrapping_add(offset);
    let text = text_prot(b);
    let limits = arm64::table_limits(b);
    let segments = [
        (image.text_start, image.text_end, text, true),
        (image.text_end, image.init_begin, PAGE_KERNEL, false),
        (image.init_begin, image.inittext_end, text, true),
        (image.inittext_end, image.data_start, PAGE_KERNEL, true),
        (image.data_start, image.end, PAGE_KERNEL, true),
    ];
    for (start, end, attr, contiguous) in segments {
        let segment = Mapping {
            step: "map_kernel",
            virt: virt(start),
            phys: start.get(),
            len: end.get().saturating_sub(start.get()),
            attr: arm64::prot(b, attr),
            leaves: Leaves::Blocks(1),
            contiguous,
            limits,
        };
        b.map(&segment, &mut early_pgtable_alloc)?;
        let guard = if end == image.end { b.page_bytes() } else { 0 };
        let range = VirtRange::from_len(VirtAddr::new(segment.virt), segment.len.saturating_add(guard));
        b.add_early_area(EarlyArea { range, phys: start, flags: VmFlags::MAP, caller: "paging_init" })?;
    }
    Ok(())
}

/// The largest leaves that a mapping may use: gigabytes only with pages of 4 KiB (`pud_sect_supported`).
fn largest(b: &Boot<'_>) -> Leaves {
    Leaves::Blocks(if b.machine.config.page_shift.get() == 12 { 2 } else { 1 })
}

/// `map_mem`: the linear map, in pages where permissions may change later.
fn map_mem(b: &mut Boot<'_>) -> Result<(), BootError> {
    let image = b.machine.image;
    let crash_mem_map = b.params.crashkernel.is_some() && b.machine.config.kexec_core;
    let paged = b.can_set_direct_map()
        || b.machine.cpus.force_pte_mapping
        || (crash_mem_map && super::defer_reserve_crashkernel(b));
    let linear = b.linear_map();
    let mapping = |range: PhysRange, attr: Attr, leaves, contiguous, limits| Mapping {
        step: "map_mem",
        virt: linear.virt(range.start).get(),
        phys: range.start.get(),
        len: range.len(),
        attr,
        leaves,
        contiguous,
        limits,
    };
    let leaves = if paged { Leaves::Pages } else { largest(b) };
    // Memory may have allocation tags; nothing of it is executed by its address here.
    let tagged = if b.version.since(5, 10) { MemoryType::NormalTagged } else { MemoryType::Normal };
    let data = arm64::prot(b, PAGE_KERNEL.with_memory(tagged));
    let limits = arm64::table_limits(b);
    let no_exec = if limits.is_empty() { limits } else { limits | TableLimits::NO_EXEC };
    // The image's text is left out and mapped by itself, so that it can become read-only while it is in use.
    let kernel = PhysRange::new(image.text_start, image.init_begin);
    b.mb.mark_nomap(kernel)?;
    // What is reserved for a crash kernel already is mapped by pages, so that a part of it can be given back.
    let crash = b.crash.main.filter(|_| crash_mem_map);
    if let Some(crash) = crash {
        b.mb.mark_nomap(crash)?;
    }
    let mut i = 0;
    loop {
        let next = b.mb.mem_ranges().nth(i);
        let Some(range) = next else { break };
        i += 1;
        if range.is_empty() {
            break;
        }
        let all = mapping(range, data, leaves, !paged, no_exec);
        b.map(&all, &mut early_pgtable_alloc)?;
    }
    let alias = mapping(kernel, arm64::prot(b, PAGE_KERNEL), largest(b), false, limits);
    b.map(&alias, &mut early_pgtable_alloc)?;
    b.mb.clear_nomap(kernel)?;
    if let Some(crash) = crash {
        let pages = mapping(crash, arm64::prot(b, PAGE_KERNEL), Leaves::Pages, false, limits);
        b.map(&pages, &mut early_pgtable_alloc)?;
        b.mb.clear_nomap(crash)?;
    }
    Ok(())
}

/// `early_pgtable_alloc`: a page for one table.
fn early_pgtable_alloc(b: &mut Boot<'_>) -> Result<PhysAddr, BootError> {
    let page = b.page_bytes();
    b.mb.set_caller("early_pgtable_alloc");
    // MEMBLOCK_ALLOC_NOLEAKTRACE stands for "accessible, and no leak tracing".
    Ok(b.mb.phys_alloc_range(page, page, PhysAddr::ZERO, PhysAddr::new(1))?)
}

/// `create_idmap`: the identity map of the code that runs while the MMU is switched, and of the flag that KPTI's
/// conversion needs. Up to 5.19 the head had made the former, and there was no latter.
fn create_idmap(b: &mut Boot<'_>) -> Result<(), BootError> {
    if !b.version.since(6, 0) {
        return Ok(());
    }
    let c = &b.machine.config;
    let image = b.machine.image;
    let bits = c.page_shift.get() - 3;
    let mut counted: Census<4> = Census::new(c.page_shift.get(), bits, c.pgtable_levels);
    let text = image.idmap_text;
    let tree = arm64::begin_idmap(b)?;
    let mapping = |at: PhysAddr, len: u64, attr| Mapping {
        step: "create_idmap",
        virt: at.get(),
        phys: at.get(),
        len,
        attr,
        leaves: Leaves::Pages,
        contiguous: false,
        limits: TableLimits::empty(),
    };
    let code = mapping(text.start, text.len().max(1), arm64::prot(b, PAGE_KERNEL_ROX));
    let flag = mapping(image.data_start, 4, arm64::prot(b, PAGE_KERNEL));
    let number = counted.map(code.virt, code.phys, code.len, code.leaves)?;
    b.map_in(tree, number, &code, &mut early_pgtable_alloc)?;
    if b.machine.config.page_table_isolation {
        let number = counted.map(flag.virt, flag.phys, flag.len, flag.leaves)?;
        b.map_in(tree, number, &flag, &mut early_pgtable_alloc)?;
    }
    Ok(())
}
