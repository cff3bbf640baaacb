//! What the images of arm and arm64 share: devices that both have, a device tree, processors that PSCI starts. What differs are
//! instructions: [`this`](super::this)`::cpu` has them under the same names.

pub(crate) mod clock;
pub(crate) mod console;
pub(crate) mod events;
pub(crate) mod exit;
pub(crate) mod gic;
pub(crate) mod smp;
pub(crate) mod tree;

use super::{end, this};
