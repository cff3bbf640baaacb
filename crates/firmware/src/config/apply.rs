//! Reading a `.config`.

mod choices;
mod settle;

use super::{KernelConfig, Refusal};
use crate::machine::Arch;
use choices::Choices;
use core::fmt;

/// Why a `.config` was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The line it is about, counted from 1; 0 when it is about the whole.
    pub line: usize,
    /// What is wrong.
    pub kind: ConfigErrorKind,
}

/// What is wrong with a `.config`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigErrorKind {
    /// A line that is no comment and no `CONFIG_NAME=value`.
    Syntax,
    /// A symbol with a value of another kind than it has.
    Value {
        /// The symbol, without `CONFIG_`.
        symbol: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// The file is for another architecture.
    Arch {
        /// The one it is for.
        found: Arch,
        /// The one of the machine.
        expected: Arch,
    },
    /// The choices cannot be combined, or are not modelled.
    Refused(Refusal),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line != 0 {
            write!(f, "line {}: ", self.line)?;
        }
        match self.kind {
            ConfigErrorKind::Syntax => {
                f.write_str("expected CONFIG_NAME=value, # CONFIG_NAME is not set, or a comment")
            }
            ConfigErrorKind::Value { symbol, expected } => write!(f, "CONFIG_{symbol} takes {expected}"),
            ConfigErrorKind::Arch { found, expected } => {
                write!(f, "the configuration is for {found:?}, the machine is {expected:?}")
            }
            ConfigErrorKind::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {}

/// One line of a `.config`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Statement<'a> {
    Nothing,
    /// The name without `CONFIG_`, and the value without quotes; `n` for `is not set`.
    Symbol(&'a str, &'a str),
}

fn statement(line: &str) -> Option<Statement<'_>> {
    let line = line.trim();
    if let Some(comment) = line.strip_prefix('#') {
        let name = comment.trim().strip_prefix("CONFIG_").and_then(|c| c.strip_suffix(" is not set"));
        return Some(name.map_or(Statement::Nothing, |name| Statement::Symbol(name, "n")));
    }
    if line.is_empty() {
        return Some(Statement::Nothing);
    }
    let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
    let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    valid.then_some(Statement::Symbol(name, value))
}

/// The architecture that a `.config` is for, if it says so.
///
/// A complete file names it. An excerpt may leave that line out; a symbol that only one architecture asks about tells it
/// then, whatever its value.
pub fn arch_of(text: &str) -> Option<Arch> {
    let symbols = || {
        text.lines().filter_map(|line| match statement(line)? {
            Statement::Symbol(name, value) => Some((name, value)),
            Statement::Nothing => None,
        })
    };
    let named = symbols().find_map(|symbol| match symbol {
        ("X86_64", "y") => Some(Arch::X86_64),
        ("X86_32", "y") => Some(Arch::I386),
        ("ARM64", "y") => Some(Arch::Arm64),
        ("ARM", "y") => Some(Arch::Arm),
        _ => None,
    });
    named.or_else(|| {
        symbols().find_map(|(name, _)| match name {
            "X86_5LEVEL" | "X86_64_ACPI_NUMA" => Some(Arch::X86_64),
            "X86_PAE" | "HIGHMEM4G" | "HIGHMEM64G" => Some(Arch::I386),
            "ARM64_4K_PAGES" | "ARM64_16K_PAGES" | "ARM64_64K_PAGES" | "ARM64_VA_BITS" | "ARM64_PA_BITS" => {
                Some(Arch::Arm64)
            }
            "ARM_LPAE" | "ARM_PATCH_PHYS_VIRT" | "ARM_THUMB" => Some(Arch::Arm),
            _ => None,
        })
    })
}

/// The words that head every complete `.config`.
const COMPLETE: &str = "# Automatically generated file; DO NOT EDIT.";

impl KernelConfig {
    /// Reads a Linux `.config` over these settings and validates the result.
    ///
    /// Order does not matter, except that of two values for one symbol the later counts. A symbol that is missing keeps
    /// its present value, or, in a complete file (one with the head that Kconfig writes), is off. Choices that follow
    /// from others (page-table levels, the largest order, the page offset) follow unless the file states them.
    /// Symbols that are not known here are skipped.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is changed then.
    pub fn apply(&mut self, text: &str) -> Result<(), ConfigError> {
        let complete = text.lines().any(|line| line.trim_end() == COMPLETE);
        let mut choices = Choices::new(*self, complete);
        for (index, line) in text.lines().enumerate() {
            let at = |kind| ConfigError { line: index + 1, kind };
            match statement(line).ok_or(at(ConfigErrorKind::Syntax))? {
                Statement::Nothing => {}
                Statement::Symbol(name, value) => choices.set(name, value).map_err(at)?,
            }
        }
        let config = choices.settle();
        config.validate().map_err(|r| ConfigError { line: 0, kind: ConfigErrorKind::Refused(r) })?;
        *self = config;
        Ok(())
    }
}
