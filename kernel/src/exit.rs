//! How an image ends, in numbers that the host of a virtual machine sees.

use core::fmt;

/// Why an image ends. The number is what the host's process exits with, where the machine can tell it (semihosting, a
/// debug-exit device, ...).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for was done, and every test passed.
    Passed = 0,
    /// A test of the image's own failed.
    TestFailed = 2,
    /// The boot stopped: firmware data that cannot be used, or too little memory.
    BootFailed = 3,
    /// An exception that nobody expected.
    Fault = 4,
    /// The library or the image found a broken invariant.
    Panic = 5,
    /// The command line asks for something that the image does not have.
    Usage = 6,
}

impl Exit {
    /// All ways to end.
    pub const ALL: [Self; 6] =
        [Self::Passed, Self::TestFailed, Self::BootFailed, Self::Fault, Self::Panic, Self::Usage];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What the closing line says.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::TestFailed => "a test failed",
            Self::BootFailed => "the boot stopped",
            Self::Fault => "an exception that nobody expected",
            Self::Panic => "panicked",
            Self::Usage => "the command line asks for what there is not",
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The form is fixed: `cargo xtask` looks for it.
        write!(f, "pagewright: end: {} ({})", self.word(), self.code())
    }
}
