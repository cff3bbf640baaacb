//! What a boot tells the outside: memblock's events, log lines and phase changes.
//!
//! Nothing in the boot path prints. Whoever calls [`crate::boot()`] hands in an [`EventSink`]; the command renders what
//! arrives in the kernel's own dmesg wording, `conform` compares it, an embedder may throw it away.

use core::fmt;
use pagewright_memblock as memblock;

/// Receives everything a boot has to say. Takes `&self`: a sink that keeps something uses interior mutability.
pub trait EventSink: memblock::Sink {
    /// A line of the kernel log, without time stamp.
    fn line(&self, level: Level, text: fmt::Arguments<'_>);

    /// The boot enters a phase.
    fn phase(&self, _phase: Phase, _memblock: &memblock::Memblock<'_>) {}

    /// Something happens to page tables.
    fn page_tables(&self, _event: crate::pgtable::TableEvent) {}
}

/// When Linux prints a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Errors and warnings (`pr_err`, `pr_warn`).
    Warning,
    /// Always in dmesg (`pr_info`, `pr_notice`).
    Info,
    /// Only with `mminit_loglevel=`, `memblock=debug` or `ignore_loglevel` (`pr_debug`).
    Debug,
}

/// The phases of a boot, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Memory comes in from the firmware; nothing of it is logged by memblock yet.
    Firmware,
    /// `parse_early_param` has run: from here on `memblock=debug` is in force.
    EarlyParams,
    /// The architecture settles memblock: limits, kernel image, initrd, reserved-memory.
    Memblock,
    /// The kernel's page tables: linear map, image.
    PagingInit,
    /// NUMA, sparse memory, zones, CMA, crash kernel.
    BootmemInit,
    /// Rest of `setup_arch`.
    SetupArch,
    /// The per-CPU first chunk.
    PerCpu,
    /// Zonelists, command line, log buffer, hash tables.
    StartKernel,
    /// `mem_init`: memblock hands over to the page allocator.
    MemInit,
    /// Watermarks and per-CPU page lists: the page allocator is in service.
    Running,
}

impl Phase {
    /// All phases in order.
    pub const ALL: [Self; 10] = [
        Self::Firmware,
        Self::EarlyParams,
        Self::Memblock,
        Self::PagingInit,
        Self::BootmemInit,
        Self::SetupArch,
        Self::PerCpu,
        Self::StartKernel,
        Self::MemInit,
        Self::Running,
    ];

    /// What the phase does, in a few words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Firmware => "firmware tables",
            Self::EarlyParams => "command line",
            Self::Memblock => "memblock set-up",
            Self::PagingInit => "page tables",
            Self::BootmemInit => "nodes, zones, CMA",
            Self::SetupArch => "rest of setup_arch",
            Self::PerCpu => "per-CPU first chunk",
            Self::StartKernel => "start_kernel",
            Self::MemInit => "hand-over to the buddy",
            Self::Running => "watermarks",
        }
    }
}

/// A sink that keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl memblock::Sink for Quiet {
    fn event(&self, _: &memblock::Event) {}
}

impl EventSink for Quiet {
    fn line(&self, _: Level, _: fmt::Arguments<'_>) {}
}
