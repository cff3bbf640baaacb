//! Loading top tables, and forgetting translations.

use pagewright_addr::PhysAddr;
use x86_64::registers::control::{Cr3, Cr3Flags, Cr4, Cr4Flags};
use x86_64::structures::paging::PhysFrame;

/// The top table in use.
pub(super) fn root() -> PhysAddr {
    PhysAddr::new(Cr3::read().0.start_address().as_u64())
}

/// Loads CR3.
///
/// # Safety
/// The tables map everything that is in use where it is.
pub(super) unsafe fn load(root: PhysAddr) {
    let frame = PhysFrame::containing_address(x86_64::PhysAddr::new_truncate(root.get()));
    // SAFETY: the caller's.
    unsafe { Cr3::write(frame, Cr3Flags::empty()) };
}

/// Forgets every translation on this processor, global ones too.
pub(super) fn flush_here() {
    let cr4 = Cr4::read();
    // SAFETY: translations that are forgotten are read from the tables again.
    unsafe {
        Cr4::write(cr4 - Cr4Flags::PAGE_GLOBAL);
        Cr4::write(cr4);
        if !cr4.contains(Cr4Flags::PAGE_GLOBAL) {
            load(root());
        }
    }
}
