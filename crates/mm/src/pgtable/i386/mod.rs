//! i386: which tables exist from the head to the running kernel, and what they map. With two levels and with PAE.
//!
//! The order of a boot: the head maps the image and what its own tables take in pages of 4 KiB, one to one and from PAGE_OFFSET on, in
//! `initial_page_table` ([`head`]); `setup_arch` copies the kernel's part of that top table to `swapper_pg_dir`, the one in use from
//! then on. `init_mem_mapping` replaces the head's pages by large ones and makes the tables of the fixed mappings, to which
//! short kmaps belong; later come those of the persistent kmaps and of the CPUs' entry areas. What `swapper_pg_dir` gained is copied
//! back for processors that start. Permissions come last ([`finish`]).
//!
//! With PAE the four entries of a top table lead to the tables of `initial_pg_pmd`, which both top tables share.
//!
//! Sources: the Intel SDM for the entries, Documentation/x86 for the boot protocol, and what captured kernels print and take.

mod dir;
pub mod finish;
pub mod head;
pub(crate) mod put;

use super::KernelFormat;
use crate::boot::Boot;
use crate::error::BootError;
use pagewright_addr::PhysAddr;
use pagewright_firmware::Machine;
use pagewright_firmware::cmdline::Params;
use pagewright_kspace::{Facts, Fixmap, I386Areas};
use pagewright_pagetable::format::x86::bits;
use pagewright_pagetable::format::x86::i386::{I386, I386Config, I386Pae, I386PaeConfig};
use pagewright_pagetable::{Attr, AttrFlags};

pub(crate) const PAGE: u64 = 4096;
/// One past the last address.
const TOP: u64 = 1 << 32;
/// PGD_IDENT_ATTR: the head's entries of PAE's top table, which have no permissions.
const PGD_IDENT: u64 = bits::PRESENT;
/// PDE_IDENT_ATTR: the head's entries for tables of pages.
const PDE_IDENT: u64 = bits::PRESENT | bits::WRITE | bits::ACCESSED | bits::DIRTY;
/// PTE_IDENT_ATTR: the head's pages.
const PTE_IDENT: u64 = bits::PRESENT | bits::WRITE;
/// `_PAGE_TABLE`.
const PAGE_TABLE: u64 = PDE_IDENT | bits::USER;

/// Bytes that one table of PTEs maps.
pub(crate) const fn pmd_bytes(pae: bool) -> u64 {
    if pae { 2 << 20 } else { 4 << 20 }
}

/// KPMDS: how many gigabytes of addresses the kernel has, which is how many tables PAE's top entries lead to.
pub(crate) fn kernel_pmds(page_offset: u32) -> u64 {
    (TOP - u64::from(page_offset)).div_ceil(1 << 30)
}

/// Whether pages can be kept from being executed: with PAE's entries, by a processor that knows how.
pub(crate) fn has_nx(machine: &Machine<'_>) -> bool {
    machine.config.lpae && machine.cpus.i386.nx
}

/// Attributes as the processor can have them (`__supported_pte_mask`).
pub(crate) fn supported(machine: &Machine<'_>, mut attr: Attr) -> Attr {
    if !has_nx(machine) {
        attr.flags |= AttrFlags::EXEC;
    }
    if !machine.cpus.i386.pge {
        attr.flags -= AttrFlags::GLOBAL;
    }
    attr
}

/// Where the tables with fixed places are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places {
    /// `initial_page_table`.
    pub initial: PhysAddr,
    /// `initial_pg_pmd`, with PAE.
    pub initial_pmd: PhysAddr,
    /// `initial_pg_fixmap`.
    pub fixmap: PhysAddr,
    /// `swapper_pg_dir`.
    pub swapper: PhysAddr,
    /// `bm_pte`.
    pub bm_pte: PhysAddr,
    /// `__brk_base`: the head's tables of pages, side by side.
    pub brk: PhysAddr,
}

impl Places {
    /// Those of a machine. An image that does not tell has them side by side at the start of its bss.
    pub fn of(machine: &Machine<'_>) -> Self {
        let (image, told) = (&machine.image, &machine.image.i386);
        let mut next = image.bss_start.align_up(PAGE);
        let mut at = |known: PhysAddr, pages: u64| {
            let place = if known == PhysAddr::ZERO { next } else { known };
            next = next.saturating_add(pages * PAGE);
            place
        };
        let pmds = if machine.config.lpae { kernel_pmds(machine.config.page_offset) } else { 0 };
        Self {
            initial: at(told.initial_page_table, 1),
            initial_pmd: at(told.initial_pg_pmd, pmds),
            fixmap: at(told.initial_pg_fixmap, 1),
            swapper: at(told.swapper_pg_dir, 1),
            bm_pte: at(told.bm_pte, 1),
            brk: image.end.align_up(PAGE),
        }
    }
}

/// The format of a machine's tables.
pub fn format(machine: &Machine<'_>) -> KernelFormat {
    if machine.config.lpae {
        let config = I386PaeConfig { no_execute: has_nx(machine), phys_bits: 52 };
        KernelFormat::I386Pae(I386Pae { config })
    } else {
        KernelFormat::I386(I386 { config: I386Config { blocks: machine.cpus.i386.pse } })
    }
}

/// The fixed mappings of a machine's kernel.
///
/// # Errors
/// [`BootError::Machine`] if there are more of them than addresses.
pub(crate) fn fixmap(machine: &Machine<'_>, params: &Params<'_>) -> Result<Fixmap, BootError> {
    let mut facts = Facts::new(machine.config);
    facts.reservetop = params.reservetop.unwrap_or(0);
    let value = machine.config.nr_cpus.into();
    let what = "number of CPUs that the kernel has fixed addresses for";
    Fixmap::of(&facts).map_err(|_| BootError::Machine { what, value })
}

impl Boot<'_> {
    /// i386: the fixed mappings, which everything else hangs from.
    ///
    /// # Errors
    /// [`BootError::Machine`]; not once a boot has begun.
    pub(crate) fn i386_fixmap(&self) -> Result<Fixmap, BootError> {
        fixmap(self.machine, &self.params)
    }

    /// i386: where vmalloc space ends, and the regions above it.
    ///
    /// # Errors
    /// [`BootError::Machine`]; not once a boot has begun.
    pub fn i386_areas(&self) -> Result<I386Areas, BootError> {
        Ok(I386Areas::of(&self.machine.config, &self.i386_fixmap()?))
    }
}

#[cfg(test)]
mod tests;
