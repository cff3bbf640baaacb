//! Tables that a module brings for the kernel: the symbols that it exports, and where it may fault.
//!
//! - `__ksymtab` and `__ksymtab_gpl` name what other modules may use: [`Module::find_export`] is for a [`ModuleHost::symbol`](super::ModuleHost::symbol) that looks
//!   into the modules that are loaded.
//! - `__ex_table` says for an instruction that may fault where to go on: sorted when the module is loaded, as Linux's `sort_extable` does, and searched by
//!   [`Module::search_extable`].
//!
//! Entries of x86_64 and arm64 are 12 bytes whose addresses are distances from where they stand; arm has addresses, and pairs of them for faults.

use super::fixup::Fixup;
use super::host::CodeMemory;
use super::layout::Part;
use super::load::Module;
use super::relocate::ModuleArch;
use pagewright_addr::{VirtAddr, VirtRange};

/// Where a module's tables lie; empty where it has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ModuleTables {
    pub(super) exports: VirtRange,
    pub(super) gpl_exports: VirtRange,
    pub(super) faults: VirtRange,
}

impl ModuleTables {
    /// The table that a section is.
    pub(super) fn of(&mut self, section: &str) -> Option<&mut VirtRange> {
        match section {
            "__ksymtab" => Some(&mut self.exports),
            "__ksymtab_gpl" => Some(&mut self.gpl_exports),
            "__ex_table" => Some(&mut self.faults),
            _ => None,
        }
    }
}

/// A symbol that a module exports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Export {
    /// Its address.
    pub address: u64,
    /// Whether only modules under the GPL may use it (`EXPORT_SYMBOL_GPL`).
    pub gpl: bool,
}

/// An entry of the table of faults.
#[derive(Clone, Copy)]
struct Entry {
    instruction: u64,
    fixup: Fixup,
}

/// A word of 32 bits.
fn word(memory: &mut impl CodeMemory, at: u64) -> u32 {
    let mut bytes = [0; 4];
    memory.read(VirtAddr::new(at), &mut bytes);
    u32::from_le_bytes(bytes)
}

/// An address that stands there.
fn pointer(memory: &mut impl CodeMemory, arch: ModuleArch, at: u64) -> u64 {
    let word = word(memory, at);
    match arch {
        ModuleArch::Arm => word.into(),
        ModuleArch::X86_64 | ModuleArch::Arm64 => at.wrapping_add_signed(i64::from(word as i32)),
        // Addresses have 32 bits.
        ModuleArch::I386 => u64::from((at as u32).wrapping_add(word)),
    }
}

fn put_pointer(memory: &mut impl CodeMemory, arch: ModuleArch, at: u64, to: u64) {
    let word = match arch {
        ModuleArch::Arm => to,
        ModuleArch::X86_64 | ModuleArch::I386 | ModuleArch::Arm64 => to.wrapping_sub(at),
    };
    memory.write(VirtAddr::new(at), &(word as u32).to_le_bytes());
}

/// The table of faults.
#[derive(Clone, Copy)]
pub(super) struct Faults {
    arch: ModuleArch,
    first: u64,
    count: u64,
}

impl Faults {
    pub(super) fn new(arch: ModuleArch, range: VirtRange) -> Self {
        let bytes = if arch == ModuleArch::Arm { 8 } else { 12 };
        Self { arch, first: range.start.get(), count: range.len / bytes }
    }

    fn at(&self, n: u64) -> u64 {
        self.first + n * if self.arch == ModuleArch::Arm { 8 } else { 12 }
    }

    fn get(&self, memory: &mut impl CodeMemory, n: u64) -> Entry {
        let at = self.at(n);
        let instruction = pointer(memory, self.arch, at);
        let address = pointer(memory, self.arch, at + 4);
        let kind = if self.arch == ModuleArch::Arm { 0 } else { word(memory, at + 8) };
        Entry { instruction, fixup: Fixup { address, kind } }
    }

    fn put(&self, memory: &mut impl CodeMemory, n: u64, entry: &Entry) {
        let at = self.at(n);
        put_pointer(memory, self.arch, at, entry.instruction);
        put_pointer(memory, self.arch, at + 4, entry.fixup.address);
        if self.arch != ModuleArch::Arm {
            memory.write(VirtAddr::new(at + 8), &entry.fixup.kind.to_le_bytes());
        }
    }

    /// Sorts by instruction, in place: a heap, so that no table takes long.
    pub(super) fn sort(&self, memory: &mut impl CodeMemory) {
        for root in (0..self.count / 2).rev() {
            self.sink(memory, root, self.count);
        }
        for end in (1..self.count).rev() {
            let (first, last) = (self.get(memory, 0), self.get(memory, end));
            self.put(memory, 0, &last);
            self.put(memory, end, &first);
            self.sink(memory, 0, end);
        }
    }

    fn sink(&self, memory: &mut impl CodeMemory, mut at: u64, end: u64) {
        let entry = self.get(memory, at);
        loop {
            let left = 2 * at + 1;
            if left >= end {
                break;
            }
            let mut child = (left, self.get(memory, left));
            if left + 1 < end {
                let right = self.get(memory, left + 1);
                if right.instruction > child.1.instruction {
                    child = (left + 1, right);
                }
            }
            if child.1.instruction <= entry.instruction {
                break;
            }
            self.put(memory, at, &child.1);
            at = child.0;
        }
        self.put(memory, at, &entry);
    }

    fn find(&self, memory: &mut impl CodeMemory, instruction: u64) -> Option<Fixup> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.get(memory, middle);
            match entry.instruction.cmp(&instruction) {
                core::cmp::Ordering::Equal => return Some(entry.fixup),
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// Where a module may fault, for whoever handles faults: a copy of what [`Module::search_extable`] looks at, good until the module's init part or the module
/// itself goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultTable {
    arch: ModuleArch,
    table: VirtRange,
    /// The addresses that are the module's.
    own: [VirtRange; 2],
}

impl FaultTable {
    /// Where to go on if an instruction of the module's faults; `None` if it must not.
    pub fn search(&self, memory: &mut impl CodeMemory, instruction: VirtAddr) -> Option<Fixup> {
        let own = |at| self.own.iter().any(|range| range.contains(at));
        if !own(instruction) {
            return None;
        }
        let found = Faults::new(self.arch, self.table).find(memory, instruction.get());
        found.filter(|fixup| own(VirtAddr::new(fixup.address)))
    }
}

impl Module {
    /// The symbol of that name that the module exports (`find_symbol`), also if only to modules under the GPL; `None` for one that
    /// went with init.
    pub fn find_export(&self, memory: &mut impl CodeMemory, name: &str) -> Option<Export> {
        let range = self.range(Part::Core)?;
        for (table, gpl) in [(self.tables.exports, false), (self.tables.gpl_exports, true)] {
            for n in 0..table.len / 12 {
                let at = table.start.get() + n * 12;
                let found = pointer(memory, self.arch, at + 4);
                let last = found.checked_add(name.len() as u64);
                let inside = |at| range.contains(VirtAddr::new(at));
                // Names are the module's own; what a file says of others' memory is not looked at.
                if inside(found) && last.is_some_and(inside) && is_name(memory, found, name) {
                    let address = pointer(memory, self.arch, at);
                    let gone = self.gone.is_some_and(|gone| gone.contains(VirtAddr::new(address)));
                    return (!gone).then_some(Export { address, gpl });
                }
            }
        }
        None
    }

    /// Where to go on if an instruction of the module's faults (`search_extable`); `None` if it must not. Both are the module's own: what the table says of
    /// init is nothing any more once init is gone, as its addresses may be somebody else's.
    pub fn search_extable(&self, memory: &mut impl CodeMemory, instruction: VirtAddr) -> Option<Fixup> {
        self.fault_table().search(memory, instruction)
    }

    /// Its table of faults as it is now, for a handler.
    pub fn fault_table(&self) -> FaultTable {
        let own = [Part::Core, Part::Init].map(|part| self.range(part).unwrap_or_default());
        FaultTable { arch: self.arch, table: self.tables.faults, own }
    }
}

/// Whether just this name stands there.
fn is_name(memory: &mut impl CodeMemory, at: u64, name: &str) -> bool {
    let mut byte = [0];
    name.bytes().chain([0]).enumerate().all(|(n, expected)| {
        memory.read(VirtAddr::new(at + n as u64), &mut byte);
        byte[0] == expected
    })
}
