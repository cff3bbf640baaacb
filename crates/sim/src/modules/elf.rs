//! Relocatable ELF files, made here: little-endian, of either class (System V ABI, chapters 4 and 5).

use pagewright_kspace::module::ModuleArch;

/// A section that is written (SHF_WRITE).
pub const WRITE: u64 = 1;
/// One that is loaded (SHF_ALLOC).
pub const ALLOC: u64 = 2;
/// One with instructions (SHF_EXECINSTR).
pub const EXEC: u64 = 4;

const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const RELA: u32 = 4;
const NOBITS: u32 = 8;
const REL: u32 = 9;

/// The section of symbols that the kernel has (SHN_UNDEF).
pub const UNDEFINED: u16 = 0;
/// That of symbols for which room is made when all is linked (SHN_COMMON).
pub const COMMON: u16 = 0xfff2;

#[derive(Debug)]
struct Section {
    name: String,
    kind: u32,
    flags: u64,
    align: u64,
    bytes: Vec<u8>,
    size: u64,
    link: u32,
    info: u32,
}

#[derive(Debug)]
struct Symbol {
    name: String,
    weak: bool,
    section: u16,
    value: u64,
}

#[derive(Debug)]
struct Relocation {
    section: u16,
    offset: u64,
    symbol: u32,
    kind: u32,
    addend: i64,
}

/// A file in the making.
#[derive(Debug)]
pub struct Elf {
    arch: ModuleArch,
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
    relocations: Vec<Relocation>,
}

struct Out {
    bytes: Vec<u8>,
    wide: bool,
}

impl Out {
    fn half(&mut self, value: u16) {
        self.bytes.extend(value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// An address, an offset or a size.
    fn long(&mut self, value: u64) {
        match self.wide {
            true => self.bytes.extend(value.to_le_bytes()),
            false => self.word(value as u32),
        }
    }
}

impl Elf {
    /// A file without anything, for a processor.
    pub fn new(arch: ModuleArch) -> Self {
        let mut elf = Self { arch, sections: Vec::new(), symbols: Vec::new(), relocations: Vec::new() };
        elf.add("", 0, 0, 0, Vec::new(), 0);
        elf.symbol("", UNDEFINED, 0);
        elf
    }

    fn add(&mut self, name: &str, kind: u32, flags: u64, align: u64, bytes: Vec<u8>, size: u64) -> u16 {
        let name = name.to_owned();
        self.sections.push(Section { name, kind, flags, align, bytes, size, link: 0, info: 0 });
        self.sections.len() as u16 - 1
    }

    /// A section with bytes: its number.
    pub fn section(&mut self, name: &str, flags: u64, align: u64, bytes: &[u8]) -> u16 {
        self.add(name, PROGBITS, flags, align, bytes.to_vec(), bytes.len() as u64)
    }

    /// A section of zeroes.
    pub fn zeroes(&mut self, name: &str, flags: u64, align: u64, size: u64) -> u16 {
        self.add(name, NOBITS, flags, align, Vec::new(), size)
    }

    /// A global symbol: its number.
    pub fn symbol(&mut self, name: &str, section: u16, value: u64) -> u32 {
        self.symbols.push(Symbol { name: name.to_owned(), weak: false, section, value });
        self.symbols.len() as u32 - 1
    }

    /// A symbol that the kernel may have: its number.
    pub fn weak(&mut self, name: &str) -> u32 {
        self.symbols.push(Symbol { name: name.to_owned(), weak: true, section: UNDEFINED, value: 0 });
        self.symbols.len() as u32 - 1
    }

    /// A relocation. Arm's tables and i386's have no addends, so there the place keeps what it has.
    pub fn relocate(&mut self, section: u16, offset: u64, symbol: u32, kind: u32, addend: i64) {
        self.relocations.push(Relocation { section, offset, symbol, kind, addend });
    }

    /// The file's bytes.
    pub fn build(mut self) -> Vec<u8> {
        let wide = self.arch.word() == 8;
        let new = || Out { bytes: Vec::new(), wide };
        let with_addends = self.arch.has_addends();
        let symtab = self.sections.len() as u32;
        let (mut symbols, mut names) = (new(), vec![0]);
        for symbol in &self.symbols {
            let name = if symbol.name.is_empty() { 0 } else { names.len() as u32 };
            if name > 0 {
                names.extend(symbol.name.bytes());
                names.push(0);
            }
            let info = (u8::from(symbol.weak) + 1) << 4;
            symbols.word(name);
            if wide {
                symbols.bytes.extend([info, 0]);
                symbols.half(symbol.section);
                symbols.long(symbol.value);
                symbols.long(0);
            } else {
                symbols.long(symbol.value);
                symbols.long(0);
                symbols.bytes.extend([info, 0]);
                symbols.half(symbol.section);
            }
        }
        let bytes = symbols.bytes;
        let size = bytes.len() as u64;
        self.add(".symtab", SYMTAB, 0, 8, bytes, size);
        self.sections[symtab as usize].link = symtab + 1;
        self.sections[symtab as usize].info = 1;
        let size = names.len() as u64;
        self.add(".strtab", STRTAB, 0, 1, names, size);
        for target in 0..symtab as u16 {
            let mut table = new();
            for r in self.relocations.iter().filter(|r| r.section == target) {
                table.long(r.offset);
                let info = if wide {
                    u64::from(r.symbol) << 32 | u64::from(r.kind)
                } else {
                    u64::from(r.symbol << 8 | r.kind)
                };
                table.long(info);
                if with_addends {
                    table.long(r.addend as u64);
                }
            }
            if !table.bytes.is_empty() {
                let kind = if with_addends { RELA } else { REL };
                let name = format!(".rel{}", self.sections[usize::from(target)].name);
                let size = table.bytes.len() as u64;
                let at = self.add(&name, kind, 0, 8, table.bytes, size);
                self.sections[usize::from(at)].link = symtab;
                self.sections[usize::from(at)].info = target.into();
            }
        }
        let strings = self.add(".shstrtab", STRTAB, 0, 1, Vec::new(), 0);
        let mut names = vec![0];
        let offsets: Vec<u32> = self
            .sections
            .iter()
            .map(|s| {
                let at = names.len() as u32;
                names.extend(s.name.bytes());
                names.push(0);
                at
            })
            .collect();
        self.sections[usize::from(strings)].size = names.len() as u64;
        self.sections[usize::from(strings)].bytes = names;
        self.write(&offsets, strings)
    }

    fn write(&self, names: &[u32], strings: u16) -> Vec<u8> {
        let wide = self.arch.word() == 8;
        let mut out = Out { bytes: Vec::new(), wide };
        let (header, entry) = if wide { (64, 64) } else { (52, 40) };
        out.bytes.extend([0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1, 1]);
        out.bytes.resize(16, 0);
        let mut contents = Vec::new();
        let places: Vec<u64> = self
            .sections
            .iter()
            .map(|s| {
                while contents.len() % 16 != 0 {
                    contents.push(0);
                }
                let at = header + contents.len() as u64;
                contents.extend(&s.bytes);
                at
            })
            .collect();
        out.half(1);
        out.half(self.arch.e_machine());
        out.word(1);
        out.long(0);
        out.long(0);
        out.long(header + contents.len() as u64);
        out.word(0);
        for value in [header as u16, 0, 0, entry, self.sections.len() as u16, strings] {
            out.half(value);
        }
        assert_eq!(out.bytes.len() as u64, header);
        out.bytes.extend(contents);
        for (n, s) in self.sections.iter().enumerate() {
            out.word(names[n]);
            out.word(s.kind);
            out.long(s.flags);
            out.long(0);
            out.long(places[n]);
            out.long(s.size);
            out.word(s.link);
            out.word(s.info);
            out.long(s.align);
            let entries = match (s.kind, wide) {
                (SYMTAB, true) | (RELA, true) => 24,
                (SYMTAB, false) => 16,
                (REL, false) => 8,
                _ => 0,
            };
            out.long(entries);
        }
        out.bytes
    }
}
