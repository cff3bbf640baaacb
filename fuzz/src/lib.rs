//! Fuzz targets: each takes bytes from outside, reads everything that can be read from them, and checks what must
//! hold of the answers.
//!
//! The targets are plain functions, so that cargo-fuzz (`fuzz_targets/`), the replay of the committed corpus
//! (`src/bin/corpus.rs`) and a debugger all call the same code. A finding is a panic, an overflow or a hang; an error
//! that a parser returns is a fine answer.
#![forbid(unsafe_code)]

mod boot_text;
mod mutate;
pub mod seeds;
mod tables;
mod tree;

pub use boot_text::{cmdline, dmesg, kernel_config};
pub use mutate::Mutator;
pub use tables::{acpi, atags};
pub use tree::dtb;

/// A target's function.
pub type Target = fn(&[u8]);

/// All targets by name; the name is also that of the corpus folder and of the cargo-fuzz target.
pub const TARGETS: [(&str, Target); 6] = [
    ("acpi", acpi),
    ("atags", atags),
    ("cmdline", cmdline),
    ("dmesg", dmesg),
    ("dtb", dtb),
    ("kernel_config", kernel_config),
];

/// Renders a value and throws the text away: formatting runs code too.
pub(crate) fn shown(value: impl std::fmt::Debug) {
    std::hint::black_box(format!("{value:?}"));
}

/// The same for what a person would read.
pub(crate) fn said(value: impl std::fmt::Display) {
    std::hint::black_box(value.to_string());
}
