//! The kernel's addresses as bytes, for who loads code there and who looks into its tables.

use core::fmt;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_kspace::module::CodeMemory;

/// What this processor sees. `sync` makes what was written visible to fetching.
pub struct KernelCode<'s>(pub &'s dyn Fn(VirtRange));

impl fmt::Debug for KernelCode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KernelCode")
    }
}

impl CodeMemory for KernelCode<'_> {
    fn read(&mut self, at: VirtAddr, into: &mut [u8]) {
        let from = with_exposed_provenance::<u8>(at.get() as usize);
        // SAFETY: the loader asks for bytes of areas that it has taken, which are mapped and nobody else's; a handler of faults for a table inside of one.
        unsafe { from.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
    }

    fn write(&mut self, at: VirtAddr, bytes: &[u8]) {
        let to = with_exposed_provenance_mut::<u8>(at.get() as usize);
        // SAFETY: as above; they are not protected yet.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn sync(&mut self, range: VirtRange) {
        (self.0)(range);
    }
}
