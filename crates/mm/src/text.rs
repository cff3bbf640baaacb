//! Small helpers that put values into the kernel's wording.

use core::fmt;
use pagewright_addr::PhysAddr;

/// An address as `%pa` prints it: `0x` and eight or sixteen digits, after the width of `phys_addr_t`.
#[derive(Clone, Copy, Debug)]
pub struct Pa {
    /// The address.
    pub at: PhysAddr,
    /// Whether `phys_addr_t` has 64 bits.
    pub wide: bool,
}

impl fmt::Display for Pa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wide { write!(f, "{:#018x}", self.at) } else { write!(f, "{:#010x}", self.at) }
    }
}
