//! The built-in keyring, and which of its keys speak for which suite.

use std::collections::BTreeMap;

use anyhow::Result;

use super::openpgp::Keyring;
use crate::failure::{Failure, Kind};
use crate::profile::schema::ArchiveSource;

/// Keyring files by the name that profiles use in `keyring:`.
pub type Keyrings = BTreeMap<String, Vec<u8>>;

/// The name of the built-in keyring.
pub const DEBIAN: &str = "debian";

const DEBIAN_KEYS: [&[u8]; 6] = [
    include_bytes!("../../profiles/keyrings/debian/trixie-automatic.pgp"),
    include_bytes!("../../profiles/keyrings/debian/trixie-security-automatic.pgp"),
    include_bytes!("../../profiles/keyrings/debian/trixie-stable.pgp"),
    include_bytes!("../../profiles/keyrings/debian/bookworm-automatic.pgp"),
    include_bytes!("../../profiles/keyrings/debian/bookworm-security-automatic.pgp"),
    include_bytes!("../../profiles/keyrings/debian/bookworm-stable.pgp"),
];

const AUTOMATIC_13: &str = "04b54c3cdca79751b16bc6b5225629df75b188bd";
const SECURITY_13: &str = "5e04a1e3223a19a20706e20f9904613d4cce68c6";
const STABLE_13: &str = "41587f7db8c774bccf131416762f67a0b2c39de4";
const AUTOMATIC_12: &str = "b8b80b5b623eab6ad8775c45b7c5d7d6350947f8";
const SECURITY_12: &str = "05ab90340c0c5e797f44a8c8254cf3b5aec0a8f0";
const STABLE_12: &str = "4d64fec119c2029067d6e791f8d2585b8783d481";

/// Primary keys that Debian signs `suite` with. Each state is signed by the automatic keys of the
/// current release and of the one before, the stable suites also by their release key.
fn debian_pins(suite: &str) -> &'static [&'static str] {
    if suite.ends_with("-security") {
        return &[SECURITY_13, SECURITY_12];
    }
    match suite {
        "trixie" => &[STABLE_13, AUTOMATIC_13, AUTOMATIC_12],
        "bookworm" => &[STABLE_12, AUTOMATIC_13, AUTOMATIC_12],
        _ => &[AUTOMATIC_13, AUTOMATIC_12],
    }
}

/// What a suite's Release is verified with.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Certificates.
    pub keyring: Keyring,
    /// Lower-case fingerprints, one of which must have signed; empty: any key of the keyring.
    pub pins: Vec<String>,
}

/// The trust root of `suite` in `source`.
///
/// # Errors
/// The keyring is missing or holds no key, or a fingerprint is none.
pub fn trust(source: &ArchiveSource, suite: &str, keyrings: &Keyrings) -> Result<Trust> {
    let usage = |message: String| Failure::new(Kind::Usage, message);
    let mut pins = Vec::new();
    for text in &source.fingerprints {
        let pin: String = text
            .chars()
            .filter(|c| !c.is_ascii_whitespace())
            .map(|c| c.to_ascii_lowercase())
            .collect();
        // Short ids are refused: they can be forged.
        if !matches!(pin.len(), 40 | 64) || !pin.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(usage(format!(
                "archive `{}`: `{text}` is not a fingerprint of 40 hexadecimal digits",
                source.name
            ))
            .hint("`gpg --show-keys --with-subkey-fingerprint FILE` prints them")
            .into());
        }
        pins.push(pin);
    }
    let keyring = if source.keyring == DEBIAN {
        if pins.is_empty() {
            pins = debian_pins(suite).iter().map(|&pin| pin.into()).collect();
        }
        let mut keyring = Keyring::default();
        for bytes in DEBIAN_KEYS {
            keyring.extend(Keyring::parse(bytes)?);
        }
        keyring
    } else {
        let bytes = keyrings.get(&source.keyring).ok_or_else(|| {
            usage(format!(
                "archive `{}`: the keyring `{}` was not found",
                source.name, source.keyring
            ))
            .hint("`keyring` is `debian` or a file relative to the profile")
        })?;
        Keyring::parse(bytes).map_err(|e| {
            usage(format!(
                "archive `{}`: the keyring `{}` can't be used: {e}",
                source.name, source.keyring
            ))
        })?
    };
    Ok(Trust { keyring, pins })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_keyring_holds_the_pinned_keys() {
        let mut found = Vec::new();
        for bytes in DEBIAN_KEYS {
            found.extend(Keyring::parse(bytes).unwrap().fingerprints());
        }
        let mut expected = [
            AUTOMATIC_13,
            SECURITY_13,
            STABLE_13,
            AUTOMATIC_12,
            SECURITY_12,
            STABLE_12,
        ];
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn security_suites_take_security_keys_only() {
        for suite in ["trixie", "trixie-updates", "forky", "trixie-backports"] {
            assert!(!debian_pins(suite).contains(&SECURITY_13), "{suite}");
        }
        assert_eq!(debian_pins("trixie-security"), [SECURITY_13, SECURITY_12]);
    }
}
