//! Reading a command line into [`Params`].
//!
//! The kernel goes over the command line twice, first for early options, then for the rest; each pass keeps the order.
//! No parameter is both, so one pass here gives the same values.

mod huge;
mod memory;
mod numa;
mod switches;

use super::crashkernel::Crashkernel;
use super::diagnostics::{Diagnostic, DiagnosticKind, Diagnostics};
use super::known::is_known;
use super::token::Param;
use super::{CommandLine, CrashkernelError, Params};
use crate::config::KernelConfig;
use crate::machine::Arch;
use arrayvec::ArrayString;

/// What became of a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Read, or ignored without a word.
    Taken,
    /// An early option whose handler failed: the kernel says so, nothing more.
    Malformed,
    /// Unknown to the kernel: it has no handler, or a late handler did not want the value.
    Refused,
    /// Known to the kernel, but none of those that are read here.
    NotRead,
}

/// The longest name that is looked up: no known one is longer.
const NAME_LIMIT: usize = 48;

/// The state of the pass.
struct Reader<'a, 'c> {
    params: Params<'a>,
    diagnostics: Diagnostics<'a>,
    config: &'c KernelConfig,
}

pub(super) fn parse<'a>(line: CommandLine<'a>, config: &KernelConfig) -> (Params<'a>, Diagnostics<'a>) {
    let mut reader = Reader { params: Params::default(), diagnostics: Diagnostics::default(), config };
    for param in line.params() {
        let outcome = reader.read(&param);
        let known = match outcome {
            Outcome::Taken | Outcome::NotRead => true,
            Outcome::Malformed => {
                reader.report(&param, DiagnosticKind::MalformedEarly);
                true
            }
            Outcome::Refused => false,
        };
        if !known {
            reader.params.unknown.push(&param);
        }
    }
    reader.params.crashkernel = Crashkernel::find(line.text).filter(|_| config.kexec_core);
    if let Some(crashkernel) = reader.params.crashkernel {
        reader.check_crashkernel(crashkernel);
    }
    (reader.params, reader.diagnostics)
}

impl<'a> Reader<'a, '_> {
    fn report(&mut self, param: &Param<'a>, kind: DiagnosticKind) {
        self.diagnostics.push(Diagnostic { name: param.name, value: param.value, kind });
    }

    fn is_x86(&self) -> bool {
        matches!(self.config.arch, Arch::X86_64 | Arch::I386)
    }

    fn read(&mut self, param: &Param<'a>) -> Outcome {
        let mut name = ArrayString::<NAME_LIMIT>::new();
        for c in param.name.chars() {
            if name.try_push(if c == '-' { '_' } else { c }).is_err() {
                return Outcome::Refused;
            }
        }
        self.read_searched(&name, param);
        if matches!(&*name, "init" | "rdinit") && param.value.is_some() {
            self.params.unknown.init_named();
        }
        if !is_known(&name, param.value, self.config) {
            return Outcome::Refused;
        }
        let readers = [Self::read_memory, Self::read_huge, Self::read_numa, Self::read_switch];
        readers
            .into_iter()
            .map(|read| read(self, &name, param))
            .find(|outcome| *outcome != Outcome::NotRead)
            .unwrap_or(Outcome::NotRead)
    }

    /// Reports what is wrong with `crashkernel=` whatever the size of RAM.
    fn check_crashkernel(&mut self, crashkernel: Crashkernel<'a>) {
        let Some(value) = crashkernel.last(None) else { return };
        match crashkernel.resolve(u64::MAX >> 1) {
            Ok(_) | Err(CrashkernelError::NotGiven) => {}
            Err(error) => {
                let param = Param { name: "crashkernel", value: Some(value) };
                self.report(&param, DiagnosticKind::Crashkernel(error));
            }
        }
    }
}
