//! Authenticode: the signature of PE images that UEFI Secure Boot checks (Microsoft "Windows
//! Authenticode Portable Executable Signature Format"; UEFI 2.10, section 32.2).
//!
//! The digest covers the file without `CheckSum`, the certificate table's directory entry and the
//! table itself. It is wrapped in an `SpcIndirectDataContent`, that in a CMS SignedData (RFC 5652)
//! with content type and message digest as its only signed attributes: no time, so that signing the
//! same bytes twice gives the same bytes.

//!
//! Every image that we sign ends in a place of fixed size for its signature ([`reserve`]).

mod message;
mod table;

use anyhow::{Context as _, Result, bail, ensure};
use authenticode::{AuthenticodeSignature, SPC_INDIRECT_DATA_OBJID};
use cms::cert::IssuerAndSerialNumber;
use cms::signed_data::SignerIdentifier;
use const_oid::db::rfc5911::{ID_CONTENT_TYPE, ID_MESSAGE_DIGEST};
use const_oid::db::rfc5912::ID_SHA_256;
use der::{Any, Decode as _, Encode as _};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;

use super::Signer;
use crate::uki::format::optional;
use crate::uki::read::Pe;
use message::Message;

pub use table::{PLACE, place, reserve};

/// `pe` with a signature by `signer` in its place at the end, where one is made if need be; a
/// signature that is there is replaced. Deterministic for an RSA key.
///
/// # Errors
/// As [`reserve`]; the signer fails; the signature does not fit.
pub fn sign(pe: Vec<u8>, signer: &dyn Signer) -> Result<Vec<u8>> {
    sign_for(pe, signer, "")
}

/// The same; `purpose` tells the signer what it signs.
///
/// # Errors
/// As [`sign`].
pub fn sign_for(pe: Vec<u8>, signer: &dyn Signer, purpose: &str) -> Result<Vec<u8>> {
    let mut pe = reserve(pe)?;
    let signature = signed_data(&digest(&pe)?, signer, purpose)?;
    table::fill(&mut pe, &signature)?;
    Ok(pe)
}

/// What is to be signed in an image, known before the key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToSign {
    /// The Authenticode digest of the image.
    pub digest: [u8; 32],
    /// The signed attributes, DER: they hold the digest.
    pub attributes: Vec<u8>,
    /// Their SHA-256, which is what a signer signs.
    pub attributes_digest: [u8; 32],
}

/// What is to be signed in `pe`, which has a place for the signature or none.
///
/// # Errors
/// As [`digest`].
pub fn to_sign(pe: &[u8]) -> Result<ToSign> {
    let digest = digest(pe)?;
    let message = Message::new(&digest)?;
    Ok(ToSign {
        digest,
        attributes: message.signed_bytes()?,
        attributes_digest: message.to_sign()?,
    })
}

fn signed_data(digest: &[u8; 32], signer: &dyn Signer, purpose: &str) -> Result<Vec<u8>> {
    let message = Message::new(digest)?;
    let signature = signer
        .sign_for(&message.to_sign()?, purpose)
        .context("signing the image's digest")?;
    message.finish(signer.certificate(), signature)
}

/// The Authenticode SHA-256 digest of an image, signed or not.
///
/// # Errors
/// `data` is no PE image, or its sections do not follow each other without gaps: then the rule in
/// the specification and what firmware does may differ.
pub fn digest(data: &[u8]) -> Result<[u8; 32]> {
    let pe = Pe::parse(data)?;
    let headers = pe.size_of_headers()?;
    let mut ranges: Vec<_> = pe
        .sections()
        .iter()
        .filter(|s| s.raw_size > 0)
        .map(|s| {
            (
                s.raw_pointer as usize,
                s.raw_pointer as usize + s.raw_size as usize,
            )
        })
        .collect();
    ranges.sort_unstable();
    let mut end = headers;
    for (start, section_end) in ranges {
        ensure!(
            start == end,
            "the image has a gap or an overlap at offset {end:#x}, before the section at {start:#x}"
        );
        end = section_end;
    }
    let hashed_end = match pe.certificates() {
        Some(table) => {
            ensure!(
                table.start >= end && table.end == data.len(),
                "the certificate table is not at the end of the image"
            );
            table.start
        }
        None => data.len(),
    };
    ensure!(end <= hashed_end, "the headers are longer than the image");

    let checksum_at = pe.optional_at() + optional::CHECKSUM;
    let mut hash = Sha256::new();
    let mut update = |range: std::ops::Range<usize>| -> Result<()> {
        hash.update(data.get(range).context("hashing outside the image")?);
        Ok(())
    };
    update(0..checksum_at)?;
    if pe.has_certificate_directory() {
        let directory_at = pe.certificate_directory_at();
        update(checksum_at + 4..directory_at)?;
        update(directory_at + 8..hashed_end)?;
    } else {
        update(checksum_at + 4..hashed_end)?;
    }
    Ok(hash.finalize().into())
}

/// Checks that an image carries a signature by the key of `certificate` (DER) over its present
/// bytes. Says nothing about the certificate's own validity.
///
/// # Errors
/// There is no such signature, or it is not over these bytes.
pub fn verify(data: &[u8], certificate: &[u8]) -> Result<()> {
    let pe = Pe::parse(data).context("reading the signed image")?;
    let actual = digest(data)?;
    let mut problem = anyhow::anyhow!("the image is not signed");
    for entry in table::entries(&pe)? {
        match verify_one(&entry, &actual, certificate) {
            Ok(()) => return Ok(()),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

/// The certificates (DER) of those who signed an image, in the order of the signatures; nothing where
/// it is unsigned. None is verified: see [`verify`].
///
/// # Errors
/// `data` is no PE image, or a signature can't be parsed.
pub fn certificates(data: &[u8]) -> Result<Vec<Vec<u8>>> {
    let pe = Pe::parse(data)?;
    let mut out = Vec::new();
    for entry in table::entries(&pe)? {
        let signature = AuthenticodeSignature::from_bytes(&entry)
            .map_err(|error| anyhow::anyhow!("the signature can't be parsed: {error}"))?;
        let signer = &signature.signer_info().sid;
        for certificate in signature.certificates() {
            let own = IssuerAndSerialNumber {
                issuer: certificate.tbs_certificate.issuer.clone(),
                serial_number: certificate.tbs_certificate.serial_number.clone(),
            };
            if *signer == SignerIdentifier::IssuerAndSerialNumber(own) {
                let der = certificate.to_der().context("encoding the certificate")?;
                out.push(der);
            }
        }
    }
    Ok(out)
}

/// The subject of a certificate (DER), for people.
#[must_use]
pub fn subject(certificate: &[u8]) -> String {
    Certificate::from_der(certificate).map_or_else(
        |_| "a certificate that can't be parsed".into(),
        |certificate| certificate.tbs_certificate.subject.to_string(),
    )
}

fn verify_one(entry: &[u8], actual: &[u8; 32], certificate: &[u8]) -> Result<()> {
    let signature = AuthenticodeSignature::from_bytes(entry)
        .map_err(|error| anyhow::anyhow!("the signature can't be parsed: {error}"))?;
    ensure!(
        signature.digest_algorithm().oid == ID_SHA_256,
        "the signature's digest is not SHA-256"
    );
    ensure!(
        signature.digest() == actual,
        "the image was changed after it was signed: its digest is {}, the signed one {}",
        crate::digest::hex(actual),
        crate::digest::hex(signature.digest())
    );
    let signer = signature.signer_info();
    ensure!(
        signer.digest_alg.oid == ID_SHA_256,
        "the signer's digest is not SHA-256"
    );
    let certificate = Certificate::from_der(certificate).context("reading the certificate")?;
    let expected = IssuerAndSerialNumber {
        issuer: certificate.tbs_certificate.issuer.clone(),
        serial_number: certificate.tbs_certificate.serial_number.clone(),
    };
    ensure!(
        signer.sid == SignerIdentifier::IssuerAndSerialNumber(expected),
        "the image is signed with another key"
    );
    let attributes = signer
        .signed_attrs
        .as_ref()
        .context("the signature has no signed attributes")?;
    let content = signature
        .encapsulated_content()
        .context("the signature has no content")?;
    let message_digest = attributes
        .iter()
        .find(|attribute| attribute.oid == ID_MESSAGE_DIGEST)
        .and_then(|attribute| attribute.values.get(0))
        .context("the signature has no message digest")?;
    ensure!(
        message_digest.value() == Sha256::digest(content).as_slice(),
        "the signature's message digest does not match its content"
    );
    let content_type = attributes
        .iter()
        .find(|attribute| attribute.oid == ID_CONTENT_TYPE)
        .and_then(|attribute| attribute.values.get(0))
        .context("the signature has no content type")?;
    ensure!(
        *content_type == Any::encode_from(&SPC_INDIRECT_DATA_OBJID)?,
        "the signature's content type is not Authenticode's"
    );
    let key = public_key(&certificate)?;
    let hash = Sha256::digest(attributes.to_der().context("encoding signed attributes")?);
    if key
        .verify(Pkcs1v15Sign::new::<Sha256>(), &hash, signature.signature())
        .is_err()
    {
        bail!("the signature was not made with the certificate's key");
    }
    Ok(())
}

/// The RSA public key of a certificate.
pub(super) fn public_key(certificate: &Certificate) -> Result<RsaPublicKey> {
    let spki = certificate
        .tbs_certificate
        .subject_public_key_info
        .to_der()
        .context("encoding the certificate's public key")?;
    RsaPublicKey::from_public_key_der(&spki).context("the certificate's key is not an RSA key")
}

#[cfg(test)]
mod tests {
    use ::authenticode::authenticode_digest;
    use const_oid::db::rfc5912::RSA_ENCRYPTION;

    use super::*;
    use crate::sign::keys::tests::{development_keys, other_keys};
    use crate::uki::write::tests::{kernel, stub};
    use crate::uki::{Section, assemble};

    fn image() -> Vec<u8> {
        let kernel = kernel();
        assemble(
            &stub(),
            &[
                Section {
                    name: ".linux",
                    data: &kernel,
                },
                Section {
                    name: ".initrd",
                    data: b"i",
                },
            ],
        )
        .unwrap()
    }

    #[test]
    fn signing_twice_gives_the_same_bytes_and_the_digest_survives() {
        let keys = development_keys();
        let signed = sign(image(), keys).unwrap();
        assert_eq!(signed, sign(image(), keys).unwrap());
        assert_eq!(signed.len(), image().len() + PLACE);
        verify(&signed, keys.certificate()).unwrap();
        assert_eq!(digest(&signed).unwrap(), digest(&image()).unwrap());
    }

    #[test]
    fn the_digest_is_the_one_that_an_independent_reader_computes() {
        for bytes in [image(), sign(image(), development_keys()).unwrap()] {
            let parsed = object::read::pe::PeFile64::parse(&*bytes).unwrap();
            let mut hash = Sha256::new();
            authenticode_digest(&parsed, &mut hash).unwrap();
            assert_eq!(digest(&bytes).unwrap(), <[u8; 32]>::from(hash.finalize()));
        }
    }

    #[test]
    fn firmware_finds_the_hash_algorithm_where_it_looks() {
        let der = signed_data(&[0; 32], development_keys(), "").unwrap();
        assert_eq!(der[1], 0x82);
        assert_eq!(der[32..41], *ID_SHA_256.as_bytes());
    }

    #[test]
    fn a_flipped_bit_anywhere_but_in_the_checksum_is_noticed() {
        let keys = development_keys();
        let signed = sign(image(), keys).unwrap();
        let checksum = 0x58 + optional::CHECKSUM..0x58 + optional::CHECKSUM + 4;
        let table = Pe::parse(&signed).unwrap().certificates().unwrap();
        let der_len = signed_data(&digest(&signed).unwrap(), keys, "")
            .unwrap()
            .len();
        let padding = table.start + 8 + der_len..table.end;
        for at in (0..table.start).step_by(7).chain(table.clone()) {
            // The embedded certificate is for the reader's convenience: verify() uses the given one.
            let mut bad = signed.clone();
            bad[at] ^= 0x10;
            let noticed = verify(&bad, keys.certificate()).is_err();
            let free = checksum.contains(&at) || padding.contains(&at);
            let certificate = signed[table.clone()]
                .windows(keys.certificate().len())
                .position(|w| w == keys.certificate())
                .map(|p| table.start + p..table.start + p + keys.certificate().len())
                .unwrap();
            assert!(
                noticed || free || certificate.contains(&at) || signer_algorithm(&signed, at),
                "bit at {at:#x} went unnoticed"
            );
        }
    }

    /// The signature algorithm's identifier is not signed; the verifier uses RSA whatever it says.
    fn signer_algorithm(signed: &[u8], at: usize) -> bool {
        let oid = RSA_ENCRYPTION.as_bytes();
        let last = signed.windows(oid.len()).rposition(|w| w == oid).unwrap();
        (last - 4..last + oid.len() + 2).contains(&at)
    }

    #[test]
    fn signing_again_replaces_the_signature_in_place() {
        let (first, second) = (development_keys(), other_keys());
        let direct = sign(image(), first).unwrap();
        let reserved = reserve(image()).unwrap();
        assert_eq!(sign(reserved.clone(), first).unwrap(), direct);
        let other = sign(direct.clone(), second).unwrap();
        verify(&other, second.certificate()).unwrap();
        assert!(verify(&other, first.certificate()).is_err());
        assert_eq!(certificates(&other).unwrap(), [second.certificate()]);
        assert_eq!(sign(other, first).unwrap(), direct);
        assert_eq!(to_sign(&image()).unwrap(), to_sign(&direct).unwrap());
        assert_eq!(to_sign(&reserved).unwrap().digest, digest(&direct).unwrap());
    }

    #[test]
    fn another_key_and_unsigned_bytes_are_refused() {
        let signed = sign(image(), development_keys()).unwrap();
        let error = verify(&signed, other_keys().certificate()).unwrap_err();
        assert!(error.to_string().contains("another key"), "{error}");
        for unsigned in [image(), reserve(image()).unwrap()] {
            let error = verify(&unsigned, development_keys().certificate()).unwrap_err();
            assert!(error.to_string().contains("not signed"), "{error}");
            assert!(certificates(&unsigned).unwrap().is_empty());
        }
    }
}
