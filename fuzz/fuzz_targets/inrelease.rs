//! OpenPGP: keyrings, and signatures of InRelease files against Debian's keys.
#![no_main]

use std::sync::LazyLock;

use hullwright::archive::cleartext;
use hullwright::archive::openpgp::{self, Keyring};

static DEBIAN: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::parse(include_bytes!(
        "../../profiles/keyrings/debian/trixie-stable.pgp"
    ))
    .expect("the shipped keyring has keys")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(keys) = Keyring::parse(data) {
        assert!(!keys.fingerprints().is_empty());
    }
    if let Ok(message) = cleartext::parse(data) {
        let _ = openpgp::verify(&message, &DEBIAN, &[], 1_795_305_600);
    }
});
