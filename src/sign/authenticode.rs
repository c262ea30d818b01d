//! Authenticode: the signature of PE images that UEFI Secure Boot checks (Microsoft "Windows
//! Authenticode Portable Executable Signature Format"; UEFI 2.10, section 32.2).
//!
//! The digest covers the file without `CheckSum`, the certificate table's directory entry and the
//! table itself. It is wrapped in an `SpcIndirectDataContent`, that in a CMS SignedData (RFC 5652)
//! with content type and message digest as its only signed attributes: no time, so that signing the
//! same bytes twice gives the same bytes.

use anyhow::{Context as _, Result, bail, ensure};
use authenticode::{
    AuthenticodeSignature, DigestInfo, SPC_INDIRECT_DATA_OBJID, SpcAttributeTypeAndOptionalValue,
    SpcIndirectDataContent, WIN_CERT_REVISION_2_0, WIN_CERT_TYPE_PKCS_SIGNED_DATA,
};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5911::{ID_CONTENT_TYPE, ID_MESSAGE_DIGEST, ID_SIGNED_DATA};
use const_oid::db::rfc5912::{ID_SHA_256, RSA_ENCRYPTION};
use der::asn1::{AnyRef, OctetString, SetOfVec};
use der::{Any, Decode as _, Encode as _};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use sha2::{Digest as _, Sha256};
use spki::AlgorithmIdentifierOwned;
use x509_cert::Certificate;
use x509_cert::attr::{Attribute, Attributes};

use super::Signer;
use crate::uki::format::optional;
use crate::uki::read::Pe;

/// Type of the `SpcPeImageData` in the indirect data.
const SPC_PE_IMAGE_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.15");

/// `SpcPeImageData` with no flags and the file name `<<<Obsolete>>>`, which every signing tool
/// writes: SEQUENCE { BIT STRING {}, [0] { [2] { [0] BMPString } } }.
const SPC_PE_IMAGE: [u8; 39] = *b"\x30\x25\x03\x01\x00\xa0\x20\xa2\x1e\x80\x1c\
    \0<\0<\0<\0O\0b\0s\0o\0l\0e\0t\0e\0>\0>\0>";

/// Certificate table entries begin at multiples of this.
const ALIGNMENT: usize = 8;
/// Length of a WIN_CERTIFICATE header.
const WIN_CERTIFICATE_LEN: usize = 8;

/// `pe` with a signature by `signer` appended and `CheckSum` set. Deterministic for an RSA key.
///
/// # Errors
/// `pe` is no PE image, is signed already, has no room for the directory entry, or the signer fails.
pub fn sign(mut pe: Vec<u8>, signer: &dyn Signer) -> Result<Vec<u8>> {
    let parsed = Pe::parse(&pe).context("reading the image to sign")?;
    ensure!(
        parsed.certificates().is_none(),
        "the image to sign has a signature already"
    );
    ensure!(
        parsed.has_certificate_directory(),
        "the image to sign has no data directory for a certificate table"
    );
    let directory_at = parsed.certificate_directory_at();
    let checksum_at = parsed.optional_at() + optional::CHECKSUM;

    pe.resize(pe.len().next_multiple_of(ALIGNMENT), 0);
    let table_at = pe.len();
    let signature = signed_data(&digest(&pe)?, signer)?;
    let entry_len = (WIN_CERTIFICATE_LEN + signature.len()).next_multiple_of(ALIGNMENT);
    let narrow = |value: usize| u32::try_from(value).context("the signed image exceeds 4 GiB");
    // The entry's length includes its padding, as signtool and sbsign write it: readers that walk
    // the table without rounding end in the right place.
    pe.extend_from_slice(&narrow(entry_len)?.to_le_bytes());
    pe.extend_from_slice(&WIN_CERT_REVISION_2_0.to_le_bytes());
    pe.extend_from_slice(&WIN_CERT_TYPE_PKCS_SIGNED_DATA.to_le_bytes());
    pe.extend_from_slice(&signature);
    pe.resize(table_at + entry_len, 0);

    put(&mut pe, directory_at, narrow(table_at)?)?;
    put(&mut pe, directory_at + 4, narrow(entry_len)?)?;
    put(&mut pe, checksum_at, 0)?;
    let checksum = pe_checksum(&pe)?;
    put(&mut pe, checksum_at, checksum)?;
    Ok(pe)
}

fn put(data: &mut [u8], at: usize, value: u32) -> Result<()> {
    data.get_mut(at..at + 4)
        .context("writing outside the PE header")?
        .copy_from_slice(&value.to_le_bytes());
    Ok(())
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
    let table = pe.certificates().context("the image is not signed")?;
    let actual = digest(data)?;
    let mut rest = data.get(table).context("reading the certificate table")?;
    let mut problem = anyhow::anyhow!("the certificate table is empty");
    while !rest.is_empty() {
        let (entry, next) = split_entry(rest)?;
        rest = next;
        match verify_one(entry, &actual, certificate) {
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
    let Some(table) = pe.certificates() else {
        return Ok(Vec::new());
    };
    let mut rest = data.get(table).context("reading the certificate table")?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (entry, next) = split_entry(rest)?;
        rest = next;
        let signature = AuthenticodeSignature::from_bytes(entry)
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

/// The first entry of a certificate table, without its header, and what follows.
fn split_entry(table: &[u8]) -> Result<(&[u8], &[u8])> {
    let header: [u8; WIN_CERTIFICATE_LEN] = table
        .get(..WIN_CERTIFICATE_LEN)
        .and_then(|bytes| bytes.try_into().ok())
        .context("the certificate table ends inside an entry's header")?;
    let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let revision = u16::from_le_bytes([header[4], header[5]]);
    let kind = u16::from_le_bytes([header[6], header[7]]);
    let body = table
        .get(WIN_CERTIFICATE_LEN..len)
        .context("the certificate table has an entry with an impossible length")?;
    ensure!(
        revision == WIN_CERT_REVISION_2_0 && kind == WIN_CERT_TYPE_PKCS_SIGNED_DATA,
        "the certificate table has an entry of revision {revision:#06x}, type {kind:#06x}; \
         expected 0x0200 and 0x0002"
    );
    let next = len.next_multiple_of(ALIGNMENT).min(table.len());
    Ok((body, table.get(next..).unwrap_or_default()))
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

/// A ContentInfo with the SignedData over an image's `digest`.
///
/// Firmware expects SHA-256's object identifier at offset 32 and a length in two bytes (EDK2,
/// DxeImageVerificationLib), which any RSA certificate and signature gives.
fn signed_data(digest: &[u8; 32], signer: &dyn Signer) -> Result<Vec<u8>> {
    let certificate =
        Certificate::from_der(signer.certificate()).context("reading the signer's certificate")?;
    let sha256 = || AlgorithmIdentifierOwned {
        oid: ID_SHA_256,
        parameters: Some(Any::null()),
    };
    let content = Any::encode_from(&SpcIndirectDataContent {
        data: SpcAttributeTypeAndOptionalValue {
            value_type: SPC_PE_IMAGE_DATA,
            value: Any::from_der(&SPC_PE_IMAGE)?,
        },
        message_digest: DigestInfo {
            digest_algorithm: sha256(),
            digest: OctetString::new(*digest)?,
        },
    })?;
    // The message digest is over the content without tag and length (PKCS #7, section 9.3).
    let message_digest = OctetString::new(Sha256::digest(content.value()).as_slice())?;
    let attribute = |oid, value| -> der::Result<Attribute> {
        Ok(Attribute {
            oid,
            values: SetOfVec::try_from(vec![value])?,
        })
    };
    let attributes: Attributes = SetOfVec::try_from(vec![
        attribute(ID_CONTENT_TYPE, Any::encode_from(&SPC_INDIRECT_DATA_OBJID)?)?,
        attribute(ID_MESSAGE_DIGEST, Any::encode_from(&message_digest)?)?,
    ])?;
    let to_sign: [u8; 32] = Sha256::digest(attributes.to_der()?).into();
    let signature = signer
        .sign_sha256(&to_sign)
        .context("signing the image's digest")?;

    let info = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: certificate.tbs_certificate.issuer.clone(),
            serial_number: certificate.tbs_certificate.serial_number.clone(),
        }),
        digest_alg: sha256(),
        signed_attrs: Some(attributes),
        signature_algorithm: AlgorithmIdentifierOwned {
            oid: RSA_ENCRYPTION,
            parameters: Some(AnyRef::NULL.into()),
        },
        signature: OctetString::new(signature)?,
        unsigned_attrs: None,
    };
    let signed = SignedData {
        // RFC 5652 would have 3 for this content type; Authenticode is PKCS #7 and has 1.
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::try_from(vec![sha256()])?,
        encap_content_info: EncapsulatedContentInfo {
            econtent_type: SPC_INDIRECT_DATA_OBJID,
            econtent: Some(content),
        },
        certificates: Some(CertificateSet(SetOfVec::try_from(vec![
            CertificateChoices::Certificate(certificate),
        ])?)),
        crls: None,
        signer_infos: SignerInfos(SetOfVec::try_from(vec![info])?),
    };
    ContentInfo {
        content_type: ID_SIGNED_DATA,
        content: Any::encode_from(&signed)?,
    }
    .to_der()
    .context("encoding the signature")
}

/// The PE checksum of `data`, whose own field is zero: the 16-bit words added with end-around carry,
/// plus the length.
fn pe_checksum(data: &[u8]) -> Result<u32> {
    let mut sum: u64 = data
        .chunks(2)
        .map(|pair| u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 8)
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u32::try_from(sum + data.len() as u64).context("the signed image exceeds 4 GiB")
}

#[cfg(test)]
mod tests {
    use ::authenticode::authenticode_digest;

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
        assert_eq!(signed.len() % 8, 0);
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
        let der = signed_data(&[0; 32], development_keys()).unwrap();
        assert_eq!(der[1], 0x82);
        assert_eq!(der[32..41], *ID_SHA_256.as_bytes());
    }

    #[test]
    fn a_flipped_bit_anywhere_but_in_the_checksum_is_noticed() {
        let keys = development_keys();
        let signed = sign(image(), keys).unwrap();
        let checksum = 0x58 + optional::CHECKSUM..0x58 + optional::CHECKSUM + 4;
        let table = Pe::parse(&signed).unwrap().certificates().unwrap();
        let der_len = signed_data(&digest(&signed).unwrap(), keys).unwrap().len();
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
    fn another_key_a_second_signature_and_unsigned_bytes_are_refused() {
        let signed = sign(image(), development_keys()).unwrap();
        let error = verify(&signed, other_keys().certificate()).unwrap_err();
        assert!(error.to_string().contains("another key"), "{error}");
        assert!(sign(signed, development_keys()).is_err());
        assert!(verify(&image(), development_keys().certificate()).is_err());
    }

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        assert_eq!(pe_checksum(&[1, 2, 3]).unwrap(), 0x0201 + 3 + 3);
        assert_eq!(pe_checksum(&[0xff; 4]).unwrap(), 0xffff + 4);
    }
}
