//! The `pagewright` command: boot a described machine, show Linux's files for it, compare it with captured ones.
//!
//! The library half of the package, so that tests and tools can use what the command uses. [`capture`] reads what a
//! real kernel printed, [`machine`] holds an owned machine description, [`show`] the text files, [`conform`] the
//! comparison, [`cli`] the command line.
#![forbid(unsafe_code)]

pub mod capture;
pub mod cli;
pub mod conform;
pub mod facts;
pub mod fault;
pub mod machine;
pub mod run;
pub mod show;
pub mod summary;
