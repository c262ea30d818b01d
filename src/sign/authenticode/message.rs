//! The CMS SignedData (RFC 5652) around a signature over an image's digest.

use ::cms::signed_data::EncapsulatedContentInfo;
use anyhow::{Context as _, Result};
use authenticode::{
    DigestInfo, SPC_INDIRECT_DATA_OBJID, SpcAttributeTypeAndOptionalValue, SpcIndirectDataContent,
};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5911::{ID_CONTENT_TYPE, ID_MESSAGE_DIGEST};
use der::asn1::{OctetString, SetOfVec};
use der::{Any, Decode as _, Encode as _};
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::attr::{Attribute, Attributes};

use super::super::cms::{self, sha256};

/// Type of the `SpcPeImageData` in the indirect data.
const SPC_PE_IMAGE_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.15");

/// `SpcPeImageData` with no flags and the file name `<<<Obsolete>>>`, which every signing tool
/// writes: SEQUENCE { BIT STRING {}, [0] { [2] { [0] BMPString } } }.
const SPC_PE_IMAGE: [u8; 39] = *b"\x30\x25\x03\x01\x00\xa0\x20\xa2\x1e\x80\x1c\
    \0<\0<\0<\0O\0b\0s\0o\0l\0e\0t\0e\0>\0>\0>";

/// Everything that is signed, before it is.
pub struct Message {
    content: Any,
    attributes: Attributes,
}

impl Message {
    /// The message over an image's `digest`. It depends on nothing else, so it is known before the
    /// key is.
    pub fn new(digest: &[u8; 32]) -> Result<Self> {
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
        let attributes = SetOfVec::try_from(vec![
            attribute(ID_CONTENT_TYPE, Any::encode_from(&SPC_INDIRECT_DATA_OBJID)?)?,
            attribute(ID_MESSAGE_DIGEST, Any::encode_from(&message_digest)?)?,
        ])?;
        Ok(Self {
            content,
            attributes,
        })
    }

    /// The signed attributes in the form that is signed (RFC 5652, section 5.4), DER.
    pub fn signed_bytes(&self) -> Result<Vec<u8>> {
        self.attributes
            .to_der()
            .context("encoding signed attributes")
    }

    /// Their SHA-256: what a signer gets.
    pub fn to_sign(&self) -> Result<[u8; 32]> {
        Ok(Sha256::digest(self.signed_bytes()?).into())
    }

    /// A ContentInfo with `signature` by the key of `certificate` (DER).
    ///
    /// Firmware expects SHA-256's object identifier at offset 32 and a length in two bytes (EDK2,
    /// DxeImageVerificationLib), which any RSA certificate and signature gives.
    pub fn finish(self, certificate: &[u8], signature: Vec<u8>) -> Result<Vec<u8>> {
        let certificate =
            Certificate::from_der(certificate).context("reading the signer's certificate")?;
        let content = EncapsulatedContentInfo {
            econtent_type: SPC_INDIRECT_DATA_OBJID,
            econtent: Some(self.content),
        };
        let attributes = Some(self.attributes);
        cms::content_info(&cms::signed_data(
            &certificate,
            signature,
            content,
            attributes,
            true,
        )?)
    }
}
