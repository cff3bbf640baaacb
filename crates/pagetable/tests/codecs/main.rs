//! The codecs: every attribute goes round, literal words say what the specifications say, and the walker maps with each.

mod arm64;
mod arm_lpae;
mod arm_short;
mod common;
mod i386;
#[cfg(not(miri))]
mod oracle;
mod walker;
mod x86_64;
