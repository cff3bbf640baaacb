//! Parts that take no lock, explored by loom: every order in which threads can come to act, and every value that relaxed loads may see. These are the four of the
//! table and no others: the gate before a processor's objects and what keeps SLAB's reaper from a cache that ends (`holding`) are not among them.
//!
//! The sources are the library's own, copied by `build.rs` with loom's atomics in place of core's. Everything is behind `cfg(loom)`:
//! `cargo xtask loom` sets it, and bounds how often a thread is preempted where a model has many steps.
//!
//! | model | what may not happen |
//! |---|---|
//! | `Spin` | two holders at once; a holder that does not see what the last one wrote |
//! | `Attention` | a request that is lost, or answered twice |
//! | references of a page | a count that does not add up; a reference that is taken while the page changes hands |
//! | grace periods | a reader that looks at what was taken back after a grace period that waited for it |
#![cfg(loom)]

#[allow(unreachable_pub, dead_code, missing_docs)]
mod spin {
    include!(concat!(env!("OUT_DIR"), "/spin.rs"));
}
#[allow(unreachable_pub, dead_code, rustdoc::broken_intra_doc_links)]
mod attention {
    include!(concat!(env!("OUT_DIR"), "/attention.rs"));
}
#[allow(unreachable_pub, dead_code)]
mod counts {
    include!(concat!(env!("OUT_DIR"), "/counts.rs"));
}

#[allow(unreachable_pub, dead_code, rustdoc::broken_intra_doc_links)]
mod grace {
    include!(concat!(env!("OUT_DIR"), "/grace.rs"));
}

#[cfg(test)]
mod tests;
