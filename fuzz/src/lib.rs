//! Fuzz targets: each takes bytes from outside, reads everything that can be read from them, and checks what must
//! hold of the answers.
//!
//! The targets are plain functions, so that cargo-fuzz (`fuzz_targets/`), the replay of the committed corpus
//! (`src/bin/corpus.rs`) and a debugger all call the same code. A finding is a panic, an overflow or a hang; an error
//! that a parser returns is a fine answer.
#![forbid(unsafe_code)]

mod boot;
mod boot_text;
mod module;
mod mutate;
mod page_alloc;
mod page_tables;
pub mod seeds;
mod slabs;
mod tables;
mod tree;
mod workload;

pub use boot::{boot_cmdline, boot_dmesg, boot_dtb};
pub use boot_text::{cmdline, dmesg, kernel_config};
pub use module::module;
pub use mutate::Mutator;
pub use page_alloc::{page_alloc, page_alloc_seed};
pub use page_tables::{page_tables, page_tables_seed};
pub use slabs::{slabs, slabs_seed};
pub use tables::{acpi, atags};
pub use tree::dtb;
pub use workload::workload;

/// A target.
pub struct Target {
    /// Its name, which is also that of the cargo-fuzz target.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]),
    /// How many mutated copies of each corpus file a replay runs: fewer where a run boots a machine.
    pub mutations: u64,
}

impl Target {
    /// The folder of its corpus: boots are fed what the parser of the same input is fed.
    pub fn corpus(&self) -> &'static str {
        self.name.strip_prefix("boot_").unwrap_or(self.name)
    }
}

/// All targets.
pub const TARGETS: [Target; 14] = [
    Target { name: "acpi", run: acpi, mutations: 1500 },
    Target { name: "atags", run: atags, mutations: 1500 },
    Target { name: "boot_cmdline", run: boot_cmdline, mutations: 100 },
    Target { name: "boot_dmesg", run: boot_dmesg, mutations: 1000 },
    Target { name: "boot_dtb", run: boot_dtb, mutations: 1000 },
    Target { name: "cmdline", run: cmdline, mutations: 1500 },
    Target { name: "dmesg", run: dmesg, mutations: 1500 },
    Target { name: "dtb", run: dtb, mutations: 1500 },
    Target { name: "kernel_config", run: kernel_config, mutations: 1500 },
    Target { name: "module", run: module, mutations: 1500 },
    Target { name: "page_alloc", run: page_alloc, mutations: 200 },
    Target { name: "page_tables", run: page_tables, mutations: 1500 },
    Target { name: "slabs", run: slabs, mutations: 100 },
    Target { name: "workload", run: workload, mutations: 1500 },
];

/// Renders a value and throws the text away: formatting runs code too.
pub(crate) fn shown(value: impl std::fmt::Debug) {
    std::hint::black_box(format!("{value:?}"));
}

/// The same for what a person would read.
pub(crate) fn said(value: impl std::fmt::Display) {
    std::hint::black_box(value.to_string());
}
