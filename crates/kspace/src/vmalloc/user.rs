//! Who may see an area: user space, and whoever asks whether an access is right.

use super::area::{Life, Record};
use super::{VmArea, VmFlags, Vmalloc};
use core::fmt;
use pagewright_addr::{Pfn, VirtAddr, VirtRange};
use pagewright_pagetable::{Format, TableMemory};

/// Why an area is not mapped to user space (`-EINVAL`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemapError {
    /// An address or a length that is no multiple of a page.
    Unaligned(VirtRange),
    /// No area in use begins around there.
    NoArea(VirtAddr),
    /// The area is not for users: it came neither from `vmalloc_user` nor as coherent memory, so it may hold what others left in it.
    NotForUsers(VmFlags),
    /// The pages reach beyond its end.
    Beyond {
        /// Which are wanted.
        wanted: VirtRange,
        /// Which there are.
        area: VirtRange,
    },
}

impl fmt::Display for RemapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned(r) => write!(f, "{r:?} is not made of whole pages"),
            Self::NoArea(at) => write!(f, "{at:#x} is in no area"),
            Self::NotForUsers(flags) => write!(f, "an area with {flags:?} is not for user space"),
            Self::Beyond { wanted, area } => write!(f, "{wanted:?} reaches beyond the area {area:?}"),
        }
    }
}

impl core::error::Error for RemapError {}

/// What is wrong with an access (as KASAN tells it).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadAccess {
    /// Behind the bytes that were asked for ("vmalloc-out-of-bounds"): in the rest of the last page or the guard page.
    OutOfBounds {
        /// The first byte that is.
        at: VirtAddr,
        /// The area.
        area: VmArea,
    },
    /// In an area that was freed, and whose addresses wait ("use-after-free").
    Freed {
        /// The first byte that is.
        at: VirtAddr,
        /// Who had asked for the area.
        was: VmArea,
    },
    /// In the page below a stack: the stack was too small.
    StackGuard {
        /// The first byte that is.
        at: VirtAddr,
        /// Where the stack begins.
        stack: VirtAddr,
    },
    /// Among addresses of `vm_map_ram`, in a piece that was given back, or that nobody has had.
    NoPiece {
        /// The first byte that is.
        at: VirtAddr,
    },
    /// In no area ("wild-memory-access").
    Wild {
        /// The first byte that is.
        at: VirtAddr,
    },
}

impl fmt::Display for BadAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds { at, area } => {
                write!(
                    f,
                    "vmalloc-out-of-bounds at {at:#x}, {} bytes into an area of {}",
                    at.get() - area.addr.get(),
                    area.requested
                )?;
                by(f, area)
            }
            Self::Freed { at, was } => {
                write!(f, "use-after-free at {at:#x} in a vmalloc area of {} bytes", was.requested)?;
                by(f, was)
            }
            Self::StackGuard { at, stack } => {
                write!(f, "stack guard page was hit at {at:#x}, below the stack at {stack:#x}")
            }
            Self::NoPiece { at } => {
                write!(f, "use-after-free or wild-memory-access at {at:#x}, vm_map_ram's")
            }
            Self::Wild { at } => write!(f, "wild-memory-access at {at:#x}"),
        }
    }
}

fn by(f: &mut fmt::Formatter<'_>, area: &VmArea) -> fmt::Result {
    match area.caller {
        Some(caller) => write!(f, ", allocated by {}:{}", caller.file(), caller.line()),
        None => Ok(()),
    }
}

impl core::error::Error for BadAccess {}

impl<'a, F: Format, M: TableMemory> Vmalloc<'_, 'a, F, M> {
    /// Tells the pages of an area from page number `pgoff` on that are to be mapped to user space (`remap_vmalloc_range`), each with its offset from
    /// where the user's mapping begins. Mapping them, and what the mapping is called, is the caller's.
    ///
    /// # Errors
    /// [`RemapError`]; nothing was told.
    pub fn remap_vmalloc_range(
        &self,
        addr: VirtAddr,
        pgoff: u64,
        size: u64,
        insert: &mut dyn FnMut(u64, Pfn),
    ) -> Result<(), RemapError> {
        let offset = pgoff.checked_mul(Self::PAGE).and_then(|offset| addr.checked_add(offset));
        let wanted = VirtRange { start: offset.unwrap_or(addr), len: size };
        if !addr.is_aligned(Self::PAGE) || !size.is_multiple_of(Self::PAGE) || size == 0 || offset.is_none() {
            return Err(RemapError::Unaligned(wanted));
        }
        let area = self.find_vm_area(addr).ok_or(RemapError::NoArea(addr))?;
        if !area.flags.intersects(VmFlags::USERMAP | VmFlags::DMA_COHERENT) {
            return Err(RemapError::NotForUsers(area.flags));
        }
        let range = area.range();
        if size > range.len || !range.contains_range(&wanted) {
            return Err(RemapError::Beyond { wanted, area: range });
        }
        for at in (0..size).step_by(Self::PAGE as usize) {
            if let Some(pfn) = self.vmalloc_to_pfn(VirtAddr::new(wanted.start.get() + at)) {
                insert(at, pfn);
            }
        }
        Ok(())
    }

    /// Whether an access of `len` bytes is right: inside the bytes that one area in use was asked for, or in pieces of `vm_map_ram`'s that somebody
    /// has. What KASAN knows from its shadow is told from the areas and the page tables here, so nothing is paid for it until somebody asks: a debug
    /// mode before each access, or a report after a fault.
    ///
    /// # Errors
    /// [`BadAccess`].
    pub fn check_access(&self, addr: VirtAddr, len: u64) -> Result<(), BadAccess> {
        let Some((_, slot)) = self.find(addr) else { return Err(BadAccess::Wild { at: addr }) };
        let record = *slot.record.lock();
        self.judge(&record, addr, len)
    }

    /// The same for a report after a fault, where somebody who does not go on may hold what is asked: nothing is waited for. `None` if it was held.
    pub fn try_check_access(&self, addr: VirtAddr, len: u64) -> Option<Result<(), BadAccess>> {
        let book = self.book.try_lock()?;
        let Some(area) = book.tree.at(addr) else { return Some(Err(BadAccess::Wild { at: addr })) };
        let record = *book.slots.get(area.number()).record.try_lock()?;
        Some(self.judge(&record, addr, len))
    }

    fn judge(&self, record: &Record, addr: VirtAddr, len: u64) -> Result<(), BadAccess> {
        let area = record.view(Self::PAGE);
        match record.life {
            Life::Live if area.flags.contains(VmFlags::STACK_GUARD) => {
                return Err(BadAccess::StackGuard {
                    at: addr,
                    stack: VirtAddr::new(area.addr.get() + area.size),
                });
            }
            Life::Live => {}
            Life::Block | Life::Ram => return self.pieces(record, addr, len),
            Life::Lazy | Life::Ready => return Err(BadAccess::Freed { at: addr, was: area }),
            Life::Making | Life::Free => return Err(BadAccess::Wild { at: addr }),
        }
        let inside = addr.get() - area.addr.get();
        let room = area.requested.saturating_sub(inside);
        if len <= room {
            return Ok(());
        }
        Err(BadAccess::OutOfBounds { at: VirtAddr::new(addr.get() + room), area })
    }

    /// Pages of `vm_map_ram`'s are mapped from when somebody gets them until he gives them back.
    fn pieces(&self, record: &Record, addr: VirtAddr, len: u64) -> Result<(), BadAccess> {
        let last = addr.get().saturating_add(len.max(1) - 1);
        let first = addr.align_down(Self::PAGE).get();
        for page in (first..=last).step_by(Self::PAGE as usize) {
            let at = VirtAddr::new(page);
            if !record.range.contains(at) || self.translate(at).is_err() {
                return Err(BadAccess::NoPiece { at: at.max(addr) });
            }
        }
        Ok(())
    }
}
