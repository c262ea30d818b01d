//! The armour of InRelease files.
#![no_main]

use hullwright::archive::cleartext;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(parts) = cleartext::parse(data) {
        let _ = parts.hashed_text();
    }
});
