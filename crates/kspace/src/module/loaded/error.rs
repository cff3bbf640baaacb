//! Why a module does not become live, and why one stays.

use super::{ModuleName, ModuleState};
use core::fmt;
use pagewright_pagetable::UnmapError;

/// Why a module did not become live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitFailed {
    /// There is no such module, or its init function is not what is waited for.
    NotComing,
    /// Its init function returned this error; nothing of the module is left.
    Returned(i32),
    /// The page tables did not take the protection; nothing of the module is left.
    Protect(UnmapError),
}

impl fmt::Display for InitFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotComing => f.write_str("no module that is being loaded"),
            Self::Returned(error) => write!(f, "its init function returned {error}"),
            Self::Protect(e) => write!(f, "its memory cannot be protected: {e}"),
        }
    }
}

impl core::error::Error for InitFailed {}

/// Why a module stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnloadError {
    /// There is no such module (`ENOENT`).
    None,
    /// Its init or exit function runs (`EBUSY`).
    Busy {
        /// The module.
        module: ModuleName,
        /// Which.
        state: ModuleState,
    },
    /// Others use it (`EWOULDBLOCK`).
    InUse {
        /// How many modules were relocated against its symbols; [`super::Modules::users`] names them.
        users: u32,
        /// The first of them.
        first: Option<ModuleName>,
        /// References besides ([`super::Modules::get`]).
        references: u32,
    },
    /// It has an init function and no exit function: it stays for good (`EBUSY`).
    Permanent {
        /// The module.
        module: ModuleName,
    },
}

impl fmt::Display for UnloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no such module"),
            Self::Busy { module, state } => write!(f, "Module {module} is busy: {state}"),
            Self::InUse { first: Some(first), users, .. } => {
                write!(f, "the module is in use by: {first}")?;
                if *users > 1 { write!(f, " and {} more", users - 1) } else { Ok(()) }
            }
            Self::InUse { .. } => f.write_str("the module is in use"),
            Self::Permanent { module } => {
                write!(f, "Module {module} has no exit function and stays for good")
            }
        }
    }
}

impl core::error::Error for UnloadError {}
