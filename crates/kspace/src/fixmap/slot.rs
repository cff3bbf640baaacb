//! The names of fixed addresses.

use core::fmt;

/// A slot of the fixed mappings, or the first of several that belong together. Names are Linux's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Slot {
    /// FIX_HOLE: never mapped.
    Hole,
    /// VSYSCALL_PAGE (x86_64).
    VsyscallPage,
    /// FIX_FDT_END and what is below it down to FIX_FDT: the device tree's window (arm64).
    Fdt,
    /// FIX_DBGP_BASE: the USB debug port (x86).
    DbgpBase,
    /// FIX_EARLYCON_MEM_BASE.
    EarlyconMemBase,
    /// FIX_OHCI1394_BASE (x86).
    Ohci1394Base,
    /// FIX_APIC_BASE (x86).
    ApicBase,
    /// FIX_IO_APIC_BASE_0 and those after it (x86).
    IoApicBase,
    /// FIX_KMAP_BEGIN and those after it: each CPU's short kmaps (arm, i386).
    Kmap,
    /// FIX_PCIE_MCFG (i386).
    PcieMcfg,
    /// FIX_PARAVIRT_BOOTMAP (x86_64).
    ParavirtBootmap,
    /// FIX_TEXT_POKE0 (arm, arm64).
    TextPoke0,
    /// FIX_TEXT_POKE1 (arm).
    TextPoke1,
    /// FIX_APEI_GHES_IRQ.
    ApeiGhesIrq,
    /// FIX_APEI_GHES_NMI (x86).
    ApeiGhesNmi,
    /// FIX_APEI_GHES_SEA (arm64).
    ApeiGhesSea,
    /// FIX_APEI_GHES_SDEI_NORMAL (arm64).
    ApeiGhesSdeiNormal,
    /// FIX_APEI_GHES_SDEI_CRITICAL (arm64).
    ApeiGhesSdeiCritical,
    /// FIX_ENTRY_TRAMP_TEXT4: the trampoline's data page, where the kernel is relocatable (arm64).
    EntryTrampText4,
    /// FIX_ENTRY_TRAMP_TEXT3.
    EntryTrampText3,
    /// FIX_ENTRY_TRAMP_TEXT2.
    EntryTrampText2,
    /// FIX_ENTRY_TRAMP_TEXT1: where the trampoline begins (TRAMP_VALIAS).
    EntryTrampText1,
    /// FIX_BTMAP_END up to FIX_BTMAP_BEGIN: early_ioremap's pages.
    Btmap,
    /// FIX_WP_TEST (i386).
    WpTest,
    /// FIX_TBOOT_BASE (x86_64).
    TbootBase,
    /// FIX_PTE: a table that has no mapping yet (arm64).
    Pte,
    /// FIX_PMD.
    Pmd,
    /// FIX_PUD.
    Pud,
    /// FIX_PGD.
    Pgd,
}

impl Slot {
    /// Linux's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hole => "FIX_HOLE",
            Self::VsyscallPage => "VSYSCALL_PAGE",
            Self::Fdt => "FIX_FDT_END",
            Self::DbgpBase => "FIX_DBGP_BASE",
            Self::EarlyconMemBase => "FIX_EARLYCON_MEM_BASE",
            Self::Ohci1394Base => "FIX_OHCI1394_BASE",
            Self::ApicBase => "FIX_APIC_BASE",
            Self::IoApicBase => "FIX_IO_APIC_BASE_0",
            Self::Kmap => "FIX_KMAP_BEGIN",
            Self::PcieMcfg => "FIX_PCIE_MCFG",
            Self::ParavirtBootmap => "FIX_PARAVIRT_BOOTMAP",
            Self::TextPoke0 => "FIX_TEXT_POKE0",
            Self::TextPoke1 => "FIX_TEXT_POKE1",
            Self::ApeiGhesIrq => "FIX_APEI_GHES_IRQ",
            Self::ApeiGhesNmi => "FIX_APEI_GHES_NMI",
            Self::ApeiGhesSea => "FIX_APEI_GHES_SEA",
            Self::ApeiGhesSdeiNormal => "FIX_APEI_GHES_SDEI_NORMAL",
            Self::ApeiGhesSdeiCritical => "FIX_APEI_GHES_SDEI_CRITICAL",
            Self::EntryTrampText4 => "FIX_ENTRY_TRAMP_TEXT4",
            Self::EntryTrampText3 => "FIX_ENTRY_TRAMP_TEXT3",
            Self::EntryTrampText2 => "FIX_ENTRY_TRAMP_TEXT2",
            Self::EntryTrampText1 => "FIX_ENTRY_TRAMP_TEXT1",
            Self::Btmap => "FIX_BTMAP_END",
            Self::WpTest => "FIX_WP_TEST",
            Self::TbootBase => "FIX_TBOOT_BASE",
            Self::Pte => "FIX_PTE",
            Self::Pmd => "FIX_PMD",
            Self::Pud => "FIX_PUD",
            Self::Pgd => "FIX_PGD",
        }
    }
}

/// The number of a fixed address, counted downward from FIXADDR_TOP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FixedIndex(pub u32);

/// A slot as messages name it: `FIX_APIC_BASE`, `FIX_IO_APIC_BASE_0 + 3`, or the bare number of an address that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotName {
    /// The slots it belongs to, and how far behind the first it is.
    pub slot: Option<(Slot, u32)>,
    /// Its number.
    pub index: FixedIndex,
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slot {
            Some((slot, 0)) => f.write_str(slot.name()),
            Some((slot, n)) => write!(f, "{} + {n}", slot.name()),
            None => write!(f, "fixed address {}", self.index.0),
        }
    }
}
