//! cargo-fuzz's entry to [`pagewright_fuzz::kernel_config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagewright_fuzz::kernel_config(data));
