//! Which parameter names a kernel knows.

use crate::config::KernelConfig;

/// Whether some part of a kernel with this configuration takes a parameter of this name.
pub(super) fn is_known(_name: &str, _has_value: bool, _config: &KernelConfig) -> bool {
    true
}
