//! Which OpenPGP signatures count: the policy that the `pgp` crate leaves to its user.
//!
//! A signature counts when its hash is strong, it was made by a key that is pinned (or any of the
//! keyring, where none is), and that key could sign: bound to its primary key by a valid
//! self-signature with the signing flag (and, for a subkey, bound back), neither revoked nor
//! expired now, and older than the signature. One that counts is enough; others don't matter.

use pgp::composed::{Deserializable as _, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{Duration, Fingerprint, KeyDetails, Tag, VerifyingKey};

use super::cleartext::Cleartext;

/// Parsed certificates.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

/// A keyring file without one usable certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it holds no OpenPGP public key")]
pub struct NoKeys;

impl Keyring {
    /// Reads a keyring, armored or binary; certificates that can't be read are left out.
    ///
    /// # Errors
    /// Not one certificate could be read.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoKeys> {
        let mut certificates = Vec::new();
        for block in blocks(bytes) {
            if let Ok((keys, _)) = SignedPublicKey::from_reader_many(block) {
                certificates.extend(keys.take(1024).flatten());
            }
        }
        if certificates.is_empty() {
            return Err(NoKeys);
        }
        Ok(Self { certificates })
    }

    /// Adds another keyring's certificates.
    pub fn extend(&mut self, other: Self) {
        self.certificates.extend(other.certificates);
    }

    /// Fingerprints of the primary keys, in lower-case hexadecimal.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        self.certificates
            .iter()
            .map(|c| hex(&c.fingerprint()))
            .collect()
    }
}

/// An armored file may hold several blocks one after the other; a binary one is a single block.
fn blocks(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let starts: Vec<usize> = memchr::memmem::find_iter(bytes, BEGIN).collect();
    if starts.is_empty() {
        return vec![bytes];
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(&start, end)| bytes.get(start..end))
        .collect()
}

fn hex(fingerprint: &Fingerprint) -> String {
    crate::digest::hex(fingerprint.as_bytes())
}

/// The key that made a good signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Fingerprint of the certificate's primary key.
    pub primary: String,
    /// Fingerprint of the key itself.
    pub key: String,
}

/// What was wrong with each signature: issuer and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected(pub Vec<(String, String)>);

/// Finds a signature that counts. `pins` are lower-case fingerprints of primary keys or subkeys;
/// empty: any key of the keyring. `now` in seconds since the epoch judges expiry.
///
/// # Errors
/// None counts; why, for each.
pub fn verify(
    message: &Cleartext,
    keyring: &Keyring,
    pins: &[String],
    now: u64,
) -> Result<Signer, Rejected> {
    let text = message.hashed_text();
    let mut rejected = Vec::new();
    for signature in &message.signatures {
        match check(signature, text.as_bytes(), keyring, pins, now) {
            Ok(signer) => return Ok(signer),
            Err(reason) => rejected.push((issuer(signature), reason)),
        }
    }
    Err(Rejected(rejected))
}

/// Whether a signature of `data` that lies beside it counts: made by any key of the keyring, judged at
/// `now`.
///
/// # Errors
/// Why not.
pub fn verify_detached(
    signature: &Signature,
    data: &[u8],
    keyring: &Keyring,
    now: u64,
) -> Result<Signer, String> {
    check(signature, data, keyring, &[], now)
}

/// The name of a signature's issuer: the fingerprint it claims, else the key id.
fn issuer(signature: &Signature) -> String {
    if let Some(fingerprint) = signature.issuer_fingerprint().first() {
        return hex(fingerprint);
    }
    match signature.issuer_key_id().first() {
        Some(id) => id.to_string(),
        None => "unnamed key".into(),
    }
}

fn issued_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if !fingerprints.is_empty() {
        return fingerprints.contains(&&key.fingerprint());
    }
    signature.issuer_key_id().contains(&&key.legacy_key_id())
}

fn strong(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

fn check(
    signature: &Signature,
    text: &[u8],
    keyring: &Keyring,
    pins: &[String],
    now: u64,
) -> Result<Signer, String> {
    if !matches!(
        signature.typ(),
        Some(SignatureType::Text | SignatureType::Binary)
    ) {
        return Err("it is no signature over a document".into());
    }
    if !strong(signature) {
        let name = signature
            .hash_alg()
            .map_or_else(|| "an unknown hash".into(), |h| h.to_string());
        return Err(format!("{name} is too weak"));
    }
    let made = signature
        .created()
        .ok_or("it bears no time")?
        .as_secs()
        .into();
    if passed(made, signature.signature_expiration_time(), now) {
        return Err("the signature has expired".into());
    }
    let mut reason = "the key is not in the keyring".to_owned();
    for certificate in &keyring.certificates {
        let primary = &certificate.primary_key;
        if issued_by(signature, primary) {
            match primary_may_sign(certificate, made, now)
                .and_then(|()| pinned(pins, certificate, primary))
                .and_then(|()| good(signature, primary, text))
            {
                Ok(()) => return Ok(signer(certificate, primary)),
                Err(e) => reason = e,
            }
        }
        for subkey in &certificate.public_subkeys {
            if issued_by(signature, &subkey.key) {
                match subkey_may_sign(certificate, subkey, made, now)
                    .and_then(|()| pinned(pins, certificate, &subkey.key))
                    .and_then(|()| good(signature, &subkey.key, text))
                {
                    Ok(()) => return Ok(signer(certificate, &subkey.key)),
                    Err(e) => reason = e,
                }
            }
        }
    }
    Err(reason)
}

fn signer(certificate: &SignedPublicKey, key: &impl KeyDetails) -> Signer {
    Signer {
        primary: hex(&certificate.fingerprint()),
        key: hex(&key.fingerprint()),
    }
}

fn pinned(
    pins: &[String],
    certificate: &SignedPublicKey,
    key: &impl KeyDetails,
) -> Result<(), String> {
    let names = [hex(&certificate.fingerprint()), hex(&key.fingerprint())];
    if pins.is_empty() || pins.iter().any(|pin| names.contains(pin)) {
        return Ok(());
    }
    Err("the key is in the keyring, but not pinned for this suite".into())
}

fn good(signature: &Signature, key: &impl VerifyingKey, text: &[u8]) -> Result<(), String> {
    signature
        .verify(key, text)
        .map_err(|_| "the signature does not match the text".into())
}

fn passed(from: u64, span: Option<Duration>, now: u64) -> bool {
    span.map(|d| u64::from(d.as_secs()))
        .is_some_and(|seconds| seconds != 0 && from.saturating_add(seconds) <= now)
}

fn alive(key: &impl KeyDetails, binding: &Signature, made: u64, now: u64) -> Result<(), String> {
    let born = u64::from(key.created_at().as_secs());
    if made < born {
        return Err("the signature is older than the key".into());
    }
    if passed(born, binding.key_expiration_time(), now) {
        return Err("the key has expired".into());
    }
    Ok(())
}

/// The newest self-signature that is valid now (RFC 9580, section 5.2.3.10: the most recent wins).
fn newest<'a>(
    candidates: impl Iterator<Item = &'a Signature>,
    now: u64,
    valid: impl Fn(&Signature) -> bool,
) -> Option<&'a Signature> {
    candidates
        .filter(|s| strong(s) && valid(s))
        .filter(|s| {
            s.created().is_some_and(|made| {
                !passed(made.as_secs().into(), s.signature_expiration_time(), now)
            })
        })
        .max_by_key(|s| s.created().map(|made| made.as_secs()))
}

/// The self-signature that speaks for the primary key, if the key is not revoked.
fn self_signature(certificate: &SignedPublicKey, now: u64) -> Result<&Signature, String> {
    let key = &certificate.primary_key;
    // A revocation in a keyring we were told to trust is believed even when it can't be verified:
    // the worst that a false one does is to refuse.
    if !certificate.details.revocation_signatures.is_empty() {
        return Err("the key is revoked".into());
    }
    let direct = newest(certificate.details.direct_signatures.iter(), now, |s| {
        s.typ() == Some(SignatureType::Key) && s.verify_key(key).is_ok()
    });
    let users = certificate.details.users.iter().filter(|user| {
        !user
            .signatures
            .iter()
            .any(|s| s.typ() == Some(SignatureType::CertRevocation) && issued_by(s, key))
    });
    let certified = users
        .filter_map(|user| {
            newest(user.signatures.iter(), now, |s| {
                s.is_certification()
                    && s.typ() != Some(SignatureType::CertRevocation)
                    && s.verify_certification(key, Tag::UserId, &user.id).is_ok()
            })
        })
        .max_by_key(|s| s.created().map(|made| made.as_secs()));
    certified
        .into_iter()
        .chain(direct)
        .max_by_key(|s| s.created().map(|made| made.as_secs()))
        .ok_or_else(|| "the key bears no valid self-signature".into())
}

fn primary_may_sign(certificate: &SignedPublicKey, made: u64, now: u64) -> Result<(), String> {
    let binding = self_signature(certificate, now)?;
    if !binding.key_flags().sign() {
        return Err("the key is not meant for signing".into());
    }
    alive(&certificate.primary_key, binding, made, now)
}

fn subkey_may_sign(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    made: u64,
    now: u64,
) -> Result<(), String> {
    let primary = &certificate.primary_key;
    alive(primary, self_signature(certificate, now)?, made, now)?;
    if subkey
        .signatures
        .iter()
        .any(|s| s.typ() == Some(SignatureType::SubkeyRevocation))
    {
        return Err("the key is revoked".into());
    }
    let binding = newest(subkey.signatures.iter(), now, |s| {
        s.typ() == Some(SignatureType::SubkeyBinding)
            && s.verify_subkey_binding(primary, &subkey.key).is_ok()
    })
    .ok_or("the subkey is not bound to its primary key")?;
    if !binding.key_flags().sign() {
        return Err("the key is not meant for signing".into());
    }
    // Without the binding in the other direction, anyone could claim a foreign key as a subkey
    // (RFC 9580, section 5.2.1.9).
    binding
        .embedded_signature()
        .filter(|back| strong(back))
        .filter(|back| {
            back.verify_primary_key_binding(&subkey.key, primary)
                .is_ok()
        })
        .ok_or("the subkey does not confirm its primary key")?;
    alive(&subkey.key, binding, made, now)
}
