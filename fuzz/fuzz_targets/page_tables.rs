//! cargo-fuzz's entry to [`pagewright_fuzz::page_tables`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagewright_fuzz::page_tables(data));
