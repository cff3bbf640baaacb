//! The codecs: every attribute goes round, literal words say what the specifications say, and the walker maps with each:
//! with the fewest tables, and tokens, breaks and cursors that keep their promises.

mod arm64;
mod arm_lpae;
mod arm_short;
mod common;
mod i386;
mod minimum;
#[cfg(not(miri))]
mod oracle;
mod pages;
mod proven;
mod tokens;
mod walker;
mod x86_64;
