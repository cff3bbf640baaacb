//! Modules to load, and a kernel that is nothing but memory to load them into.

pub mod elf;

use elf::{ALLOC, EXEC, Elf, UNDEFINED, WRITE};
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_kspace::areas::{AreaError, Wanted};
use pagewright_kspace::module::{CodeMemory, ModuleArch, ModuleHost};
use pagewright_kspace::vmalloc::{NoArea, VmallocError};
use pagewright_pagetable::{AttrChange, UnmapError};

/// The processor that a file says it is for; x86_64 if it is none that is known.
pub fn machine_of(file: &[u8]) -> ModuleArch {
    let known = [ModuleArch::Arm64, ModuleArch::Arm, ModuleArch::I386];
    let said = file.get(18..20).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    known.into_iter().find(|arch| arch.e_machine() == said).unwrap_or(ModuleArch::X86_64)
}

/// A branch to a symbol, a pointer, and an address in code: instruction and relocations by number.
fn kinds(arch: ModuleArch) -> (u32, u32, [u8; 4]) {
    match arch {
        // call: PLT32; 64.
        ModuleArch::X86_64 => (4, 1, [0; 4]),
        // call, with the distance that it is reckoned from: PLT32; 32.
        ModuleArch::I386 => (4, 1, 0xffff_fffc_u32.to_le_bytes()),
        // bl: CALL26; ABS64.
        ModuleArch::Arm64 => (283, 257, 0x9400_0000_u32.to_le_bytes()),
        // bl, with the distance that it is reckoned from: CALL; ABS32.
        ModuleArch::Arm => (28, 2, 0xebff_fffe_u32.to_le_bytes()),
    }
}

/// A module with a section of each kind. Its text begins with two branches to the kernel's `helper`, its data has pointers to its own text and to `helper`.
pub fn sample(arch: ModuleArch) -> Elf {
    let (branch, pointer, instruction) = kinds(arch);
    let addend = if arch == ModuleArch::X86_64 { -4 } else { 0 };
    let mut elf = Elf::new(arch);
    let text = elf.section(".text", ALLOC | EXEC, 16, &instruction.repeat(8));
    elf.section(".comment", 0, 1, b"not loaded");
    elf.section(".modinfo", ALLOC, 1, b"license=MIT\0name=first\0nothing\0depends=\0");
    elf.section(".rodata", ALLOC, 8, b"constants");
    let data = elf.section(".data", ALLOC | WRITE, 8, &[0; 32]);
    elf.section(".data..ro_after_init", ALLOC | WRITE, 8, &[0x77; 8]);
    elf.zeroes(".bss", ALLOC | WRITE, 64, 10_000);
    let init = elf.section(".init.text", ALLOC | EXEC, 16, &instruction.repeat(4));
    elf.section(".init.data", ALLOC | WRITE, 8, &[0x33; 16]);
    let helper = elf.symbol("helper", UNDEFINED, 0);
    let own = elf.symbol("cleanup_module", text, 16);
    let first = elf.symbol("init_module", init, 4);
    let weak = elf.weak("not_there");
    elf.relocate(text, 0, helper, branch, addend);
    elf.relocate(text, 4, helper, branch, addend);
    elf.relocate(init, 0, helper, branch, addend);
    elf.relocate(init, 8, own, branch, addend);
    elf.relocate(data, 0, own, pointer, 0);
    elf.relocate(data, 8, helper, pointer, 0);
    elf.relocate(data, 16, weak, pointer, 0);
    elf.relocate(data, 24, first, pointer, 0);
    elf
}

/// Faults of [`exporting`]'s text at so many bytes, in this order; where to go on lies 4 bytes behind each.
pub const FAULTS: [u64; 4] = [40, 8, 24, 0];

/// A module that exports the address 16 bytes into its text as `served`, 32 bytes as `restricted`, and as `early` what lies 4 bytes into its init text. Besides [`FAULTS`] its table of faults leads from 0 bytes into its init text to
/// 4 bytes, from 8 bytes there to 44 bytes into its text, from 48 bytes into its text to 12 bytes into init's, and from 56 bytes to the kernel's `helper`.
pub fn exporting(arch: ModuleArch) -> Elf {
    // A word that leads to a symbol: PC32, PREL32, ABS32.
    let kind = if arch == ModuleArch::Arm64 { 261 } else { 2 };
    let mut elf = Elf::new(arch);
    let text = elf.section(".text", ALLOC | EXEC, 16, &[0; 64]);
    let init = elf.section(".init.text", ALLOC | EXEC, 16, &[0; 16]);
    let names = elf.section("__ksymtab_strings", ALLOC, 1, b"serve\0served\0restricted\0early\0");
    for (table, symbols) in
        [("__ksymtab", &[(text, 16, 6), (init, 4, 24)][..]), ("__ksymtab_gpl", &[(text, 32, 13)])]
    {
        let section = elf.section(table, ALLOC, 4, &vec![0; 12 * symbols.len()]);
        for (&(section_of, at, name), entry) in symbols.iter().zip((0..).step_by(12)) {
            let value = elf.symbol("", section_of, at);
            let name = elf.symbol("", names, name);
            elf.relocate(section, entry, value, kind, 0);
            elf.relocate(section, entry + 4, name, kind, 0);
        }
    }
    let mut entries: Vec<_> = FAULTS.map(|at| [(text, at), (text, at + 4)]).into();
    entries.extend([[(init, 0), (init, 4)], [(init, 8), (text, 44)], [(text, 48), (init, 12)]]);
    let size = if arch == ModuleArch::Arm { 8 } else { 12 };
    let mut bytes = vec![0; size * (entries.len() + 1)];
    if size == 12 {
        for (entry, [(_, at), _]) in bytes.chunks_mut(size).zip(&entries) {
            entry[8] = *at as u8 + 1;
        }
    }
    let section = elf.section("__ex_table", ALLOC, 4, &bytes);
    let mut words: Vec<_> =
        entries.into_iter().flatten().map(|(section, at)| elf.symbol("", section, at)).collect();
    words.extend([elf.symbol("", text, 56), elf.symbol("helper", UNDEFINED, 0)]);
    for (n, symbol) in words.into_iter().enumerate() {
        elf.relocate(section, (n / 2 * size + n % 2 * 4) as u64, symbol, kind, 0);
    }
    elf
}

/// CPUs that have copies of per-CPU variables.
const CPUS: usize = 2;

/// Memory from an address on, in which every symbol of the kernel is one function 200 MiB before, and two CPUs' copies of per-CPU variables, 199 MiB
/// before. Nothing is protected.
#[derive(Debug)]
pub struct FlatKernel {
    base: u64,
    bytes: Vec<u8>,
    most: u64,
    copies: [Vec<u8>; CPUS],
    /// Areas and per-CPU rooms that were taken and not given back.
    pub live: usize,
    /// Whether the kernel has any symbols.
    pub has_symbols: bool,
}

impl FlatKernel {
    /// Memory where such a kernel's modules lie, of at most so many bytes.
    pub fn new(arch: ModuleArch, most: u64) -> Self {
        let base = match arch {
            ModuleArch::X86_64 => 0xffff_ffff_c000_0000,
            ModuleArch::Arm64 => 0xffff_8000_0000_0000,
            ModuleArch::Arm => 0xbf00_0000,
            ModuleArch::I386 => 0xf880_0000,
        };
        let copies = [const { Vec::new() }; CPUS];
        Self { base, bytes: Vec::new(), most, copies, live: 0, has_symbols: true }
    }

    /// Where the first per-CPU variable lies, as symbols have it.
    pub fn per_cpu_base(&self) -> u64 {
        self.base - (199 << 20)
    }

    /// A CPU's copies.
    pub fn copies(&self, cpu: usize) -> &[u8] {
        &self.copies[cpu]
    }

    fn at(&mut self, at: VirtAddr, len: usize) -> &mut [u8] {
        let start = (at.get() - self.base) as usize;
        &mut self.bytes[start..start + len]
    }
}

impl CodeMemory for FlatKernel {
    fn read(&mut self, at: VirtAddr, into: &mut [u8]) {
        let len = into.len();
        into.copy_from_slice(self.at(at, len));
    }

    fn write(&mut self, at: VirtAddr, bytes: &[u8]) {
        self.at(at, bytes.len()).copy_from_slice(bytes);
    }

    fn sync(&mut self, _: VirtRange) {}
}

impl ModuleHost for FlatKernel {
    fn page(&self) -> u64 {
        4096
    }

    fn alloc(&mut self, bytes: u64, align: u64) -> Result<VirtAddr, NoArea> {
        let used = (self.bytes.len() as u64).next_multiple_of(align);
        let range = VirtRange::from_len(VirtAddr::new(self.base), self.most);
        if bytes > self.most.saturating_sub(used) {
            let wanted = Wanted { size: bytes, align: 4096, within: range };
            let why = AreaError::NoGap { wanted, largest: self.most.saturating_sub(used) };
            return Err(VmallocError::Space { region: "modules", range, why }.into());
        }
        self.bytes.resize((used + bytes) as usize, 0);
        self.live += 1;
        Ok(VirtAddr::new(self.base + used))
    }

    fn free(&mut self, _: VirtAddr) {
        self.live -= 1;
    }

    fn protect(&mut self, _: VirtRange, _: &AttrChange) -> Result<(), UnmapError> {
        Ok(())
    }

    fn symbol(&mut self, _: &str) -> Option<u64> {
        self.has_symbols.then_some(self.base - (200 << 20))
    }

    fn per_cpu(&mut self, size: u64, align: u64) -> Option<u64> {
        let start = (self.copies[0].len() as u64).next_multiple_of(align.max(1));
        let end = start.checked_add(size).filter(|end| *end <= self.most)?;
        self.copies.iter_mut().for_each(|copy| copy.resize(end as usize, 0));
        self.live += 1;
        Some(self.per_cpu_base() + start)
    }

    fn write_per_cpu(&mut self, at: u64, bytes: &[u8]) {
        let start = (at - self.per_cpu_base()) as usize;
        self.copies.iter_mut().for_each(|copy| copy[start..start + bytes.len()].copy_from_slice(bytes));
    }

    fn read_per_cpu(&mut self, at: u64, into: &mut [u8]) {
        let start = (at - self.per_cpu_base()) as usize;
        into.copy_from_slice(&self.copies[0][start..start + into.len()]);
    }

    fn free_per_cpu(&mut self, _: u64) {
        self.live -= 1;
    }
}
