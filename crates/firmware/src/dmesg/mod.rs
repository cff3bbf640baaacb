//! A pasted kernel log, line by line: which lines describe the machine, and what they say.
//!
//! [`classify`] looks at one line and needs no other; whoever builds a machine from a log keeps what it wants.
//! Lines may carry a time stamp, a syslog header, a priority (`<6>`), the `|` of a quoted mail, or nothing at all.
//! A line that starts like a known one but does not continue like it is [`Line::Malformed`]: a truncated paste is
//! told apart from a line that says nothing.

mod facts;
mod prefix;
mod scan;

pub use facts::{Banner, MemoryLine, PerCpuLine};
pub use prefix::strip_prefix;
pub(crate) use scan::Scan;

use crate::acpi::{SratLine, parse_srat_line};
use crate::e820::{MapLine, parse_map_line};
use crate::efi::EfiEntry;
use pagewright_addr::{PhysAddr, PhysRange};

/// What a line of the log says about the machine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Line<'a> {
    /// `Linux version 6.1.0-50-arm64 (...) #1 SMP ...`.
    Banner(Banner<'a>),
    /// `Machine model: linux,dummy-virt`, from the device tree.
    MachineModel(&'a str),
    /// `Command line: ...` (x86, as the boot loader gave it) or `Kernel command line: ...`.
    CommandLine(&'a str),
    /// A line of a printed e820 map.
    E820(MapLine),
    /// A line of the EFI memory map.
    Efi(EfiEntry),
    /// A line about an entry of the SRAT.
    Srat(SratLine),
    /// `ACPI: SRAT 0x000000007FFE23AE 000160 (...)`: where a table is.
    AcpiTable {
        /// Its signature.
        signature: &'a str,
        /// Its bytes.
        range: PhysRange,
    },
    /// `ACPI: Reserving FACP table memory at [mem ...]`.
    AcpiReserving {
        /// Its signature.
        signature: &'a str,
        /// Its bytes.
        range: PhysRange,
    },
    /// `found SMP MP-table at [mem ...]`: the floating pointer.
    MpTable(PhysRange),
    /// `memblock_reserve: [...] caller+0x0/0x0`, with `memblock=debug`.
    MemblockReserve {
        /// What was reserved.
        range: PhysRange,
        /// The function that did it.
        caller: &'a str,
    },
    /// `RAMDISK: [mem ...]` (x86).
    RamDisk(PhysRange),
    /// `smpboot: Allowing 4 CPUs, 0 hotplug CPUs`.
    AllowingCpus {
        /// All that may ever run.
        possible: u32,
        /// Those of them that are not there yet.
        hotplug: u32,
    },
    /// `setup_percpu: NR_CPUS:8192 nr_cpumask_bits:4 nr_cpu_ids:4 nr_node_ids:4`.
    SetupPerCpu {
        /// CONFIG_NR_CPUS.
        nr_cpus: u32,
        /// Possible processors.
        nr_cpu_ids: u32,
        /// Possible nodes.
        nr_node_ids: u32,
    },
    /// `percpu: Embedded 62 pages/cpu s217088 r8192 d28672 u2097152`.
    PerCpu(PerCpuLine),
    /// `Using GB pages for direct mapping`.
    GbPages,
    /// `last_pfn = 0x180000 max_arch_pfn = 0x400000000`.
    LastPfn {
        /// The frame after the last RAM.
        last_pfn: u64,
        /// The most frames that the processor's paging mode reaches.
        max_arch_pfn: u64,
    },
    /// `Memory: 983792K/1048576K available (...)`.
    Memory(MemoryLine),
    /// Starts like one of the above but does not continue like it.
    Malformed {
        /// What such a line looks like.
        expected: &'static str,
    },
    /// Anything else, without its prefix.
    Other(&'a str),
}

/// Says what `line` is. The line may end in a newline.
pub fn classify(line: &str) -> Line<'_> {
    let text = strip_prefix(line);
    if let Some(result) = parse_map_line(text) {
        return result.map_or_else(|_| malformed("BIOS-e820: [mem 0xFIRST-0xLAST] KIND"), Line::E820);
    }
    if let Some(result) = parse_srat_line(text) {
        return result.map_or_else(
            |_| {
                malformed(
                    "SRAT: PXM N -> APIC 0xN -> Node N, or ACPI: SRAT: Node N PXM N [mem 0xFIRST-0xLAST]",
                )
            },
            Line::Srat,
        );
    }
    if let Some(result) = crate::efi::parse_dmesg_line(text) {
        return result.map_or_else(
            |_| malformed("efi: memNN: [KIND|ATTRIBUTES] range=[0xFIRST-0xLAST] (SIZE)"),
            Line::Efi,
        );
    }
    let line = RULES.iter().find_map(|rule| rule.apply(text));
    line.or_else(|| acpi_table(text)).unwrap_or(Line::Other(text))
}

/// `ACPI: SIGN 0xADDRESS LENGTH (...)`: too many other messages start like it to call any of them malformed.
fn acpi_table(text: &str) -> Option<Line<'_>> {
    let mut scan = Scan::new(text);
    scan.literal("ACPI: ")?;
    let signature = scan.until(" 0x").filter(|s| s.len() == 4 && s.is_ascii())?;
    let start = scan.hex()?;
    scan.literal(" ")?;
    let range = PhysRange::from_len(PhysAddr::new(start), scan.hex()?);
    Some(Line::AcpiTable { signature, range })
}

const fn malformed(expected: &'static str) -> Line<'static> {
    Line::Malformed { expected }
}

/// A kind of line that is known by its first words.
struct Rule {
    prefix: &'static str,
    expected: &'static str,
    read: for<'a> fn(Scan<'a>) -> Option<Line<'a>>,
}

impl Rule {
    fn apply<'a>(&self, text: &'a str) -> Option<Line<'a>> {
        let rest = text.strip_prefix(self.prefix)?;
        Some((self.read)(Scan::new(rest)).unwrap_or(malformed(self.expected)))
    }
}

const RULES: [Rule; 15] = [
    Rule {
        prefix: "Linux version ",
        expected: "Linux version RELEASE ...",
        read: |s| Banner::parse(s.rest()).map(Line::Banner),
    },
    Rule { prefix: "Command line: ", expected: "", read: |s| Some(Line::CommandLine(s.rest())) },
    Rule { prefix: "Kernel command line: ", expected: "", read: |s| Some(Line::CommandLine(s.rest())) },
    Rule { prefix: "Machine model: ", expected: "", read: |s| Some(Line::MachineModel(s.rest())) },
    Rule { prefix: "OF: fdt: Machine model: ", expected: "", read: |s| Some(Line::MachineModel(s.rest())) },
    Rule {
        prefix: "ACPI: Reserving ",
        expected: "ACPI: Reserving NAME table memory at [mem 0xFIRST-0xLAST]",
        read: acpi_reserving,
    },
    Rule {
        prefix: "found SMP MP-table at ",
        expected: "found SMP MP-table at [mem 0xFIRST-0xLAST]",
        read: mp_table,
    },
    Rule {
        prefix: "memblock_reserve: ",
        expected: "memblock_reserve: [0xFIRST-0xLAST] CALLER",
        read: memblock_reserve,
    },
    Rule {
        prefix: "RAMDISK: ",
        expected: "RAMDISK: [mem 0xFIRST-0xLAST]",
        read: |mut s| s.mem().map(Line::RamDisk),
    },
    Rule {
        prefix: "smpboot: Allowing ",
        expected: "smpboot: Allowing N CPUs, N hotplug CPUs",
        read: allowing_cpus,
    },
    Rule {
        prefix: "setup_percpu: ",
        expected: "setup_percpu: NR_CPUS:N nr_cpumask_bits:N nr_cpu_ids:N nr_node_ids:N",
        read: setup_percpu,
    },
    Rule {
        prefix: "percpu: Embedded ",
        expected: "percpu: Embedded N pages/cpu sN rN dN uN",
        read: |s| PerCpuLine::parse(s).map(Line::PerCpu),
    },
    Rule { prefix: "Using GB pages for direct mapping", expected: "", read: |_| Some(Line::GbPages) },
    Rule { prefix: "last_pfn = ", expected: "last_pfn = 0xN max_arch_pfn = 0xN", read: last_pfn },
    Rule {
        prefix: "Memory: ",
        expected: "Memory: NK/NK available (...)",
        read: |s| MemoryLine::parse(s).map(Line::Memory),
    },
];

fn acpi_reserving(mut scan: Scan<'_>) -> Option<Line<'_>> {
    let signature = scan.until(" table memory at ")?;
    Some(Line::AcpiReserving { signature, range: scan.mem()? })
}

fn mp_table(mut scan: Scan<'_>) -> Option<Line<'_>> {
    if let Some(range) = scan.mem() {
        return Some(Line::MpTable(range));
    }
    // Newer kernels name the place of the 16 bytes only, older ones put brackets around addresses.
    scan.literal("[mem ")?;
    let (first, last) = scan.first_last()?;
    scan::range(first, last).map(Line::MpTable)
}

fn memblock_reserve(mut scan: Scan<'_>) -> Option<Line<'_>> {
    scan.literal("[")?;
    let (first, last) = scan.first_last()?;
    scan.literal("]")?;
    scan.spaces();
    let caller = scan.rest();
    let caller = caller.split_once('+').map_or(caller, |(name, _)| name);
    // An empty reservation prints a last byte below its first.
    let end = last.checked_add(1)?;
    let range = PhysRange::new(PhysAddr::new(first), PhysAddr::new(end));
    Some(Line::MemblockReserve { range, caller })
}

fn allowing_cpus(mut scan: Scan<'_>) -> Option<Line<'_>> {
    let possible = number(&mut scan)?;
    scan.literal(" CPUs, ")?;
    let hotplug = number(&mut scan)?;
    scan.literal(" hotplug CPUs")?;
    Some(Line::AllowingCpus { possible, hotplug })
}

fn setup_percpu(mut scan: Scan<'_>) -> Option<Line<'_>> {
    scan.literal("NR_CPUS:")?;
    let nr_cpus = number(&mut scan)?;
    scan.until(" nr_cpu_ids:")?;
    let nr_cpu_ids = number(&mut scan)?;
    scan.until(" nr_node_ids:")?;
    Some(Line::SetupPerCpu { nr_cpus, nr_cpu_ids, nr_node_ids: number(&mut scan)? })
}

fn last_pfn(mut scan: Scan<'_>) -> Option<Line<'_>> {
    let last_pfn = scan.hex()?;
    scan.literal(" max_arch_pfn = ")?;
    Some(Line::LastPfn { last_pfn, max_arch_pfn: scan.hex()? })
}

/// A decimal number of 32 bits.
pub(crate) fn number(scan: &mut Scan<'_>) -> Option<u32> {
    u32::try_from(scan.decimal()?).ok()
}

#[cfg(test)]
mod tests;
