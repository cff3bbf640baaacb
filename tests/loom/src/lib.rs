//! Parts that take no lock, explored by loom: every order in which threads can come to act, and every value that relaxed loads may see. These are those of the
//! table and no others.
//!
//! The sources are the library's own, copied by `build.rs` with loom's atomics in place of core's. Everything is behind `cfg(loom)`:
//! `cargo xtask loom` sets it, and bounds how often a thread is preempted where a model has many steps.
//!
//! | model | what may not happen |
//! |---|---|
//! | `Spin` | two holders at once; a holder that does not see what the last one wrote |
//! | `Attention` | a request that is lost, or answered twice |
//! | which orders of a zone have blocks, told without its lock | a block of pages that wait no longer, and that is not seen |
//! | references of a page, in one word and in two | a count that does not add up; a reference that is taken while the page changes hands |
//! | a processor's free list | an object that is taken twice or lost, because the list was used between a look at it and the swap; an object taken for one of another slab |
//! | a slab's own list | an object that is lost or there twice, a link that is not seen, a slab in two lists or in none: frees from elsewhere against the processor that takes all, gives up or freezes, and against the holder of the lock |
//! | the gate before a processor's objects | a request that is lost, or answered twice; a gate that a request opens while its owner is inside |
//! | a place in the table of caches | a cache that ends while a reaper looks at it or a processor has something of it; one that nobody waits for, and that ends twice or never |
//! | a processor that has something of a cache and is asked for it | a request that is taken and answered with what was so before it; a cache that nobody waits for, and that does not end; one that is used again, and asked for time after time |
//! | grace periods | a reader that looks at what was taken back after a grace period that waited for it |
#![cfg(loom)]
#![expect(
    missing_docs,
    reason = "what the library keeps to itself is public here: a model need not use all of it"
)]

pub mod spin {
    include!(concat!(env!("OUT_DIR"), "/spin.rs"));
}

#[allow(rustdoc::broken_intra_doc_links)]
pub mod attention {
    include!(concat!(env!("OUT_DIR"), "/attention.rs"));
}

#[allow(rustdoc::broken_intra_doc_links)]
pub mod migrate {
    include!(concat!(env!("OUT_DIR"), "/migrate.rs"));
}

#[allow(rustdoc::broken_intra_doc_links)]
pub mod occupied {
    include!(concat!(env!("OUT_DIR"), "/occupied.rs"));
}

pub mod counts_wide {
    include!(concat!(env!("OUT_DIR"), "/counts_wide.rs"));
}

pub mod counts_halves {
    include!(concat!(env!("OUT_DIR"), "/counts_halves.rs"));
}

#[allow(rustdoc::broken_intra_doc_links)]
pub mod grace {
    include!(concat!(env!("OUT_DIR"), "/grace.rs"));
}

#[allow(rustdoc::broken_intra_doc_links)]
pub mod word {
    include!(concat!(env!("OUT_DIR"), "/word.rs"));
}

pub mod tid {
    include!(concat!(env!("OUT_DIR"), "/tid.rs"));
}

pub mod frozen {
    include!(concat!(env!("OUT_DIR"), "/frozen.rs"));
}

pub mod requests {
    include!(concat!(env!("OUT_DIR"), "/requests.rs"));
}

pub mod tenancy {
    include!(concat!(env!("OUT_DIR"), "/tenancy.rs"));
}

#[cfg(test)]
mod gate;
#[cfg(test)]
mod tests;
