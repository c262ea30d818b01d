//! Making keys and their certificates. Here and in [`super::private`] is all that needs chance.

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use const_oid::db::rfc5280::ID_KP_CODE_SIGNING;
use der::Encode as _;
use rsa::pkcs8::EncodePublicKey as _;
use rsa::rand_core::{OsRng, RngCore as _};
use rsa::{RsaPrivateKey, RsaPublicKey, pkcs1v15};
use sha2::Sha256 as Hash;
use x509_cert::Certificate;
use x509_cert::builder::{Builder as _, CertificateBuilder, Profile};
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::{Time, Validity};

use super::{DAY, Key, KeyProfile};
use crate::sign::FileSigner;
use crate::stamp::Stamp;

/// A new RSA key with a self-signed certificate.
pub(super) fn make(key: Key, profile: KeyProfile, owner: &str, now: Stamp) -> Result<FileSigner> {
    let private = RsaPrivateKey::new(&mut OsRng, profile.bits()).context("making an RSA key")?;
    let certificate =
        certify(&private, key, profile, owner, now).context("making a certificate")?;
    let certificate = certificate.to_der().context("encoding the certificate")?;
    Ok(FileSigner::new(private, certificate))
}

/// A self-signed certificate for `private`, valid from a day before `now`, for clocks that lag. A leaf
/// with digitalSignature: a CA's key usage makes sbverify refuse the signatures of its own key.
fn certify(
    private: &RsaPrivateKey,
    key: Key,
    profile: KeyProfile,
    owner: &str,
    now: Stamp,
) -> Result<Certificate> {
    let mut serial = [0; 16];
    OsRng
        .try_fill_bytes(&mut serial)
        .context("reading random bytes")?;
    // Positive and of full length in DER.
    serial[0] = serial[0] & 0x7f | 0x40;
    let begin = now.seconds().saturating_sub(DAY);
    let end = now.seconds().saturating_add(key.lifetime(profile));
    let subject = Name::from_str(&format!("CN={}", key.subject(profile, owner)))
        .context("encoding the subject")?;
    let public = RsaPublicKey::from(private).to_public_key_der()?;
    let signer = pkcs1v15::SigningKey::<Hash>::new(private.clone());
    let mut builder = CertificateBuilder::new(
        Profile::Leaf {
            issuer: subject.clone(),
            enable_key_agreement: false,
            enable_key_encipherment: false,
        },
        SerialNumber::new(&serial)?,
        Validity {
            not_before: time(begin)?,
            not_after: time(end)?,
        },
        subject,
        SubjectPublicKeyInfoOwned::try_from(public.as_bytes())?,
        &signer,
    )?;
    if !key.is_owners() {
        builder.add_extension(&ExtendedKeyUsage(vec![ID_KP_CODE_SIGNING]))?;
    }
    Ok(builder.build::<pkcs1v15::Signature>()?)
}

/// RFC 5280, section 4.1.2.5: UTCTime up to 2049, GeneralizedTime after.
pub(super) fn time(seconds: u64) -> Result<Time> {
    let moment = der::DateTime::from_unix_duration(Duration::from_secs(seconds))
        .context("a validity date lies beyond the year 9999")?;
    Ok(if moment.year() < 2050 {
        Time::UtcTime(moment.try_into()?)
    } else {
        Time::GeneralTime(moment.into())
    })
}
