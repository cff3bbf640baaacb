//! cargo-fuzz's entry to [`pagewright_fuzz::page_alloc`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagewright_fuzz::page_alloc(data));
