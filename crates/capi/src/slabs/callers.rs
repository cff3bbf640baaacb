//! Where a program in C called: what records of watched objects name, if it says so (`PAGEWRIGHT_SLAB_SITES` in the header).

use core::ffi::{CStr, c_char, c_uint};
use core::ptr::null_mut;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicPtr, AtomicU32};
use pagewright_slab::slabs::Site;

/// The place of the operation that comes next, or is going on. Nobody but the one thread comes here, so what is atomic is so for the sake of the type alone.
pub(super) struct Caller {
    /// Null, or a text that stays.
    file: AtomicPtr<c_char>,
    line: AtomicU32,
}

pub(super) static CALLER: Caller = Caller { file: AtomicPtr::new(null_mut()), line: AtomicU32::new(0) };

impl Caller {
    /// The place, if the program said one.
    pub(super) fn site(&self) -> Option<Site> {
        let file = self.file.load(Relaxed);
        if file.is_null() {
            return None;
        }
        // SAFETY: a NUL-terminated text that stays for good (`pagewright_slab_from`).
        let file = unsafe { CStr::from_ptr(file) }.to_str().ok()?;
        Some(Site::new(file, self.line.load(Relaxed)))
    }

    /// The operation is over.
    pub(super) fn forget(&self) {
        self.file.store(null_mut(), Relaxed);
    }
}

/// Says where the next operation on objects is called: what records of watched objects name in place of this library's own line.
///
/// # Safety
/// `file` is null, or a NUL-terminated text that stays for good.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagewright_slab_from(file: *const c_char, line: c_uint) {
    CALLER.file.store(file.cast_mut(), Relaxed);
    CALLER.line.store(line, Relaxed);
}
