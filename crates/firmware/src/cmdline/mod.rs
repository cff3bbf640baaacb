//! The kernel command line: splitting it as the kernel does, and reading what bears on memory.
//!
//! [`CommandLine::params`] yields the parameters with the kernel's quoting rules; [`CommandLine::parse`] turns them
//! into typed [`Params`] for one kernel. A value that cannot be read never stops the rest: it becomes a
//! [`Diagnostic`] with the words that the kernel prints, and the parameter is as if it were not there (unless the
//! kernel itself half-accepts it; the field's documentation says so then).
//!
//! Sizes are `u64` bytes as written, before any rounding that the boot path does.
//!
//! ```
//! use pagewright_firmware::{Arch, cmdline::CommandLine};
//!
//! let (params, diagnostics) = CommandLine::new("cma=64M@1G-3G movablecore=25% colour=red").parse(Arch::Arm64);
//! assert_eq!(params.cma.unwrap().limit, 3 << 30);
//! assert!(params.unknown.contains("colour") && diagnostics.is_empty());
//! ```

mod apply;
mod crashkernel;
mod diagnostics;
mod known;
mod number;
mod params;
mod token;
mod unknown;
mod values;

pub use crashkernel::{CrashSize, Crashkernel, CrashkernelError, CrashkernelSuffix};
pub use diagnostics::{Diagnostic, DiagnosticKind, Diagnostics};
pub use number::{Integer, memparse, parse_bool, parse_integer, strtoull};
pub use params::Params;
pub use token::{Param, ParamIter, names_equal};
pub use unknown::UnknownParams;
pub use values::{
    Amount, CmaParam, ElfCoreHeader, HugePagesSpec, HugetlbParam, MemParam, MemmapParam, NumaFake, NumaParam,
    PercpuAlloc, Pti, Rodata, Swiotlb, ThpParam,
};

use crate::config::KernelConfig;
use crate::machine::Arch;

/// A command line as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct CommandLine<'a> {
    /// All of it.
    pub text: &'a str,
}

impl<'a> CommandLine<'a> {
    /// Wraps a text.
    pub const fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// Its parameters in order, up to `--`.
    pub const fn params(&self) -> ParamIter<'a> {
        ParamIter::new(self.text)
    }

    /// Reads it as Debian's kernel for this architecture would (see [`KernelConfig::for_arch`]).
    pub fn parse(&self, arch: Arch) -> (Params<'a>, Diagnostics<'a>) {
        self.parse_for(&KernelConfig::for_arch(arch))
    }

    /// Reads it as a kernel with this configuration would: which parameters exist follows from it.
    pub fn parse_for(&self, config: &KernelConfig) -> (Params<'a>, Diagnostics<'a>) {
        apply::parse(*self, config)
    }
}

#[cfg(test)]
mod tests;
