//! Whole boots of small machines that are described in code, and the facts that they must show.

mod arm64_limits;
mod support;
