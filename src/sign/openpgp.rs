//! The release key: OpenPGP (RFC 4880 with EdDSA, which every GnuPG in use reads), Ed25519, one
//! primary key that signs, no subkeys.

mod detached;

use anyhow::{Context as _, Result, ensure};
use pgp::armor::{BlockType, write as write_armor};
use pgp::composed::{
    ArmorOptions, Deserializable as _, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey,
};
use pgp::packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId};
use pgp::types::{Duration, KeyDetails as _, Password, Tag, Timestamp};
use rsa::rand_core::OsRng;
use zeroize::Zeroizing;

use crate::stamp::Stamp;

pub use detached::{MAX_SIGNATURE, ReleaseKeys, ReleaseSigner};

/// A new release key, both halves in ASCII armour.
#[derive(Debug)]
pub struct ReleaseKey {
    /// The secret key, encrypted if there was a passphrase.
    pub secret: Zeroizing<String>,
    /// The public key.
    pub public: String,
}

/// What a public key says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// First user id.
    pub user: String,
    /// Fingerprint, hexadecimal.
    pub fingerprint: String,
    /// When it was made.
    pub created: Stamp,
    /// When it ends.
    pub expires: Option<Stamp>,
}

/// Makes a key for `user` that is good for `lifetime` seconds from `created` on.
///
/// # Errors
/// The times exceed what OpenPGP can say (2106).
pub fn generate(
    user: &str,
    created: Stamp,
    lifetime: u64,
    passphrase: Option<&str>,
) -> Result<ReleaseKey> {
    let narrow = |seconds: u64| u32::try_from(seconds).context("the time lies beyond 2106");
    let time = Timestamp::from_secs(narrow(created.seconds())?);
    narrow(created.seconds().saturating_add(lifetime))?;
    let mut key = SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .created_at(time)
        .can_sign(true)
        .can_certify(true)
        .primary_user_id(user.to_owned())
        .build()
        .context("describing the release key")?
        .generate(OsRng)
        .context("making the release key")?;

    // The one that the crate made says the clock's time and no end.
    let mut flags = KeyFlags::default();
    flags.set_sign(true);
    flags.set_certify(true);
    let public = key.primary_key.public_key();
    let mut binding =
        SignatureConfig::from_key(OsRng, &key.primary_key, SignatureType::CertPositive)?;
    binding.hashed_subpackets = [
        SubpacketData::SignatureCreationTime(time),
        SubpacketData::IssuerFingerprint(public.fingerprint()),
        SubpacketData::KeyFlags(flags),
        SubpacketData::KeyExpirationTime(Duration::from_secs(narrow(lifetime)?)),
        SubpacketData::IsPrimary(true),
    ]
    .into_iter()
    .map(Subpacket::regular)
    .collect::<pgp::errors::Result<_>>()?;
    binding.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(
        public.legacy_key_id(),
    ))?];
    let id = UserId::from_str(pgp::types::PacketHeaderVersion::default(), user)?;
    let signature = binding
        .sign_certification(
            &key.primary_key,
            public,
            &Password::empty(),
            Tag::UserId,
            &id,
        )
        .context("signing the release key's user id")?;
    key.details.users = vec![id.into_signed(signature)];

    let public = key
        .to_public_key()
        .to_armored_string(ArmorOptions::default())
        .context("encoding the release key")?;
    if let Some(passphrase) = passphrase {
        key.primary_key
            .set_password(OsRng, &Password::from(passphrase))
            .context("encrypting the release key")?;
    }
    let secret = key
        .to_armored_string(ArmorOptions::default())
        .context("encoding the release key")?;
    Ok(ReleaseKey {
        secret: Zeroizing::new(secret),
        public,
    })
}

/// The keys in an armoured block.
///
/// # Errors
/// It is no block of public keys whose own signatures are good.
pub fn describe(armoured: &str) -> Result<Vec<Description>> {
    parse_public(armoured)?.iter().map(description).collect()
}

/// The key of a secret key, as its public half says it, and whether it is encrypted.
///
/// # Errors
/// It is no armoured secret key.
pub fn describe_secret(armoured: &str) -> Result<(Description, bool)> {
    let key = parse_secret(armoured)?;
    Ok((
        description(&key.to_public_key())?,
        key.primary_key.secret_params().is_encrypted(),
    ))
}

/// Whether `passphrase` opens a secret key.
///
/// # Errors
/// It is no armoured secret key.
pub fn opens(armoured: &str, passphrase: &str) -> Result<bool> {
    let mut key = parse_secret(armoured)?;
    Ok(key
        .primary_key
        .remove_password(&Password::from(passphrase))
        .is_ok())
}

/// One armoured block with the keys of several, each once, in their order.
///
/// # Errors
/// One of them is no block of public keys.
pub fn join(blocks: &[&str]) -> Result<String> {
    armour(collect(blocks)?)
}

/// The first key of an armoured block, alone.
///
/// # Errors
/// It is no block of public keys.
pub fn first(block: &str) -> Result<String> {
    let mut keys = collect(&[block])?;
    keys.truncate(1);
    armour(keys)
}

/// Public keys one after the other in OpenPGP's binary form, as `gpg --keyring` reads them, from an
/// armoured block or from that form.
///
/// # Errors
/// There is no key, something else, or a key whose own signatures are not good.
pub fn keyring(bytes: &[u8]) -> Result<Vec<u8>> {
    let armoured = bytes.trim_ascii_start().starts_with(b"-----BEGIN");
    let keys = if armoured {
        parse_public(&String::from_utf8_lossy(bytes))?
    } else {
        let mut keys = Vec::new();
        for key in SignedPublicKey::from_bytes_many(bytes).context("it holds no OpenPGP keys")? {
            let key = key.context("it is not a file of OpenPGP public keys")?;
            key.verify_bindings()
                .context("the key's own signature is not good")?;
            keys.push(key);
        }
        keys
    };
    ensure!(!keys.is_empty(), "it holds no OpenPGP key");
    pgp::ser::Serialize::to_bytes(&Several(keys)).context("encoding the keys")
}

/// Checks that a block of public keys is encoded as this program does it, so that no byte of it is free.
///
/// # Errors
/// It is no such block.
pub fn canonical(block: &str) -> Result<()> {
    ensure!(
        join(&[block])? == block,
        "it is damaged, or not in the form that `hullwright keys` writes"
    );
    Ok(())
}

fn collect(blocks: &[&str]) -> Result<Vec<SignedPublicKey>> {
    let mut keys: Vec<SignedPublicKey> = Vec::new();
    for block in blocks {
        for key in parse_public(block)? {
            if keys.iter().all(|k| k.fingerprint() != key.fingerprint()) {
                keys.push(key);
            }
        }
    }
    Ok(keys)
}

fn armour(keys: Vec<SignedPublicKey>) -> Result<String> {
    let mut out = Vec::new();
    write_armor(&Several(keys), BlockType::PublicKey, &mut out, None, true)
        .context("encoding the release keys")?;
    String::from_utf8(out).context("encoding the release keys")
}

/// Public keys one after the other.
struct Several(Vec<SignedPublicKey>);

impl pgp::ser::Serialize for Several {
    fn to_writer<W: std::io::Write>(&self, writer: &mut W) -> pgp::errors::Result<()> {
        self.0.iter().try_for_each(|key| key.to_writer(writer))
    }

    fn write_len(&self) -> usize {
        self.0.iter().map(pgp::ser::Serialize::write_len).sum()
    }
}

fn parse_public(armoured: &str) -> Result<Vec<SignedPublicKey>> {
    let (keys, _) = SignedPublicKey::from_string_many(armoured)
        .context("it is not an OpenPGP public key in ASCII armour")?;
    keys.map(|key| {
        let key = key.context("it is not an OpenPGP public key in ASCII armour")?;
        key.verify_bindings()
            .context("the key's own signature is not good")?;
        Ok(key)
    })
    .collect()
}

fn parse_secret(armoured: &str) -> Result<SignedSecretKey> {
    let (key, _) = SignedSecretKey::from_string(armoured)
        .context("it is not an OpenPGP secret key in ASCII armour")?;
    Ok(key)
}

fn description(key: &SignedPublicKey) -> Result<Description> {
    let user = key.details.users.first().context("it has no user id")?;
    let created = u64::from(key.primary_key.created_at().as_secs());
    let lifetime = user
        .signatures
        .iter()
        .filter_map(pgp::packet::Signature::key_expiration_time)
        .map(|lifetime| u64::from(lifetime.as_secs()))
        .find(|lifetime| *lifetime > 0);
    Ok(Description {
        user: String::from_utf8_lossy(user.id.id()).into_owned(),
        fingerprint: key.fingerprint().to_string(),
        created: Stamp::from_seconds(created),
        expires: lifetime.map(|lifetime| Stamp::from_seconds(created + lifetime)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: Stamp = Stamp::from_seconds(1_800_000_000);
    const YEAR: u64 = 365 * 24 * 60 * 60;

    fn key(passphrase: Option<&str>) -> ReleaseKey {
        generate("Example Corp release", CREATED, YEAR, passphrase).unwrap()
    }

    #[test]
    fn a_key_says_who_it_is_and_until_when() {
        let key = key(None);
        let public = describe(&key.public).unwrap();
        assert_eq!(public.len(), 1);
        assert_eq!(public[0].user, "Example Corp release");
        assert_eq!(public[0].created, CREATED);
        assert_eq!(
            public[0].expires,
            Some(Stamp::from_seconds(CREATED.seconds() + YEAR))
        );
        let (secret, encrypted) = describe_secret(&key.secret).unwrap();
        assert_eq!((&secret, encrypted), (&public[0], false));
        assert!(describe(&key.secret).is_err());
        assert!(describe_secret(&key.public).is_err());
        assert!(describe("junk").is_err());
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_only() {
        let key = key(Some("correct horse"));
        assert!(describe_secret(&key.secret).unwrap().1);
        assert!(opens(&key.secret, "correct horse").unwrap());
        assert!(!opens(&key.secret, "battery staple").unwrap());
    }

    #[test]
    fn several_keys_fit_in_one_block_each_once() {
        let (a, b) = (key(None), key(None));
        let both = join(&[&a.public, &b.public]).unwrap();
        let again = join(&[&both, &a.public]).unwrap();
        assert_eq!(both, again);
        assert_eq!(first(&both).unwrap(), a.public);
        let of = |block: &str| describe(block).unwrap();
        assert_eq!(of(&both), [of(&a.public), of(&b.public)].concat());
    }

    #[test]
    fn a_keyring_is_binary_whatever_it_was_made_of() {
        let (a, b) = (key(None), key(None));
        let both = join(&[&a.public, &b.public]).unwrap();
        let binary = keyring(both.as_bytes()).unwrap();
        assert_eq!(keyring(&binary).unwrap(), binary);
        let of = |key: &ReleaseKey| keyring(key.public.as_bytes()).unwrap();
        assert_eq!(binary, [of(&a), of(&b)].concat());
        for bad in [&b""[..], b"junk", &binary[..40], a.secret.as_bytes()] {
            assert!(keyring(bad).is_err());
        }
    }

    #[test]
    fn times_beyond_what_openpgp_can_say_are_refused() {
        assert!(generate("x", Stamp::from_seconds(1 << 32), 1, None).is_err());
        assert!(generate("x", CREATED, 1 << 32, None).is_err());
    }
}
