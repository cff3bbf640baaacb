//! cargo-fuzz's entry to [`pagewright_fuzz::slabs`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagewright_fuzz::slabs(data));
