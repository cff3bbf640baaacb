//! The kernel's page tables as Linux's ptdump shows them.

use pagewright::Boot;
use pagewright::pgtable::{KernelFormat, KernelTables, x86};
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_pagetable::{AttrFlags, Leaf, Level, MemoryType, TableLimits};

/// Where the kernel's mappings lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ranges {
    /// RAM at its fixed distance.
    pub linear: VirtRange,
    /// The kernel image.
    pub image: VirtRange,
    /// Fixed mappings.
    pub fixmap: VirtRange,
    /// The memory map.
    pub vmemmap: VirtRange,
}

impl Ranges {
    /// Those of a booted machine.
    pub fn of(boot: &Boot<'_>) -> Self {
        let range = |start: u64, len: u64| VirtRange { start: VirtAddr::new(start), len };
        let start = boot.linear_map().virt(boot.memstart).get();
        match boot.machine.arch {
            Arch::X86_64 => Self {
                linear: range(start, if boot.machine.cpus.la57 { 32 << 50 } else { 64 << 40 }),
                image: range(x86::START_KERNEL_MAP, x86::kernel_image_size(boot.machine)),
                fixmap: range(0xffff_ffff_ff00_0000, 0x80_0000),
                vmemmap: range(
                    boot.vmemmap().base.get(),
                    if boot.machine.cpus.la57 { 512 << 40 } else { 1 << 40 },
                ),
            },
            _ => Self {
                linear: range(start, 0),
                image: range(0, 0),
                fixmap: range(0, 0),
                vmemmap: range(0, 0),
            },
        }
    }

    /// With their names, in the order of a report.
    pub fn compared(&self) -> [(&'static str, VirtRange); 4] {
        [
            ("linear map", self.linear),
            ("kernel image", self.image),
            ("fixmap", self.fixmap),
            ("vmemmap", self.vmemmap),
        ]
    }
}

/// A leaf's attributes in the words of the captured tables.
pub fn attributes(tables: &KernelTables<'_>, level: Level, leaf: &Leaf, limits: TableLimits) -> String {
    let _ = level;
    match tables.format {
        KernelFormat::X86Level4(_) | KernelFormat::X86Level5(_) => x86(leaf, limits),
    }
}

/// `w`ritable, `u`ser, e`x`ecutable, `G`lobal, `C`ache disabled, `W`rite through.
fn x86(leaf: &Leaf, limits: TableLimits) -> String {
    let flags = limits.apply(leaf.attr.flags);
    let exec = flags.intersects(AttrFlags::EXEC | AttrFlags::USER_EXEC);
    // The PAT index's two lower bits.
    let (disabled, through) = match leaf.attr.memory {
        MemoryType::StronglyOrdered | MemoryType::WriteThrough => (true, true),
        MemoryType::UncachedMinus => (true, false),
        MemoryType::WriteCombine | MemoryType::WriteProtect => (false, true),
        _ => (false, false),
    };
    [
        (flags.contains(AttrFlags::WRITE), 'w'),
        (flags.contains(AttrFlags::USER), 'u'),
        (exec, 'x'),
        (leaf.attr.flags.contains(AttrFlags::GLOBAL), 'G'),
        (disabled, 'C'),
        (through, 'W'),
    ]
    .map(|(set, letter)| if set { letter } else { '-' })
    .iter()
    .collect()
}
