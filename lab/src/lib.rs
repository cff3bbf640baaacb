//! The `pagewright` command: boot a described machine, show Linux's files for it, compare it with captured ones.
//!
//! The library half of the package, so that tests and tools can use what the command uses. [`capture`] reads what a
//! real kernel printed, [`machine`] holds an owned machine description, [`show`] the text files, [`conform`] the
//! comparison, [`workload`] what a machine is made to do, [`cli`] the command line.
//!
//! ```
//! use pagewright_lab::{machine::description, run};
//! use pagewright_view::View;
//!
//! let machine = description::shipped("arm64-virt")?.machine()?;
//! let file = run::boot(&machine, |booted| booted.show(View::Iomem), |_| ())??;
//! assert!(file.starts_with("40000000-bfffffff : System RAM\n"));
//! # Ok::<(), pagewright_lab::fault::Fault>(())
//! ```
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
pub mod workload;
