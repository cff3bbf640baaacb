//! Where RAM went: every byte of it has one purpose.
//!
//! Memory is painted, layer over layer: first as free, then by what memblock reserved and for whom (its events name
//! the callers), then by what is known by range (kernel image, CMA areas, ...). Painting replaces; it never counts
//! a byte twice, and what is not RAM is never painted.

use crate::run::{Booted, Entry};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::Arch;
use pagewright_memblock::{Event, Flags, Set};
use std::collections::BTreeMap;

/// What a byte of RAM is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Purpose {
    /// The kernel's text, data and bss.
    Kernel,
    /// The kernel's init sections, and gaps in its image: freed at the end of the boot.
    KernelInit,
    /// The initial RAM disk, freed once it is unpacked.
    Initrd,
    /// Metadata of page frames.
    PageMetadata,
    /// The per-CPU first chunk.
    PerCpu,
    /// The kernel's page tables.
    PageTables,
    /// The kernel log.
    LogBuffer,
    /// Hash tables that are sized by memory.
    HashTables,
    /// Bounce buffers.
    BounceBuffers,
    /// Device tree or ACPI tables, and what the kernel makes of them.
    Firmware,
    /// The crash kernel's memory.
    CrashKernel,
    /// Pages in the pools of huge pages.
    HugePages,
    /// Taken by `/memreserve/`, `/reserved-memory` or `memmap=`.
    SetAside,
    /// Other early allocations.
    EarlyOther,
    /// Contiguous memory areas: lent to movable pages until they are needed.
    Cma,
    /// Parts of frames that are reserved in part.
    Fragments,
    /// Free pages.
    Free,
}

impl Purpose {
    /// All purposes in the order of the table.
    pub const ALL: [Self; 17] = [
        Self::Kernel,
        Self::PageMetadata,
        Self::PerCpu,
        Self::PageTables,
        Self::LogBuffer,
        Self::HashTables,
        Self::BounceBuffers,
        Self::Firmware,
        Self::CrashKernel,
        Self::HugePages,
        Self::SetAside,
        Self::EarlyOther,
        Self::Fragments,
        Self::KernelInit,
        Self::Initrd,
        Self::Cma,
        Self::Free,
    ];

    /// In a few words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Kernel => "kernel image",
            Self::KernelInit => "kernel init sections",
            Self::Initrd => "initial RAM disk",
            Self::PageMetadata => "page metadata",
            Self::PerCpu => "per-CPU areas",
            Self::PageTables => "page tables",
            Self::LogBuffer => "log buffer",
            Self::HashTables => "hash tables",
            Self::BounceBuffers => "bounce buffers",
            Self::Firmware => "firmware tables",
            Self::CrashKernel => "crash kernel",
            Self::HugePages => "huge pages",
            Self::SetAside => "set aside",
            Self::EarlyOther => "other early memory",
            Self::Cma => "CMA areas",
            Self::Fragments => "parts of frames",
            Self::Free => "free",
        }
    }

    /// Its key in JSON documents.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Kernel => "kernel_image",
            Self::KernelInit => "kernel_init",
            Self::Initrd => "initrd",
            Self::PageMetadata => "page_metadata",
            Self::PerCpu => "per_cpu",
            Self::PageTables => "page_tables",
            Self::LogBuffer => "log_buffer",
            Self::HashTables => "hash_tables",
            Self::BounceBuffers => "bounce_buffers",
            Self::Firmware => "firmware_tables",
            Self::CrashKernel => "crash_kernel",
            Self::HugePages => "huge_pages",
            Self::SetAside => "set_aside",
            Self::EarlyOther => "early_other",
            Self::Cma => "cma",
            Self::Fragments => "fragments",
            Self::Free => "free",
        }
    }

    /// Whether the page allocator has it after the boot.
    pub const fn is_managed(self) -> bool {
        matches!(self, Self::KernelInit | Self::Initrd | Self::HugePages | Self::Cma | Self::Free)
    }
}

/// All of RAM by purpose: disjoint ranges in address order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    /// By first byte: the end, and the purpose.
    spans: BTreeMap<u64, (u64, Purpose)>,
    /// Bytes of free ranges that went into pools of huge pages later, nobody keeps which.
    pooled: u64,
}

/// What an allocation is for, by who asks.
fn purpose_of(caller: &str) -> Purpose {
    match caller {
        "early_pgtable_alloc"
        | "alloc_low_pages"
        | "early_alloc"
        | "spp_getpage"
        | "one_page_table_init"
        | "init_mem_mapping" => Purpose::PageTables,
        "setup_log_buf" => Purpose::LogBuffer,
        "alloc_large_system_hash" => Purpose::HashTables,
        _ if caller.starts_with("swiotlb_") => Purpose::BounceBuffers,
        "__alloc_bootmem_huge_page" => Purpose::HugePages,
        "early_init_dt_alloc_memory_arch" | "acpi_reserve_initial_tables" | "smp_scan_config" => {
            Purpose::Firmware
        }
        "early_init_fdt_scan_reserved_mem" | "early_init_dt_alloc_reserved_memory_arch" => Purpose::SetAside,
        _ if caller.starts_with("pcpu_") => Purpose::PerCpu,
        _ if caller.starts_with("sparse_")
            || caller.starts_with("memmap_")
            || caller.starts_with("vmemmap_")
            || caller == "__earlyonly_bootmem_alloc"
            || caller == "setup_usemap" =>
        {
            Purpose::PageMetadata
        }
        _ => Purpose::EarlyOther,
    }
}

impl Ledger {
    /// The ledger of a booted machine.
    pub fn of(booted: &Booted<'_, '_, '_, '_, '_>) -> Self {
        let boot = booted.boot;
        let mut ledger = Self::default();
        for region in boot.mb.regions(Set::Memory).iter().filter(|r| r.size() > 0) {
            let nomap = region.flags().contains(Flags::NOMAP);
            ledger.add(region.range(), if nomap { Purpose::SetAside } else { Purpose::Fragments });
        }
        let reserved: Vec<PhysRange> =
            boot.mb.regions(Set::Reserved).iter().filter(|r| r.size() > 0).map(|r| r.range()).collect();
        for range in &reserved {
            ledger.paint(*range, Purpose::EarlyOther);
        }
        ledger.paint_events(booted, &reserved);
        ledger.paint_known(booted);
        let shift = boot.machine.config.page_shift;
        for (range, _) in boot.mb.free_ranges(None, Flags::NONE) {
            ledger.paint(range.frames_inside(shift).bytes(shift), Purpose::Free);
        }
        ledger.pooled = booted.running.huge_pages * shift.bytes();
        ledger
    }

    /// Allocations, by who asked; only what is still reserved at the end counts.
    fn paint_events(&mut self, booted: &Booted<'_, '_, '_, '_, '_>, reserved: &[PhysRange]) {
        let mut asked = None;
        for entry in booted.record.entries() {
            let Entry::Memblock(event) = entry else { continue };
            match event {
                Event::PhysAllocRange { caller, .. } | Event::AllocTryNid { caller, .. } => {
                    asked = Some(caller)
                }
                Event::Reserve { range, caller } => {
                    let who = if caller == "memblock_alloc_range_nid" { asked.take() } else { Some(caller) };
                    let purpose = who.map_or(Purpose::EarlyOther, purpose_of);
                    for still in reserved.iter().map(|r| r.intersection(&range)).filter(|r| !r.is_empty()) {
                        self.paint(still, purpose);
                    }
                }
                _ => {}
            }
        }
    }

    fn paint_known(&mut self, booted: &Booted<'_, '_, '_, '_, '_>) {
        let boot = booted.boot;
        let image = &boot.machine.image;
        for area in boot.memmap_areas.iter() {
            self.paint(*area, Purpose::PageMetadata);
        }
        for verdict in boot.reserved_mem.iter().filter(|v| !v.nomap) {
            self.paint_reserved(verdict.range, Purpose::SetAside);
        }
        self.paint_reserved(PhysRange::new(image.text_start, image.end), Purpose::Kernel);
        let locks = boot.frees_smp_locks().then_some(image.smp_locks);
        let init = PhysRange::new(image.init_begin, image.init_end);
        for part in [init, image.decrypted_unused].into_iter().chain(locks) {
            self.paint_reserved(part, Purpose::KernelInit);
        }
        let config = &boot.machine.config;
        if boot.machine.arch == Arch::X86_64 && config.strict_kernel_rwx {
            // What aligning the image's parts to large pages left between them is freed with the init sections.
            for gap in [
                PhysRange::new(image.text_end, image.rodata_start),
                PhysRange::new(image.rodata_end, image.data_start),
            ] {
                let whole = gap.frames_inside(config.page_shift).bytes(config.page_shift);
                self.paint_reserved(whole, Purpose::KernelInit);
            }
        }
        if let pagewright_firmware::Firmware::DeviceTree { tree, at: Some(at), .. } = &boot.machine.firmware {
            self.paint_reserved(PhysRange::from_len(*at, tree.total_size()), Purpose::Firmware);
        }
        if let Some(initrd) = boot.initrd {
            self.paint_reserved(initrd, Purpose::Initrd);
        }
        for crash in [boot.crash.main, boot.crash.low].into_iter().flatten() {
            self.paint(crash, Purpose::CrashKernel);
        }
        for area in boot.cma.iter() {
            self.paint(area.range, if area.given_back { Purpose::Free } else { Purpose::Cma });
        }
    }

    /// Paints only what is not free.
    fn paint_reserved(&mut self, range: PhysRange, purpose: Purpose) {
        let taken: Vec<PhysRange> = self
            .spans
            .iter()
            .filter(|(_, (_, p))| !matches!(p, Purpose::Free | Purpose::Fragments))
            .map(|(&start, &(end, _))| PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)))
            .map(|span| span.intersection(&range))
            .filter(|r| !r.is_empty())
            .collect();
        for part in taken {
            self.paint(part, purpose);
        }
    }

    /// Adds RAM.
    pub fn add(&mut self, range: PhysRange, purpose: Purpose) {
        if !range.is_empty() {
            self.spans.insert(range.start.get(), (range.end.get(), purpose));
        }
    }

    /// Gives the RAM in `range` another purpose.
    pub fn paint(&mut self, range: PhysRange, purpose: Purpose) {
        let (start, end) = (range.start.get(), range.end.get());
        if start >= end {
            return;
        }
        self.split(start);
        self.split(end);
        for (_, (_, p)) in self.spans.range_mut(start..end) {
            *p = purpose;
        }
    }

    /// Makes a border at `at`, if RAM lies on both sides of it.
    fn split(&mut self, at: u64) {
        let Some((&start, &(end, purpose))) = self.spans.range(..at).next_back() else { return };
        if end > at {
            self.spans.insert(start, (at, purpose));
            self.spans.insert(at, (end, purpose));
        }
    }

    /// All ranges in address order.
    pub fn spans(&self) -> impl Iterator<Item = (PhysRange, Purpose)> + '_ {
        self.spans.iter().map(|(&s, &(e, p))| (PhysRange::new(PhysAddr::new(s), PhysAddr::new(e)), p))
    }

    /// Bytes of one purpose.
    pub fn bytes(&self, purpose: Purpose) -> u64 {
        let there: u64 = self.spans().filter(|(_, p)| *p == purpose).map(|(r, _)| r.len()).sum();
        match purpose {
            Purpose::Free => there.saturating_sub(self.pooled),
            Purpose::HugePages => there + self.pooled,
            _ => there,
        }
    }

    /// All bytes.
    pub fn total(&self) -> u64 {
        self.spans().map(|(r, _)| r.len()).sum()
    }
}
