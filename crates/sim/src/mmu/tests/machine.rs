//! A machine for tests: tables of one format in simulated RAM, and CPUs that use them.

use super::super::kernel_registers as registers;
use super::*;
use pagewright_addr::VirtRange;
use pagewright_pagetable::format::FormatKind;
use pagewright_pagetable::{
    Attr, AttrFlags, FlushScope, Format, Level, MapOptions, TableSource, Tables, Word,
};

/// Pages from an address on; those that came back are used first.
pub(super) struct Pages {
    next: u64,
    end: u64,
    page_bytes: u64,
    free: Vec<PhysAddr>,
}

impl TableSource for Pages {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        self.free.pop().or_else(|| {
            let page = (self.next < self.end).then_some(PhysAddr::new(self.next))?;
            self.next += self.page_bytes;
            Some(page)
        })
    }

    fn free_table(&mut self, page: PhysAddr) {
        self.free.push(page);
    }
}

/// Whose words a format's faults are told in.
pub(super) fn arch(kind: FormatKind) -> Arch {
    match kind {
        FormatKind::ArmShort => Arch::ArmShort,
        FormatKind::ArmLpae => Arch::ArmLong,
        FormatKind::X86Level4 | FormatKind::X86Level5 | FormatKind::I386 | FormatKind::I386Pae => Arch::X86,
        _ => Arch::Arm64,
    }
}

/// The memory for a format's tables.
pub(super) fn memory_for<F: Format>() -> PhysMemory {
    memory(if F::Word::BYTES == 4 { EntryWidth::Bits32 } else { EntryWidth::Bits64 })
}

/// An empty tree at 1 MiB, its pages behind it, and the registers for it.
pub(super) fn tree<F: Format>(
    kind: FormatKind,
    format: F,
    memory: &PhysMemory,
) -> (Tables<F, &PhysMemory>, Pages, Registers) {
    let root = 1 << 20;
    let page_bytes = F::SHAPE.page_bytes();
    let pages = Pages { next: 2 << 20, end: 64 << 20, page_bytes, free: Vec::new() };
    (Tables::new(format, memory, PhysAddr::new(root)), pages, registers(kind, root))
}

/// What a CPU can reach of memory in this format.
pub(super) fn phys_bits<F: Format>(kind: FormatKind) -> u32 {
    match kind {
        FormatKind::I386 | FormatKind::ArmShort => 32,
        FormatKind::I386Pae => 36,
        FormatKind::ArmLpae => 40,
        _ if F::SHAPE.level(Level::PTE).shift == 16 && F::SHAPE.va_bits() == 52 => 52,
        _ => 46,
    }
}

/// A page table and two CPUs that use it.
pub(super) struct Machine<'m, F: Format> {
    pub(super) tables: Tables<F, &'m PhysMemory>,
    pub(super) pages: Pages,
    pub(super) registers: Registers,
    pub(super) mmu: Mmu<'m>,
}

impl<'m, F: Format> Machine<'m, F> {
    pub(super) fn new(kind: FormatKind, format: F, memory: &'m PhysMemory) -> Self {
        let (tables, pages, registers) = tree(kind, format, memory);
        let mmu = Mmu::new(memory, 2, registers, Strictness::STRICT).unwrap();
        Self { tables, pages, registers, mmu }
    }

    /// Maps `len` bytes at `start` to the memory at `phys`, for the kernel.
    pub(super) fn map(&mut self, start: u64, len: u64, phys: u64, options: &MapOptions) {
        let flags = AttrFlags::WRITE | AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY;
        let range = VirtRange::from_len(va(start), len);
        self.tables
            .cursor()
            .map(range, PhysAddr::new(phys), Attr::normal(flags), options, &mut self.pages)
            .unwrap();
    }

    pub(super) fn violation(&self, cpu: usize, at: u64, access: Access) -> Violation {
        match self.mmu.access(cpu, va(at), access) {
            Err(AccessError::Violation(violation)) => *violation,
            other => panic!("{other:?}"),
        }
    }
}

/// A flush of `len` bytes in steps, of every address space, leaves only.
pub(super) fn scope(start: u64, len: u64, stride_bytes: u64) -> FlushScope {
    let range = VirtRange::from_len(va(start), len);
    FlushScope { range, stride_bytes, level: None, tables_freed: false, asid: None }
}

/// Where the kernel's linear map begins.
pub(super) const X86: u64 = 0xffff_8880_0000_0000;
/// Where arm64's upper half begins with 39 bits.
pub(super) const ARM64: u64 = 0xffff_ff80_0000_0000;
