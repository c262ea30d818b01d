//! Profiles.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = hullwright::profile::parse_bytes(data);
});
