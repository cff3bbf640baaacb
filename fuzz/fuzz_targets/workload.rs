//! cargo-fuzz's entry to [`pagewright_fuzz::workload`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagewright_fuzz::workload(data));
