//! cargo-fuzz's entry to [`pagewright_fuzz::module`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagewright_fuzz::module(data));
