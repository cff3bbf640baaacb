//! Small helpers that put values into Linux's wording.

use core::fmt;

/// A name of Linux's in small letters.
pub(crate) struct Small<'n>(pub(crate) &'n str);

impl fmt::Display for Small<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| write!(f, "{}", c.to_ascii_lowercase()))
    }
}
