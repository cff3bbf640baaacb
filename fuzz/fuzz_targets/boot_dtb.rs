//! cargo-fuzz's entry to [`pagewright_fuzz::boot_dtb`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagewright_fuzz::boot_dtb(data));
