//! Huge pages at boot: `hugetlb_cma=`, and gigantic pages taken from memblock.

use crate::boot::Boot;
use crate::error::BootError;

/// `hugetlb_cma_reserve`: contiguous areas from which gigantic pages are made later.
pub(crate) fn cma_reserve(_b: &mut Boot<'_>) -> Result<(), BootError> {
    Ok(())
}
