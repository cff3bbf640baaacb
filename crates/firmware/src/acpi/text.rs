//! SRAT entries as the kernel logs them: each line says what one enabled entry of the table says, and which node its
//! domain became.

use super::{SratCpu, SratCpuKind, SratMemory};
use crate::dmesg::Scan;
use core::fmt;

/// A logged SRAT entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SratLine {
    /// `ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x0009ffff]`, with ` hotplug` and ` non-volatile` after it.
    Memory {
        /// The entry.
        memory: SratMemory,
        /// The node its domain became.
        node: u32,
    },
    /// `SRAT: PXM 0 -> APIC 0x00 -> Node 0`.
    Cpu {
        /// The entry.
        cpu: SratCpu,
        /// The node its domain became.
        node: u32,
    },
}

/// What is wrong with a line that starts like one of the above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SratLineError {
    /// Not `Node N PXM N [mem 0xFIRST-0xLAST]`.
    Memory,
    /// Not `PXM N -> APIC 0xN -> Node N`.
    Cpu,
}

impl fmt::Display for SratLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "expected ACPI: SRAT: Node N PXM N [mem 0xFIRST-0xLAST]",
            Self::Cpu => "expected SRAT: PXM N -> APIC 0xN -> Node N",
        })
    }
}

impl core::error::Error for SratLineError {}

/// Reads a log line about an SRAT entry, with or without a time stamp; `None` for any other line.
pub fn parse_srat_line(line: &str) -> Option<Result<SratLine, SratLineError>> {
    let text = crate::dmesg::strip_prefix(line);
    // Kernels have logged both kinds with and without the subsystem's name in front.
    let rest = text.strip_prefix("ACPI: ").unwrap_or(text).strip_prefix("SRAT: ")?;
    let scan = Scan::new(rest);
    if rest.starts_with("Node ") {
        Some(memory(scan).ok_or(SratLineError::Memory))
    } else if rest.starts_with("PXM ") {
        Some(cpu(scan).ok_or(SratLineError::Cpu))
    } else {
        None
    }
}

fn memory(mut scan: Scan<'_>) -> Option<SratLine> {
    scan.literal("Node ")?;
    let node = u32::try_from(scan.decimal()?).ok()?;
    scan.literal(" PXM ")?;
    let pxm = u32::try_from(scan.decimal()?).ok()?;
    scan.literal(" ")?;
    let range = scan.mem()?;
    let mut flags = scan.rest().split_whitespace();
    let (hotpluggable, non_volatile) =
        flags.try_fold((false, false), |(hotplug, volatile), word| match word {
            "hotplug" => Some((true, volatile)),
            "non-volatile" => Some((hotplug, true)),
            _ => None,
        })?;
    let memory = SratMemory { pxm, range, hotpluggable, non_volatile, enabled: true };
    Some(SratLine::Memory { memory, node })
}

fn cpu(mut scan: Scan<'_>) -> Option<SratLine> {
    scan.literal("PXM ")?;
    let pxm = u32::try_from(scan.decimal()?).ok()?;
    scan.literal(" -> APIC ")?;
    let digits = scan.rest().bytes().skip(2).take_while(u8::is_ascii_hexdigit).count();
    let apic_id = u32::try_from(scan.hex()?).ok()?;
    scan.literal(" -> Node ")?;
    let node = u32::try_from(scan.decimal()?).ok()?;
    // The kernel prints x2APIC ids with four digits, others with two.
    let kind = if digits > 2 { SratCpuKind::X2Apic } else { SratCpuKind::LocalApic };
    Some(SratLine::Cpu { cpu: SratCpu { pxm, apic_id, enabled: true, kind }, node })
}
