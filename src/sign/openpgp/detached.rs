//! Detached signatures of releases (RFC 4880, section 5.2.3, version 4), in one canonical encoding.
//!
//! All subpackets are hashed and the unhashed area is empty, so that every byte of a signature is
//! either fixed or covered by the cryptography: whoever changes one makes it invalid. EdDSA signatures
//! are deterministic and the time is an argument, so the same text signed twice gives the same bytes.

use std::fs;

use anyhow::{Context as _, Result, anyhow, ensure};
use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, Password, Timestamp};
use zeroize::Zeroizing;

use super::{Description, description, parse_public, parse_secret};
use crate::archive::openpgp;
use crate::sign::keys::{AskPassphrase, RELEASE_KEY, RELEASE_PUBLIC, private};
use crate::sign::{Trust, failure};
use crate::stamp::Stamp;

/// No detached signature that this program makes is longer.
pub const MAX_SIGNATURE: u64 = 256;

/// Length of a version 4 fingerprint.
const FINGERPRINT: usize = 20;
/// Length of one number of an EdDSA signature.
const NUMBER: usize = 32;

/// The secret release key of a key folder, opened.
pub struct ReleaseSigner {
    key: SignedSecretKey,
    description: Description,
}

impl std::fmt::Debug for ReleaseSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReleaseSigner")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl ReleaseSigner {
    /// Opens `release.key` in the folder of `trust`. It is good if it has not ended by `now`.
    ///
    /// # Errors
    /// The folder lacks it, others may read it, it is not the first key of `release.asc`, it has
    /// expired, or `ask` has not its passphrase.
    pub fn open(trust: &Trust, now: Stamp, ask: AskPassphrase<'_>) -> Result<Self> {
        let (dir, path) = (trust.dir(), trust.dir().join(RELEASE_KEY));
        let shown = path.display();
        let Some(public) = trust.release_key() else {
            return Err(failure(format!(
                "{} is missing: these keys can't sign releases",
                dir.join(RELEASE_PUBLIC).display()
            ))
            .hint("make a whole set with `hullwright keys new DIR`")
            .into());
        };
        let text = fs::read_to_string(&path).map(Zeroizing::new);
        let text = text.map_err(|error| {
            failure(format!("reading {shown}: {error}"))
                .hint("the folder that signs releases has release.key and release.asc")
        })?;
        private::check_mode(&path, trust.is_development())?;
        let mut key =
            parse_secret(&text).map_err(|error| failure(format!("{shown}: {error:#}")))?;
        let first = super::describe(public)
            .map_err(|error| failure(format!("{}: {error:#}", dir.join(RELEASE_PUBLIC).display())))?
            .into_iter()
            .next();
        let description = description(&key.to_public_key())?;
        if first.is_none_or(|first| first.fingerprint != description.fingerprint) {
            return Err(failure(format!(
                "{RELEASE_PUBLIC} in {} does not begin with the key in {RELEASE_KEY}",
                dir.display()
            ))
            .hint("copy both files from the same key set")
            .into());
        }
        if let Some(expires) = description.expires.filter(|expires| now >= *expires) {
            return Err(failure(format!(
                "{shown} expired on {}",
                crate::sign::keys::date(expires)
            ))
            .hint(format!(
                "run `hullwright keys rotate {} release`",
                dir.display()
            ))
            .into());
        }
        if key.primary_key.secret_params().is_encrypted() {
            let passphrase = ask(&shown.to_string())?;
            key.primary_key
                .remove_password(&Password::from(passphrase.as_str()))
                .map_err(|_| private::wrong_passphrase(&shown.to_string()))?;
        }
        Ok(Self { key, description })
    }

    /// Which key it is.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// Signs `data` as of `time`, or as of the key's birth where that is later: no verifier takes a
    /// signature that is older than its key.
    ///
    /// # Errors
    /// The time lies beyond the end of the key; the key is of another kind than ours.
    pub fn sign(&self, data: &[u8], time: Stamp) -> Result<Vec<u8>> {
        let time = time.max(self.description.created);
        if let Some(expires) = self.description.expires.filter(|expires| time >= *expires) {
            return Err(failure(format!(
                "the release is of {}, and the release key ends on {}",
                crate::sign::keys::date(time),
                crate::sign::keys::date(expires)
            ))
            .hint("rotate the release key with `hullwright keys rotate DIR release`")
            .into());
        }
        let seconds = u32::try_from(time.seconds()).context("the time lies beyond 2106")?;
        let key = &self.key.primary_key;
        let mut config = SignatureConfig::v4(
            SignatureType::Binary,
            PublicKeyAlgorithm::EdDSALegacy,
            HashAlgorithm::Sha512,
        );
        config.hashed_subpackets = [
            SubpacketData::SignatureCreationTime(Timestamp::from_secs(seconds)),
            SubpacketData::IssuerFingerprint(key.fingerprint()),
            SubpacketData::IssuerKeyId(key.legacy_key_id()),
        ]
        .into_iter()
        .map(Subpacket::regular)
        .collect::<pgp::errors::Result<_>>()?;
        let signature = config
            .sign(key, &Password::empty(), data)
            .context("signing with the release key")?;
        let bytes = DetachedSignature::new(signature)
            .to_bytes()
            .context("encoding the signature")?;
        ensure!(
            Canonical::parse(&bytes).is_some(),
            "the release key is not of the kind that `hullwright keys new` makes (Ed25519)"
        );
        Ok(bytes)
    }
}

/// The variable parts of a canonical signature.
struct Canonical {
    fingerprint: [u8; FINGERPRINT],
    time: u32,
}

impl Canonical {
    /// Reads `bytes`, of which every one must be where and as we write it.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        // New format, tag 2, one octet of length (section 4.2.2.1).
        expect(&mut rest, &[0xC2])?;
        let [len] = take(&mut rest)?;
        if usize::from(len) != rest.len() {
            return None;
        }
        // Version 4, binary document, EdDSA, SHA-512, 39 octets of hashed subpackets.
        expect(&mut rest, &[4, 0x00, 22, 10, 0, 39])?;
        expect(&mut rest, &[5, 2])?;
        let time = u32::from_be_bytes(take(&mut rest)?);
        expect(&mut rest, &[22, 33, 4])?;
        let fingerprint: [u8; FINGERPRINT] = take(&mut rest)?;
        // The key id is the end of the fingerprint (section 12.2).
        expect(&mut rest, &[9, 16])?;
        expect(&mut rest, fingerprint.get(FINGERPRINT - 8..)?)?;
        expect(&mut rest, &[0, 0])?;
        let _hash: [u8; 2] = take(&mut rest)?;
        for _ in 0..2 {
            let bits = usize::from(u16::from_be_bytes(take(&mut rest)?));
            let (number, after) = rest.split_at_checked(bits.div_ceil(8))?;
            let leading = number.first()?;
            if number.len() > NUMBER || number.len() * 8 - leading.leading_zeros() as usize != bits
            {
                return None;
            }
            rest = after;
        }
        rest.is_empty().then_some(Self { fingerprint, time })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn expect(rest: &mut &[u8], wanted: &[u8]) -> Option<()> {
    *rest = rest.strip_prefix(wanted)?;
    Some(())
}

/// The public keys that may sign releases.
#[derive(Debug, Clone)]
pub struct ReleaseKeys {
    ring: openpgp::Keyring,
    keys: Vec<SignedPublicKey>,
}

impl ReleaseKeys {
    /// Reads an armoured block of one or several keys.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(armoured: &str) -> Result<Self> {
        let keys = parse_public(armoured)?;
        ensure!(!keys.is_empty(), "it holds no OpenPGP public key");
        let ring = openpgp::Keyring::parse(armoured.as_bytes())?;
        Ok(Self { ring, keys })
    }

    /// Which keys these are.
    ///
    /// # Errors
    /// One has no user id.
    pub fn describe(&self) -> Result<Vec<Description>> {
        self.keys.iter().map(description).collect()
    }

    /// Whether an armoured block has one of these keys.
    ///
    /// # Errors
    /// It is no such block, or says something else of a key that both have.
    pub fn shares_key(&self, armoured: &str) -> Result<bool> {
        let mut shared = false;
        for key in parse_public(armoured)? {
            let known = self
                .keys
                .iter()
                .find(|known| known.fingerprint() == key.fingerprint());
            if let Some(known) = known {
                ensure!(
                    *known == key,
                    "it says something else of the key {}",
                    key.fingerprint()
                );
                shared = true;
            }
        }
        Ok(shared)
    }

    /// Checks that `signature` is the canonical signature of `data` by one of the keys that is good
    /// at `now`; returns when it was made.
    ///
    /// # Errors
    /// It is not; why.
    pub fn verify(&self, data: &[u8], signature: &[u8], now: Stamp) -> Result<Stamp> {
        let parts = Canonical::parse(signature)
            .context("the signature is damaged, or not one that hullwright makes")?;
        let shown = crate::digest::hex(&parts.fingerprint);
        if !self
            .keys
            .iter()
            .any(|key| key.fingerprint().as_bytes() == parts.fingerprint)
        {
            return Err(anyhow!("it is signed with another key, {shown}"));
        }
        let parsed =
            DetachedSignature::from_bytes(signature).context("the signature can't be read")?;
        openpgp::verify_detached(&parsed.signature, data, &self.ring, now.seconds())
            .map_err(|reason| anyhow!("the signature by {shown} is not good: {reason}"))?;
        Ok(Stamp::from_seconds(parts.time.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::generate;
    use super::*;
    use crate::failure::{Kind, kind_of};
    use std::os::unix::fs::PermissionsExt as _;

    const CREATED: Stamp = Stamp::from_seconds(1_800_000_000);
    const NOW: Stamp = Stamp::from_seconds(1_800_001_000);
    const YEAR: u64 = 365 * 24 * 60 * 60;

    fn signer(passphrase: Option<&str>) -> (ReleaseSigner, ReleaseKeys) {
        let pair = generate("Example Corp release", CREATED, YEAR, passphrase).unwrap();
        let mut key = parse_secret(&pair.secret).unwrap();
        if let Some(passphrase) = passphrase {
            key.primary_key
                .remove_password(&Password::from(passphrase))
                .unwrap();
        }
        let description = description(&key.to_public_key()).unwrap();
        let public = ReleaseKeys::parse(&pair.public).unwrap();
        (ReleaseSigner { key, description }, public)
    }

    #[test]
    fn the_same_text_at_the_same_time_has_the_same_signature() {
        let (signer, public) = signer(None);
        let signature = signer.sign(b"text", NOW).unwrap();
        assert_eq!(signature, signer.sign(b"text", NOW).unwrap());
        assert_ne!(signature, signer.sign(b"texts", NOW).unwrap());
        assert!(signature.len() as u64 <= MAX_SIGNATURE);
        assert_eq!(public.verify(b"text", &signature, NOW).unwrap(), NOW);
    }

    #[test]
    fn every_changed_bit_of_signature_or_text_is_noticed() {
        let (signer, public) = signer(None);
        let signature = signer.sign(b"text", NOW).unwrap();
        for at in 0..signature.len() {
            for bit in 0..8 {
                let mut bad = signature.clone();
                bad[at] ^= 1 << bit;
                assert!(public.verify(b"text", &bad, NOW).is_err(), "{at} {bit}");
            }
            assert!(public.verify(b"text", &signature[..at], NOW).is_err());
        }
        let longer = [&signature[..], &[0]].concat();
        assert!(public.verify(b"text", &longer, NOW).is_err());
        assert!(public.verify(b"texT", &signature, NOW).is_err());
    }

    #[test]
    fn signatures_of_many_texts_verify_whatever_the_leading_zeros() {
        let (signer, public) = signer(None);
        for number in 0..600_u32 {
            let text = number.to_le_bytes();
            let signature = signer.sign(&text, NOW).unwrap();
            public.verify(&text, &signature, NOW).unwrap();
        }
    }

    #[test]
    fn a_signature_is_never_older_than_its_key_nor_later_than_its_end() {
        let (signer, public) = signer(Some("correct horse"));
        let early = Stamp::from_seconds(CREATED.seconds() - 5);
        let signature = signer.sign(b"text", early).unwrap();
        assert_eq!(public.verify(b"text", &signature, NOW).unwrap(), CREATED);
        let late = Stamp::from_seconds(CREATED.seconds() + YEAR);
        let error = signer.sign(b"text", late).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Keys);
        assert!(public.verify(b"text", &signature, late).is_err(), "expired");
    }

    #[test]
    fn any_of_several_keys_will_do_and_no_other() {
        let (old, old_public) = signer(None);
        let pair = generate("next", CREATED, YEAR, None).unwrap();
        let signature = old.sign(b"text", NOW).unwrap();
        let error = ReleaseKeys::parse(&pair.public)
            .unwrap()
            .verify(b"text", &signature, NOW)
            .unwrap_err();
        assert!(error.to_string().contains("another key"), "{error}");
        let both = ReleaseKeys {
            ring: {
                let mut ring = openpgp::Keyring::parse(pair.public.as_bytes()).unwrap();
                ring.extend(old_public.ring);
                ring
            },
            keys: [parse_public(&pair.public).unwrap(), old_public.keys].concat(),
        };
        both.verify(b"text", &signature, NOW).unwrap();
        assert_eq!(both.describe().unwrap().len(), 2);
    }

    #[test]
    fn a_folder_opens_only_whole_private_and_in_time() {
        let set = tempfile::tempdir().unwrap();
        let dir = set.path().join("keys");
        let new = crate::sign::keys::NewSet {
            profile: crate::sign::KeyProfile::Development,
            name: None,
            passphrase: None,
        };
        let trust = crate::sign::keys::create(&dir, &new, CREATED).unwrap();
        let open = |now| ReleaseSigner::open(&trust, now, &crate::sign::no_passphrase);
        open(NOW).unwrap();
        let late = Stamp::from_seconds(CREATED.seconds() + 100 * YEAR);
        let error = open(late).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Keys);
        assert!(error.to_string().contains("expired on"), "{error}");
        let other = generate("other", CREATED, YEAR, None).unwrap();
        let path = dir.join(RELEASE_KEY);
        fs::write(&path, other.secret.as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = open(NOW).unwrap_err();
        assert!(error.to_string().contains("does not begin with"), "{error}");
        fs::remove_file(&path).unwrap();
        assert_eq!(kind_of(&open(NOW).unwrap_err()), Kind::Keys);
    }
}
