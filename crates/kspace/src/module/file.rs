//! A module's file, as it is read.

use super::error::ModuleError;
use super::relocate::ModuleArch;
use elf::ElfBytes;
use elf::abi;
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::section::{SectionHeader, SectionHeaderTable};
use elf::string_table::StringTable;
use elf::symbol::{Symbol, SymbolTable};

/// A relocatable ELF file for one processor. Little-endian only, as all kernels that are known here.
#[derive(Debug)]
pub struct ModuleFile<'f> {
    pub(super) arch: ModuleArch,
    pub(super) elf: ElfBytes<'f, LittleEndian>,
    pub(super) sections: SectionHeaderTable<'f, LittleEndian>,
    /// Bytes of the file.
    pub(super) len: usize,
    names: StringTable<'f>,
    symbols: SymbolTable<'f, LittleEndian>,
    symbol_names: StringTable<'f>,
}

/// Whether a symbol's section is one that no section has, and that this loader does not know: a file with so many sections says elsewhere which it is.
const fn is_reserved(section: u16) -> bool {
    section >= abi::SHN_LORESERVE && !matches!(section, abi::SHN_ABS | abi::SHN_COMMON)
}

impl<'f> ModuleFile<'f> {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`ModuleError`]: not such a file.
    pub fn parse(bytes: &'f [u8], arch: ModuleArch) -> Result<Self, ModuleError<'f>> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(|_| ModuleError::NotElf)?;
        let header = &elf.ehdr;
        if header.e_machine != arch.e_machine() {
            return Err(ModuleError::Machine { found: header.e_machine, expected: arch.e_machine() });
        }
        if (header.class == Class::ELF64) != (arch.word() == 8) {
            return Err(ModuleError::Class);
        }
        if header.e_type != abi::ET_REL {
            return Err(ModuleError::Kind { found: header.e_type });
        }
        let (sections, names) = match elf.section_headers_with_strtab() {
            Ok((Some(sections), Some(names))) => (sections, names),
            _ => return Err(ModuleError::NotElf),
        };
        let table = elf.symbol_table().map_err(|_| ModuleError::NotElf)?;
        let (symbols, symbol_names) = table.ok_or(ModuleError::Stripped)?;
        if let Some(symbol) = symbols.iter().find(|symbol| is_reserved(symbol.st_shndx)) {
            let name = symbol_names.get(symbol.st_name as usize).unwrap_or("");
            return Err(ModuleError::Reserved { symbol: name, section: symbol.st_shndx });
        }
        Ok(Self { arch, elf, sections, len: bytes.len(), names, symbols, symbol_names })
    }

    /// How many sections there are, the empty first one included: so many [`super::Place`]s a layout needs.
    pub fn sections(&self) -> usize {
        self.sections.len()
    }

    /// The name of a section; empty if it has none.
    pub fn section_name(&self, section: &SectionHeader) -> &'f str {
        self.names.get(section.sh_name as usize).unwrap_or("")
    }

    /// A section's bytes in the file; none for what is zeroes.
    pub(super) fn data(&self, number: usize, section: &SectionHeader) -> Result<&'f [u8], ModuleError<'f>> {
        if section.sh_type == abi::SHT_NOBITS {
            return Ok(&[]);
        }
        match self.elf.section_data(section) {
            Ok((bytes, None)) => Ok(bytes),
            Ok(_) => Err(ModuleError::Section { section: number, what: "it is compressed" }),
            Err(_) => Err(ModuleError::Section { section: number, what: "it ends behind the file" }),
        }
    }

    pub(super) fn symbol(&self, number: u32) -> Option<Symbol> {
        self.symbols.get(number as usize).ok()
    }

    pub(super) fn symbols(&self) -> impl Iterator<Item = Symbol> + '_ {
        self.symbols.iter()
    }

    pub(super) fn symbol_name(&self, symbol: &Symbol) -> &'f str {
        self.symbol_names.get(symbol.st_name as usize).unwrap_or("")
    }

    /// The names of the symbols that a kernel has to have; those without which the module works as well are not among them.
    pub fn undefined(&self) -> impl Iterator<Item = &'f str> + '_ {
        self.symbols
            .iter()
            .skip(1)
            .filter(|s| s.st_shndx == abi::SHN_UNDEF && s.st_bind() != abi::STB_WEAK)
            .map(|s| self.symbol_name(&s))
            .filter(|name| !name.is_empty())
    }

    /// What the module says of itself (`.modinfo`): `license=GPL` and the like, one after the other.
    pub fn modinfo(&self) -> Modinfo<'f> {
        let found = self.sections.iter().find(|s| self.section_name(s) == ".modinfo");
        let bytes = found.and_then(|s| self.elf.section_data(&s).ok()).map_or(&[][..], |(bytes, _)| bytes);
        Modinfo(bytes)
    }
}

/// Words of `.modinfo`, as pairs of what stands before and behind the first `=`.
#[derive(Clone, Debug)]
pub struct Modinfo<'f>(&'f [u8]);

impl<'f> Iterator for Modinfo<'f> {
    type Item = (&'f str, &'f str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
            let (word, rest) = self.0.split_at(end);
            self.0 = rest.get(1..).unwrap_or(&[]);
            if let Some(pair) = core::str::from_utf8(word).ok().and_then(|word| word.split_once('=')) {
                return Some(pair);
            }
        }
    }
}
