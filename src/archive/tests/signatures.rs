//! Which InRelease files are believed.

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Duration, KeyDetails as _, Password, Tag, Timestamp};
use proptest::prelude::*;

use super::super::cleartext::{self, FormError};
use super::super::openpgp::{Keyring, Rejected, Signer, verify};
use super::super::testing::*;

const TEXT: &str = "Suite: stable\n- dashed\nDate: today\n\nend";

fn judge(file: &str, ring: &[u8], pins: &[String]) -> Result<Signer, Rejected> {
    let message = cleartext::parse(file.as_bytes()).unwrap();
    verify(&message, &Keyring::parse(ring).unwrap(), pins, NOW)
}

fn reason(file: &str, ring: &[u8], pins: &[String]) -> String {
    judge(file, ring, pins).unwrap_err().0.remove(0).1
}

#[test]
fn a_good_signature_by_primary_key_or_subkey_counts() {
    let key = TestKey::new();
    let signed = key.sign(TEXT);
    let message = cleartext::parse(signed.as_bytes()).unwrap();
    assert_eq!(
        message.text,
        "Suite: stable\n- dashed\nDate: today\n\nend\n"
    );
    let signer = judge(&signed, &key.public(), &[]).unwrap();
    assert_eq!(signer.primary, key.fingerprint());
    let by_subkey = clear_sign(
        TEXT,
        &key.0.secret_subkeys[0].key,
        HashAlgorithm::Sha256,
        NOW,
    );
    let signer = judge(&by_subkey, &key.public(), &[key.fingerprint()]).unwrap();
    assert_eq!(signer.primary, key.fingerprint());
    assert_ne!(signer.key, signer.primary);
    judge(&by_subkey, &key.public(), &[signer.key]).unwrap();
    judge(&signed.replace('\n', "\r\n"), &key.public(), &[]).unwrap();
    judge(&signed.replace("today", "today \t"), &key.public(), &[]).unwrap();
    let armored = key
        .0
        .to_public_key()
        .to_armored_bytes(Default::default())
        .unwrap();
    let two = [
        TestKey::new()
            .0
            .to_public_key()
            .to_armored_bytes(Default::default())
            .unwrap(),
        armored,
    ];
    judge(&signed, &two.concat(), &[]).unwrap();
}

#[test]
fn one_good_signature_among_others_suffices() {
    let (good, other) = (TestKey::new(), TestKey::new());
    let a = cleartext::parse(other.sign(TEXT).as_bytes()).unwrap();
    let mut message = cleartext::parse(good.sign(TEXT).as_bytes()).unwrap();
    message.signatures.insert(0, a.signatures[0].clone());
    verify(&message, &Keyring::parse(&good.public()).unwrap(), &[], NOW).unwrap();
}

#[test]
fn text_outside_the_signed_part_and_cut_files_are_refused() {
    let signed = TestKey::new().sign(TEXT);
    let begin = "-----BEGIN PGP SIGNATURE-----";
    for (file, expected) in [
        (format!("Suite: evil\n{signed}"), FormError::NotClearSigned),
        (format!("\n{signed}"), FormError::NotClearSigned),
        (String::new(), FormError::NotClearSigned),
        (
            signed.replacen("Hash: SHA512", "Hash: SHA512\nSuite: evil", 1),
            FormError::Header(3),
        ),
        (
            signed.replacen("- - dashed", "-----X", 1),
            FormError::Dash(5),
        ),
        (
            signed.replacen("stable\n", "stable\rX\n", 1),
            FormError::Control(4),
        ),
        (
            signed.replacen(begin, &format!("-----\nevil\n{begin}"), 1),
            FormError::Dash(9),
        ),
        (signed.replacen(begin, "", 1), FormError::Dash(15)),
    ] {
        assert_eq!(
            cleartext::parse(file.as_bytes()).unwrap_err(),
            expected,
            "{file}"
        );
    }
    let after = format!("{signed}\nSuite: evil\n");
    assert!(matches!(
        cleartext::parse(after.as_bytes()).unwrap_err(),
        FormError::Outside(_)
    ));
    let twice = format!("{signed}{signed}");
    assert!(matches!(
        cleartext::parse(twice.as_bytes()).unwrap_err(),
        FormError::Outside(_)
    ));
    assert_eq!(
        cleartext::parse(&[0xff, 0xfe]).unwrap_err(),
        FormError::NotText
    );
    let end = signed.find("-----END").unwrap();
    for cut in 0..end + "-----END PGP SIGNATURE----".len() {
        assert!(
            cleartext::parse(&signed.as_bytes()[..cut]).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_changed_text_is_refused() {
    let key = TestKey::new();
    let signed = key.sign(TEXT);
    for (from, to) in [
        ("stable", "Stable"),
        ("today", "today\nmore"),
        ("\n\nend", "\nend"),
        ("end\n", "end\n\n"),
    ] {
        let file = signed.replacen(from, to, 1);
        assert_ne!(file, signed);
        assert_eq!(
            reason(&file, &key.public(), &[]),
            "the signature does not match the text"
        );
    }
}

#[test]
fn keys_that_may_not_sign_this_suite_are_refused() {
    let key = TestKey::new();
    let signed = key.sign(TEXT);
    assert_eq!(
        reason(&signed, &TestKey::new().public(), &[]),
        "the key is not in the keyring"
    );
    assert!(reason(&signed, &key.public(), &["00".repeat(20)]).contains("not pinned"));
    let certify_only = TestKey::with(false);
    assert_eq!(
        reason(&certify_only.sign(TEXT), &certify_only.public(), &[]),
        "the key is not meant for signing"
    );
    let old = clear_sign(TEXT, &key.0.primary_key, HashAlgorithm::Sha256, BORN - 1);
    assert_eq!(
        reason(&old, &key.public(), &[]),
        "the signature is older than the key"
    );
}

#[test]
fn weak_hashes_are_refused() {
    let key = TestKey::new();
    for hash in [
        HashAlgorithm::Sha1,
        HashAlgorithm::Md5,
        HashAlgorithm::Sha224,
    ] {
        // Ed25519 keys refuse to sign with short digests, so a strong signature is relabelled.
        let mut message = cleartext::parse(key.sign(TEXT).as_bytes()).unwrap();
        let strong = &message.signatures[0];
        let mut config = strong.config().unwrap().clone();
        config.hash_alg = hash;
        let weak = Signature::from_config(
            config,
            strong.signed_hash_value().unwrap(),
            strong.signature().unwrap().clone(),
        );
        message.signatures = vec![weak.unwrap()];
        let ring = Keyring::parse(&key.public()).unwrap();
        let rejected = verify(&message, &ring, &[], NOW).unwrap_err();
        assert!(rejected.0[0].1.ends_with("is too weak"), "{rejected:?}");
    }
}

fn config(
    key: &TestKey,
    typ: SignatureType,
    made: u64,
    more: Vec<SubpacketData>,
) -> SignatureConfig {
    let primary = &key.0.primary_key;
    let mut config = SignatureConfig::v4(typ, primary.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(made as u32)),
        SubpacketData::IssuerFingerprint(primary.fingerprint()),
    ]
    .into_iter()
    .chain(more)
    .map(|data| Subpacket::regular(data).unwrap())
    .collect();
    config
}

#[test]
fn expired_and_revoked_keys_are_refused() {
    let mut key = TestKey::new();
    let signed = key.sign(TEXT);
    let primary = key.0.primary_key.clone();
    let mut flags = pgp::packet::KeyFlags::default();
    flags.set_sign(true);
    // The one that was made with the key bears the clock's time.
    key.0.details.users[0].signatures.clear();
    // A newer self-signature replaces the old one, and with it the time of expiry.
    for (lifetime, good) in [(NOW - BORN + 1, true), (NOW - BORN - 50, false)] {
        let more = vec![
            SubpacketData::KeyFlags(flags.clone()),
            SubpacketData::KeyExpirationTime(Duration::from_secs(lifetime as u32)),
        ];
        let user = key.0.details.users[0].id.clone();
        let made = NOW - 1000 + u64::from(!good);
        let signature = config(&key, SignatureType::CertPositive, made, more)
            .sign_certification(
                &primary,
                &primary.public_key(),
                &Password::empty(),
                Tag::UserId,
                &user,
            )
            .unwrap();
        key.0.details.users[0].signatures.push(signature);
        match judge(&signed, &key.public(), &[]) {
            Ok(_) => assert!(good),
            Err(rejected) => {
                assert!(!good);
                assert_eq!(rejected.0[0].1, "the key has expired");
            }
        }
    }
    let mut key = TestKey::new();
    let revocation = config(&key, SignatureType::KeyRevocation, NOW, Vec::new())
        .sign_key(
            &key.0.primary_key,
            &Password::empty(),
            &key.0.primary_key.public_key(),
        )
        .unwrap();
    key.0.details.revocation_signatures.push(revocation);
    for file in [
        key.sign(TEXT),
        clear_sign(
            TEXT,
            &key.0.secret_subkeys[0].key,
            HashAlgorithm::Sha256,
            NOW,
        ),
    ] {
        assert_eq!(reason(&file, &key.public(), &[]), "the key is revoked");
    }
}

#[test]
fn a_subkey_that_was_only_claimed_is_refused() {
    let (mut thief, owner) = (TestKey::new(), TestKey::new());
    let stolen = owner.0.secret_subkeys[0].clone();
    let signed = clear_sign(TEXT, &stolen.key, HashAlgorithm::Sha256, NOW);
    let mut flags = pgp::packet::KeyFlags::default();
    flags.set_sign(true);
    let binding = config(
        &thief,
        SignatureType::SubkeyBinding,
        NOW,
        vec![SubpacketData::KeyFlags(flags)],
    )
    .sign_subkey_binding(
        &thief.0.primary_key,
        &thief.0.primary_key.public_key(),
        &Password::empty(),
        &stolen.key.public_key(),
    )
    .unwrap();
    thief.0.secret_subkeys = vec![stolen.clone()];
    assert_eq!(
        reason(&signed, &thief.public(), &[]),
        "the subkey is not bound to its primary key"
    );
    thief.0.secret_subkeys[0].signatures = vec![binding];
    assert_eq!(
        reason(&signed, &thief.public(), &[]),
        "the subkey does not confirm its primary key"
    );
}

proptest! {
    #[test]
    fn no_file_panics(middle in "\\PC{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let file = format!("-----BEGIN PGP SIGNED MESSAGE-----\n\n{middle}\n-----BEGIN PGP SIGNATURE-----\n\n{middle}\n-----END PGP SIGNATURE-----\n");
        let _ = cleartext::parse(file.as_bytes());
        let _ = cleartext::parse(&bytes);
        let _ = Keyring::parse(&bytes);
    }
}
