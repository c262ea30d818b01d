//! Detached CMS signatures (RFC 5652) without attributes: what signed UEFI variables and the
//! kernel's dm-verity take. The signature is over the content itself, so that the same content, key
//! and certificate give the same bytes.

use anyhow::{Context as _, Result, ensure};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use const_oid::db::rfc5911::{ID_DATA, ID_MESSAGE_DIGEST, ID_SIGNED_DATA};
use const_oid::db::rfc5912::{ID_SHA_256, RSA_ENCRYPTION};
use der::asn1::{AnyRef, OctetString, SetOfVec};
use der::{Any, Decode as _, Encode as _};
use rsa::Pkcs1v15Sign;
use sha2::{Digest as _, Sha256};
use spki::AlgorithmIdentifierOwned;
use x509_cert::Certificate;
use x509_cert::attr::Attributes;

use super::Signer;
use super::authenticode::public_key;

/// A bare SignedData (DER, no ContentInfo around it) over `content`, which is not in it. EDK2 looks
/// for the digest's object identifier at a fixed place (AuthService.c, `VerifyTimeBasedPayload`).
///
/// # Errors
/// The signer fails, or its certificate can't be parsed.
pub fn detached(content: &[u8], signer: &dyn Signer, with_certificate: bool) -> Result<Vec<u8>> {
    let certificate =
        Certificate::from_der(signer.certificate()).context("reading the signer's certificate")?;
    let signature = signer
        .sign_sha256(&Sha256::digest(content).into())
        .context("signing")?;
    let content = EncapsulatedContentInfo {
        econtent_type: ID_DATA,
        econtent: None,
    };
    signed_data(&certificate, signature, content, None, with_certificate)
}

/// A SignedData (DER) with one `signature` by the key of `certificate`. Version 1, as PKCS #7 has it,
/// also where RFC 5652 would have 3 for the type of content.
///
/// # Errors
/// Something can't be encoded.
pub fn signed_data(
    certificate: &Certificate,
    signature: Vec<u8>,
    content: EncapsulatedContentInfo,
    attributes: Option<Attributes>,
    with_certificate: bool,
) -> Result<Vec<u8>> {
    let certificates = if with_certificate {
        let choice = CertificateChoices::Certificate(certificate.clone());
        Some(CertificateSet(SetOfVec::try_from(vec![choice])?))
    } else {
        None
    };
    let info = SignerInfo {
        version: CmsVersion::V1,
        sid: signer_identifier(certificate),
        digest_alg: sha256(),
        signed_attrs: attributes,
        signature_algorithm: AlgorithmIdentifierOwned {
            oid: RSA_ENCRYPTION,
            parameters: Some(AnyRef::NULL.into()),
        },
        signature: OctetString::new(signature)?,
        unsigned_attrs: None,
    };
    SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::try_from(vec![sha256()])?,
        encap_content_info: content,
        certificates,
        crls: None,
        signer_infos: SignerInfos(SetOfVec::try_from(vec![info])?),
    }
    .to_der()
    .context("encoding the signature")
}

/// A ContentInfo (DER) around a SignedData (DER), as OpenSSL and the kernel expect it.
///
/// # Errors
/// `signed_data` is not DER.
pub fn content_info(signed_data: &[u8]) -> Result<Vec<u8>> {
    ContentInfo {
        content_type: ID_SIGNED_DATA,
        content: Any::from_der(signed_data).context("reading the signature")?,
    }
    .to_der()
    .context("encoding the signature")
}

/// Checks a detached signature, with or without a ContentInfo around it, over `content` by the key of
/// `certificate` (DER). Says nothing about the certificate's own validity.
///
/// # Errors
/// It can't be parsed, is by another key, or not over these bytes.
pub fn verify(signature: &[u8], content: &[u8], certificate: &[u8]) -> Result<()> {
    let signed = parse(signature)?;
    let certificate = Certificate::from_der(certificate).context("reading the certificate")?;
    let expected = signer_identifier(&certificate);
    let signer = signed
        .signer_infos
        .0
        .iter()
        .find(|signer| signer.sid == expected)
        .context("it is signed with another key")?;
    ensure!(
        signer.digest_alg.oid == ID_SHA_256,
        "the signer's digest is not SHA-256"
    );
    let digest = Sha256::digest(content);
    // Ours have no attributes; other tools' have, and then those are what is signed (RFC 5652,
    // section 5.4).
    let signed = match &signer.signed_attrs {
        None => digest,
        Some(attributes) => {
            let stated = attributes
                .iter()
                .find(|attribute| attribute.oid == ID_MESSAGE_DIGEST)
                .and_then(|attribute| attribute.values.get(0))
                .context("the signature has no message digest")?;
            ensure!(
                stated.value() == digest.as_slice(),
                "the signature is not over this content"
            );
            Sha256::digest(attributes.to_der().context("encoding signed attributes")?)
        }
    };
    public_key(&certificate)?
        .verify(
            Pkcs1v15Sign::new::<Sha256>(),
            &signed,
            signer.signature.as_bytes(),
        )
        .context("the signature does not match the content and the certificate's key")
}

fn parse(signature: &[u8]) -> Result<SignedData> {
    if let Ok(info) = ContentInfo::from_der(signature) {
        ensure!(
            info.content_type == ID_SIGNED_DATA,
            "the CMS content is not a SignedData"
        );
        return info
            .content
            .decode_as()
            .context("the signature can't be parsed");
    }
    SignedData::from_der(signature).context("the signature can't be parsed")
}

fn signer_identifier(certificate: &Certificate) -> SignerIdentifier {
    SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
        issuer: certificate.tbs_certificate.issuer.clone(),
        serial_number: certificate.tbs_certificate.serial_number.clone(),
    })
}

pub(super) fn sha256() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned {
        oid: ID_SHA_256,
        parameters: Some(Any::null()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::keys::tests::{development_keys, other_keys};

    #[test]
    fn a_signature_is_over_these_bytes_by_this_key() {
        let keys = development_keys();
        for with_certificate in [false, true] {
            let bare = detached(b"content", keys, with_certificate).unwrap();
            assert_eq!(
                bare,
                detached(b"content", keys, with_certificate).unwrap(),
                "signing twice gives the same bytes"
            );
            for signature in [&bare, &content_info(&bare).unwrap()] {
                let certificate = keys.certificate();
                verify(signature, b"content", certificate).unwrap();
                assert!(verify(signature, b"Content", certificate).is_err());
                for other in [&other_keys().db, &keys.verity] {
                    assert!(verify(signature, b"content", other.certificate()).is_err());
                }
            }
            let has = bare
                .windows(keys.certificate().len())
                .any(|window| window == keys.certificate());
            assert_eq!(has, with_certificate);
        }
    }

    #[test]
    fn firmware_finds_the_hash_algorithm_where_it_looks() {
        let bare = detached(b"content", development_keys(), true).unwrap();
        assert_eq!(bare[1], 0x82);
        assert_eq!(bare[13..22], *ID_SHA_256.as_bytes());
        // Without ContentInfo and certificate, the length still takes two bytes.
        assert_eq!(
            detached(b"", development_keys(), false).unwrap()[1],
            0x82,
            "RSA-2048"
        );
    }

    #[test]
    fn damage_is_noticed_and_never_a_panic() {
        let keys = development_keys();
        let good = content_info(&detached(b"content", keys, false).unwrap()).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            // What the signature's algorithm is called is not signed; the verifier uses RSA anyway.
            let _ = verify(&bad, b"content", keys.certificate());
            assert!(verify(&good[..at], b"content", keys.certificate()).is_err());
        }
    }
}
