//! What was wrong with a command line.

use super::CrashkernelError;
use arrayvec::ArrayVec;
use core::fmt;

/// A parameter that was not (fully) taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Diagnostic<'a> {
    /// The parameter's name as written.
    pub name: &'a str,
    /// Its value as written.
    pub value: Option<&'a str>,
    /// What is wrong with it.
    pub kind: DiagnosticKind,
}

/// What is wrong with a parameter. The text of each is the kernel's where it prints one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiagnosticKind {
    /// An early option whose value the kernel cannot read.
    MalformedEarly,
    /// `cma=` without a value.
    CmaWithoutValue,
    /// `mem=nopentium` where the kernel has no use for it.
    NoPentium,
    /// `rodata=` with an unknown word.
    Rodata,
    /// `transparent_hugepage=` with an unknown word.
    TransparentHugepage,
    /// `percpu_alloc=` with an unknown word.
    PercpuAlloc,
    /// `numa=fake` on a kernel without it, or with a value that says nothing.
    NumaFake,
    /// `log_buf_len=` over 2 GiB.
    LogBufLen,
    /// `crashkernel=`, as far as it can be judged without knowing how much RAM there is.
    Crashkernel(CrashkernelError),
    /// Half-read: what follows the value that was taken is ignored in silence.
    TrailingText,
    /// Ignored in silence by the kernel: the value says nothing.
    Ignored,
    /// More parameters of this kind than are kept; this one was dropped.
    TooMany,
}

impl fmt::Display for Diagnostic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value) = (self.name, self.value.unwrap_or_default());
        match self.kind {
            DiagnosticKind::MalformedEarly => write!(f, "Malformed early option '{name}'"),
            DiagnosticKind::CmaWithoutValue => f.write_str("Config string not provided"),
            DiagnosticKind::NoPentium => f.write_str("mem=nopentium ignored! (only supported on x86_32)"),
            DiagnosticKind::Rodata => write!(f, "Invalid option string for rodata: '{value}'"),
            DiagnosticKind::TransparentHugepage => f.write_str("transparent_hugepage= cannot parse, ignored"),
            DiagnosticKind::PercpuAlloc => write!(f, "percpu: unknown allocator {value} specified"),
            DiagnosticKind::NumaFake => write!(f, "numa={value}: no faked nodes, ignored"),
            DiagnosticKind::LogBufLen => f.write_str("log_buf over 2G is not supported."),
            DiagnosticKind::Crashkernel(error) => error.fmt(f),
            DiagnosticKind::TrailingText => {
                write!(f, "{name}={value}: ignored what follows the value")
            }
            DiagnosticKind::Ignored => write!(f, "{name}={value}: ignored"),
            DiagnosticKind::TooMany => write!(f, "{name}={value}: ignored, too many of them"),
        }
    }
}

/// The diagnostics of one command line, in its order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diagnostics<'a> {
    list: ArrayVec<Diagnostic<'a>, { Diagnostics::CAPACITY }>,
    dropped: usize,
}

impl<'a> Diagnostics<'a> {
    /// How many are kept.
    pub const CAPACITY: usize = 32;

    pub(super) fn push(&mut self, diagnostic: Diagnostic<'a>) {
        if self.list.try_push(diagnostic).is_err() {
            self.dropped += 1;
        }
    }

    /// Those that were kept.
    pub fn as_slice(&self) -> &[Diagnostic<'a>] {
        &self.list
    }

    /// Those that were kept.
    pub fn iter(&self) -> core::slice::Iter<'_, Diagnostic<'a>> {
        self.list.iter()
    }

    /// Whether there was nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there were beyond [`Self::CAPACITY`].
    pub const fn dropped(&self) -> usize {
        self.dropped
    }
}

impl<'d, 'a> IntoIterator for &'d Diagnostics<'a> {
    type Item = &'d Diagnostic<'a>;
    type IntoIter = core::slice::Iter<'d, Diagnostic<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
