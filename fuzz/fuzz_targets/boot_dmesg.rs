//! cargo-fuzz's entry to [`pagewright_fuzz::boot_dmesg`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagewright_fuzz::boot_dmesg(data));
