//! Debian packages: ar, compression, tar, PAX, control file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hullwright::package::fuzz_parse(data));
