//! The page tables of whole arm64 boots, seen by the software MMU: heads, layouts of each version, page and address sizes.

mod head;
mod rights;
mod shapes;
mod versions;

use crate::support::facts::{Depth, Facts};
use crate::support::spec::{RAM, arm64, image, larger_pages};
use crate::support::tables::rights;
use crate::support::{GIB, MIB, Spec};
use pagewright::pgtable::arm64::head::Head;
use pagewright::pgtable::arm64::mmu::MmuRegisters;
use pagewright::pgtable::{KernelTables, Path, Switched, TableCounts, TableEvent};
use pagewright::{Boot, BootError};
use pagewright_addr::{PageShift, PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_kspace::Version;
use pagewright_pagetable::{AttrFlags, Level, MemoryType, RunKind};
use pagewright_sim::mmu::{Arm64Registers, Registers};
use pagewright_sim::{EntryWidth, PhysMemory};

/// The versions between which something changes, by what is new in each.
const VERSIONS: [(u16, u16); 13] = [
    (5, 0),  // the oldest
    (5, 3),  // the last with the linear map above
    (5, 4),  // the linear map below
    (5, 9),  // the last with device types first
    (5, 10), // memory with tags
    (5, 11), // vmemmap as a projection of the linear map, the crash kernel later
    (5, 12), // the last without limits in entries that lead to tables
    (5, 13), // limits in entries that lead to tables
    (5, 16), // the last with a region for BPF programs
    (5, 17), // the image right above the modules
    (5, 18), // the crash kernel by zones
    (5, 19), // the last with `__create_page_tables`
    (6, 1),
];

fn versions() -> impl Iterator<Item = Version> {
    VERSIONS.into_iter().map(|(major, minor)| Version::new(major, minor))
}

/// Every page size with the address sizes that kernels have.
const SHAPES: [(PageShift, u8); 7] = [
    (PageShift::SHIFT_4K, 39),
    (PageShift::SHIFT_4K, 48),
    (PageShift::SHIFT_16K, 36),
    (PageShift::SHIFT_16K, 47),
    (PageShift::SHIFT_16K, 48),
    (PageShift::SHIFT_64K, 42),
    (PageShift::SHIFT_64K, 48),
];

/// A machine of that shape, its image 2 MiB into RAM.
fn shaped(shift: PageShift, va_bits: u8, mib: u64) -> Spec {
    let mut spec = arm64(mib).config(|c| {
        let levels = (u32::from(va_bits) - shift.get()).div_ceil(shift.get() - 3);
        larger_pages(c, shift, va_bits);
        c.pgtable_levels = levels as u8;
    });
    spec.image = image(spec.config.arch, RAM + 2 * MIB, va_bits);
    spec
}

/// A run of leaves.
#[derive(Clone, Copy, Debug)]
struct Leaves {
    range: VirtRange,
    phys: u64,
    level: Level,
    contiguous: bool,
    memory: MemoryType,
    flags: AttrFlags,
}

/// What a boot left behind.
struct Built {
    ram: &'static PhysMemory,
    spec: Spec,
    facts: Facts,
    counts: TableCounts,
    head: MmuRegisters,
    /// How many tables each of the head's trees has.
    head_tables: [u64; 2],
    switched: Switched,
    events: Vec<TableEvent>,
    /// `swapper_pg_dir`.
    kernel: KernelTables<'static>,
    leaves: Vec<Leaves>,
    /// `vmemmap` of the first frame of RAM.
    first_page: u64,
    linear: u64,
}

/// RAM that lasts as long as the tests, with something in it where the first tables will be.
fn ram(spec: &Spec) -> &'static PhysMemory {
    let all = [PhysRange::from_len(PhysAddr::new(RAM), 16 * GIB)];
    let ram: &'static PhysMemory = Box::leak(Box::new(PhysMemory::new(all, EntryWidth::Bits64)));
    let image = spec.image;
    let garbage = vec![0xff; 2 * MIB as usize];
    for at in [image.init_begin.saturating_sub(2 * MIB), image.end.saturating_sub(2 * MIB)] {
        ram.write(at, &garbage).unwrap();
    }
    ram
}

/// Boots to the end with memory for tables.
fn try_build(spec: Spec, version: Version) -> Result<Built, BootError> {
    let ram = ram(&spec);
    let mut seen = None;
    let (result, log) = spec.boot_to_the_end(
        |b| {
            b.set_version(version);
            b.set_table_memory(ram);
        },
        |boot: &Boot<'_>| {
            assert_eq!(boot.table_counts.mismatch(), None, "{version}");
            assert_eq!(boot.table_error, None, "{version}");
            let tables = boot.pgtable.expect("there is memory for tables");
            let kernel = KernelTables { memory: ram, root: tables.root, format: tables.format };
            let Head { registers, switched, tables, .. } = boot.arm64_head.expect("a head");
            let first = boot.mb.start_of_dram();
            let page = boot.vmemmap().page(first.pfn(boot.machine.config.page_shift)).get();
            let linear = boot.linear_map().virt(first).get();
            seen = Some((kernel, registers, switched, tables, page, linear, boot.table_counts.clone()));
        },
    );
    let facts = result?;
    let (kernel, head, switched, head_tables, first_page, linear, counts) = seen.expect("an end");
    let events = log.tables.borrow().clone();
    let leaves = leaves(&kernel);
    Ok(Built {
        ram,
        spec,
        facts,
        counts,
        head,
        head_tables,
        switched,
        events,
        kernel,
        leaves,
        first_page,
        linear,
    })
}

#[track_caller]
fn build(spec: Spec, version: Version) -> Built {
    try_build(spec, version).unwrap_or_else(|e| panic!("{version}: the boot stopped: {e}"))
}

/// As 6.1 builds them.
#[track_caller]
fn newest(spec: Spec) -> Built {
    build(spec, Version::V6_1)
}

fn leaves(tables: &KernelTables<'_>) -> Vec<Leaves> {
    let mut out = Vec::new();
    tables.with(|tree| {
        let all = tree.window().ranges()[0];
        let walked = tree.walk(all, &mut |run| {
            let RunKind::Leaf(leaf) = run.kind else { panic!("{run:?}") };
            let attr = leaf.attr;
            out.push(Leaves {
                range: run.range,
                phys: leaf.phys.get(),
                level: run.level,
                contiguous: leaf.contiguous,
                memory: attr.memory,
                flags: run.limits.apply(attr.flags),
            });
        });
        walked.expect("sound tables");
    });
    out
}

/// What a processor with these registers may do at an address, and where that leads.
fn seen(ram: &PhysMemory, registers: &MmuRegisters, spec: &Spec, va: u64) -> (String, Option<u64>) {
    let registers = Registers::Arm64(Arm64Registers {
        phys_bits: spec.config.pa_bits.into(),
        large_va: spec.config.va_bits > 48,
        ..Arm64Registers::new(registers.ttbr0.get(), registers.ttbr1.get(), registers.tcr, registers.mair)
    });
    rights(ram, &registers, va)
}

impl Built {
    /// What the head's registers make of an address.
    fn at_head(&self, va: u64) -> (String, Option<u64>) {
        seen(self.ram, &self.head, &self.spec, va)
    }

    /// The running kernel's: the same registers but for TTBR1.
    fn registers(&self) -> MmuRegisters {
        MmuRegisters { ttbr1: self.kernel.root, ..self.head }
    }

    /// The rights at an address, which must lead to `phys` if it is mapped.
    #[track_caller]
    fn rights(&self, va: u64, phys: u64) -> String {
        let (rights, at) = seen(self.ram, &self.registers(), &self.spec, va);
        assert!(at.is_none_or(|at| at == phys), "{va:#x} leads to {at:x?}, not to {phys:#x}");
        rights
    }

    /// The rights in the linear map.
    #[track_caller]
    fn linear(&self, phys: u64) -> String {
        self.rights(self.linear.wrapping_add(phys - RAM), phys)
    }

    /// The rights in the image's mapping.
    #[track_caller]
    fn image(&self, phys: u64) -> String {
        self.rights(phys.wrapping_add(self.switched.kimage_voffset), phys)
    }

    fn path(&self, va: u64) -> Path {
        self.kernel.with(|tree| tree.path(VirtAddr::new(va)))
    }

    /// The run of leaves that an address is in.
    #[track_caller]
    fn leaf(&self, va: u64) -> Leaves {
        let va = VirtAddr::new(va);
        *self.leaves.iter().find(|l| l.range.contains(va)).unwrap_or_else(|| panic!("{va:?} is not mapped"))
    }

    /// The largest leaves of the linear map by level, and whether any group of them is contiguous; without the image's code and
    /// constants, which are mapped by themselves.
    fn linear_leaves(&self) -> (Level, bool) {
        let image = self.spec.image;
        let alias = PhysRange::new(image.text_start, image.init_begin);
        let linear = VirtRange { start: VirtAddr::new(self.linear), len: 8 * GIB };
        let all: Vec<_> = self
            .leaves
            .iter()
            .filter(|l| linear.contains(l.range.start) && !alias.contains(PhysAddr::new(l.phys)))
            .collect();
        (all.iter().map(|l| l.level).max().expect("a linear map"), all.iter().any(|l| l.contiguous))
    }
}
