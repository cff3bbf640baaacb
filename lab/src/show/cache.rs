//! What a described data cache means for a kernel: whether it aliases, and which colours mappings need.
//!
//! This is no file of Linux's: its boot log says `VIPT aliasing data cache` and no more. Only arm has kernels that look after caches that alias: arm64's data
//! caches behave as if physically indexed and tagged (Arm ARM), x86's are so, and SHMLBA is a page there.

use crate::machine::arch_name;
use pagewright_firmware::Arch;
use pagewright_kspace::dcache::{Behaviour, CacheKind, CacheShape, colour};
use std::fmt;

/// A cache and the size of the pages that are in it.
#[derive(Clone, Copy, Debug)]
pub struct CacheView {
    /// The cache.
    pub shape: CacheShape,
    /// Whose kernel has it.
    pub arch: Arch,
    /// Bytes of a page.
    pub page_bytes: u64,
}

/// Bytes in KiB where they are whole.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1024) {
            write!(f, "{} KiB", self.0 / 1024)
        } else {
            write!(f, "{} bytes", self.0)
        }
    }
}

impl fmt::Display for CacheView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, arch, page_bytes } = *self;
        let (way, colours) = (shape.way_bytes(), shape.colours(page_bytes));
        writeln!(f, "data cache:  {shape}")?;
        writeln!(
            f,
            "             {} sets, {} in a way, pages of {}",
            shape.sets(),
            Size(way),
            Size(page_bytes)
        )?;
        let behaviour = Behaviour::of(&shape, page_bytes);
        match behaviour {
            Behaviour::Vivt => writeln!(
                f,
                "aliases:     yes, any two addresses of a byte: lines are found by virtual addresses"
            )?,
            Behaviour::ViptAliasing => {
                let (low, high) = (page_bytes.ilog2(), way.ilog2() - 1);
                write!(
                    f,
                    "aliases:     yes, addresses of different colours: a way is larger than a page, so "
                )?;
                if low == high {
                    writeln!(f, "bit {low} of a virtual address chooses the set")?;
                } else {
                    writeln!(f, "bits {high} to {low} of a virtual address choose the set")?;
                }
            }
            Behaviour::NonAliasing if shape.kind == CacheKind::Vipt => {
                writeln!(f, "aliases:     no, a way is no larger than a page")?;
            }
            Behaviour::NonAliasing => writeln!(f, "aliases:     no, lines are found by physical addresses")?,
        }
        writeln!(f, "colours:     {colours}")?;
        match behaviour {
            Behaviour::NonAliasing => {
                writeln!(f, "mappings:    anywhere; a page that is shared needs no flush")?;
                match arch {
                    Arch::Arm | Arch::I386 => writeln!(f, "high memory: as usual"),
                    Arch::Arm64 | Arch::X86_64 => Ok(()),
                }
            }
            _ if arch != Arch::Arm => {
                writeln!(
                    f,
                    "mappings:    no kernel for {0} knows what to do: SHMLBA of {0} is a page, since its data caches do not alias",
                    arch_name(arch)
                )
            }
            Behaviour::ViptAliasing => {
                let lba = colour::shmlba(page_bytes);
                write!(
                    f,
                    "mappings:    shared ones at addresses equal to their offset modulo {}",
                    Size(lba)
                )?;
                writeln!(f, " (SHMLBA of arm: {} pages, whatever the cache has)", colour::COLOURS)?;
                if colours > colour::COLOURS {
                    writeln!(f, "             which is not enough: this cache has {colours} colours")?;
                }
                for index in 0..colour::COLOURS {
                    let at = index * page_bytes;
                    writeln!(
                        f,
                        "             page {index} of an object: {at:#07x}, {:#07x}, {:#07x}, ...",
                        at + lba,
                        at + 2 * lba
                    )?;
                }
                writeln!(
                    f,
                    "             pages are copied, zeroed and flushed through windows of the user's colour"
                )?;
                writeln!(f, "high memory: left out at boot")
            }
            Behaviour::Vivt => {
                writeln!(
                    f,
                    "mappings:    no colour helps; a page that is mapped and written at two addresses is not cached"
                )?;
                writeln!(
                    f,
                    "             every page that the kernel writes for user code, or reads from it, is flushed"
                )?;
                writeln!(f, "high memory: flushed whenever a kmap ends")
            }
        }
    }
}
