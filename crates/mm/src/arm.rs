//! arm
use crate::boot::Boot;
use crate::error::BootError;
pub(crate) fn setup_arch(_b: &mut Boot<'_>) -> Result<(), BootError> { Err(BootError::Unsupported { what: "this architecture" }) }
pub(crate) fn setup_per_cpu_areas(_b: &mut Boot<'_>) -> Result<(), BootError> { Ok(()) }
pub(crate) fn mem_init(_b: &mut Boot<'_>) -> Result<(), BootError> { Ok(()) }
