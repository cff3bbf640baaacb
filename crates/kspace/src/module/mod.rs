//! Modules: relocatable ELF files laid out in the kernel's address space, relocated, protected, and freed again.
//!
//! [`ModuleFile`] reads the file and nothing else; [`ModuleLayout`] says where each of its sections will lie; [`Module::load`] takes areas from a
//! [`ModuleHost`], fills and relocates them, and makes text executable and read-only. The kernel then calls the module's init function and says
//! [`Module::finish_init`], which frees what is needed once only. [`Modules`] does so for any number of modules that use each other's symbols, and counts who
//! uses whom.
//!
//! # Layout
//! Two areas, one for good (*core*) and one for sections whose names begin with `.init`. In each, every group begins at a page of its own:
//! ```text
//! text [veneers] | read-only data | read-only after init | data
//! ```
//! so that text is never writable and data never executable once the module is loaded. Sections whose names begin with `.data..percpu` lie in neither: they are
//! laid out one after the other, and each CPU has a copy, in room that the host brings ([`PerCpuRoom`]: the part of the first per-CPU chunk that is
//! reserved for modules).
//!
//! # Veneers
//! A branch on arm64 and arm reaches 128 and 32 MiB. What is farther is reached through a veneer (a *PLT entry*) behind the text: room for
//! one for each symbol that branches could lead to outside of their area is taken with the layout, so that a module may also lie where the kernel's own
//! text is out of reach ([`OnVmalloc`] looks for areas where the kernel would: [`ModuleWindows`]).
//!
//! The file comes from outside: nothing in it makes this panic, and after an error no area is left. Sources: System V ABI, chapters 4 and 5 (object files); the
//! processors' supplements (x86-64 psABI, "ELF for the Arm 64-bit Architecture", "ELF for the Arm Architecture") for relocations.

mod error;
mod file;
mod fixup;
mod host;
mod layout;
mod load;
mod loaded;
mod relocate;
mod tables;
mod windows;

pub use error::{ModuleError, RelocationProblem};
pub use file::{Modinfo, ModuleFile};
pub use fixup::{Fixup, RegisterChange, RegisterChanges};
pub use host::{CodeMemory, ModuleHost, OnVmalloc, PerCpuRoom};
pub use layout::{Group, ModuleLayout, Part, PartLayout, PerCpuLayout, Place};
pub use load::Module;
pub use loaded::{InitFailed, ModuleId, ModuleName, ModuleSlot, ModuleState, Modules, UnloadError};
pub use relocate::ModuleArch;
pub use tables::{Export, FaultTable};
pub use windows::ModuleWindows;
