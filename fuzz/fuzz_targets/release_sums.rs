//! `SHA256SUMS` of releases, and their detached signatures.
#![no_main]

use hullwright::release::sums::Sums;
use hullwright::sign::openpgp::ReleaseKeys;
use hullwright::stamp::Stamp;

const KEY: &str = include_str!("../seeds/release_sums/release.asc");

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(sums) = Sums::parse(data) {
        assert_eq!(sums.to_text().as_bytes(), data, "there is one encoding");
    }
    let keys = ReleaseKeys::parse(KEY).expect("the seed is a key");
    let _ = keys.verify(b"text", data, Stamp::from_seconds(1_800_000_000));
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = ReleaseKeys::parse(text);
    }
});
