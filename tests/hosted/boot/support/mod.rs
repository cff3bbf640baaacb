//! Small machines described in code, and what their boots came to.

pub(crate) mod efi;
pub(crate) mod facts;
pub(crate) mod model;
mod service;
pub(crate) mod spec;
pub(crate) mod tables;
pub(crate) mod tree;
mod usage;

pub(crate) use facts::Facts;
pub(crate) use spec::Spec;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
