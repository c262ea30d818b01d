//! The signature of a root hash: for the kernel, and for the partition beside the hash tree.

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::base64;
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::sign::{Signer, cms};

/// Bytes of [`partition`] in images of hullwright: room for any signature, so that another one moves
/// nothing.
pub const PARTITION_SIZE: usize = 8192;

/// What the kernel takes (`drivers/md/dm-verity-verify-sig.c`): PKCS #7 (DER) over the root hash in
/// lower-case hexadecimal, without attributes, as the time of signing would be one, and without
/// certificates, as the kernel has its own.
///
/// # Errors
/// The signer fails.
pub fn p7s(root_hash: &Sha256, signer: &dyn Signer) -> Result<Vec<u8>> {
    let content = root_hash.to_string();
    cms::content_info(&cms::detached(content.as_bytes(), signer, false)?)
}

/// Checks what [`p7s`] makes against `certificate` (DER).
///
/// # Errors
/// It is of another root hash or key, or can't be parsed.
pub fn verify(p7s: &[u8], root_hash: &Sha256, certificate: &[u8]) -> Result<()> {
    cms::verify(p7s, root_hash.to_string().as_bytes(), certificate)
}

/// The content of a usr-verity-sig partition (Discoverable Partitions Specification, "Verity
/// Signature Partitions").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// What is signed.
    pub root_hash: Sha256,
    /// SHA-256 of the certificate (DER).
    pub certificate_fingerprint: Sha256,
    /// The signature in base64.
    signature: String,
}

impl Document {
    /// The signature (PKCS #7, DER).
    #[must_use]
    pub fn p7s(&self) -> Option<Vec<u8>> {
        base64::decode(&self.signature)
    }

    /// Reads a partition; nothing where it begins with a NUL and so waits for its signature.
    ///
    /// # Errors
    /// It is not such a document, with NULs behind it.
    pub fn read(partition: &[u8]) -> Result<Option<Self>> {
        let end = partition
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(partition.len());
        let (text, rest) = partition.split_at(end);
        ensure!(
            rest.iter().all(|byte| *byte == 0),
            "there is something behind the first NUL"
        );
        if text.is_empty() {
            return Ok(None);
        }
        let document: Self = serde_json::from_slice(text)
            .context("it is not the JSON of a root hash's signature")?;
        ensure!(document.p7s().is_some(), "its signature is not base64");
        Ok(Some(document))
    }
}

/// The content of the partition, padded with NULs to `size` bytes, as systemd-repart writes it.
///
/// # Errors
/// `size` is too small.
pub fn partition(
    root_hash: &Sha256,
    certificate: &[u8],
    p7s: &[u8],
    size: usize,
) -> Result<Vec<u8>> {
    let document = Document {
        root_hash: *root_hash,
        certificate_fingerprint: Sha256::of(certificate),
        signature: base64::encode(p7s),
    };
    let mut out = serde_json::to_vec(&document).context("writing the signature partition")?;
    // At least one NUL ends the text.
    if out.len() >= size {
        return Err(Failure::new(
            Kind::DoesNotFit,
            format!(
                "the signature of the root hash takes {} bytes of its partition, which has room for {size}",
                out.len() + 1
            ),
        )
        .into());
    }
    out.resize(size, 0);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::keys::tests::{development_keys, other_keys};

    const HASH: Sha256 = Sha256([0xab; 32]);

    #[test]
    fn a_signature_is_of_one_root_hash_by_one_key() {
        let (keys, others) = (development_keys(), other_keys());
        let signature = p7s(&HASH, keys).unwrap();
        assert_eq!(signature, p7s(&HASH, keys).unwrap());
        verify(&signature, &HASH, keys.certificate()).unwrap();
        verify(&signature, &HASH, others.certificate()).unwrap_err();
        verify(&signature, &Sha256([0xac; 32]), keys.certificate()).unwrap_err();
        // The kernel has the certificate; that it is not in here keeps the signature small.
        assert!(signature.len() < 1024, "{}", signature.len());
    }

    #[test]
    fn a_partition_reads_as_systemd_repart_would_have_written_it() {
        let bytes = partition(&HASH, b"certificate", b"signature", 256).unwrap();
        let text = format!(
            "{{\"rootHash\":\"{HASH}\",\"certificateFingerprint\":\"{}\",\"signature\":\"c2lnbmF0dXJl\"}}",
            Sha256::of(b"certificate")
        );
        assert_eq!(&bytes[..text.len()], text.as_bytes());
        assert!(bytes[text.len()..].iter().all(|byte| *byte == 0));
        assert_eq!(bytes.len(), 256);
        let document = Document::read(&bytes).unwrap().unwrap();
        assert_eq!(document.root_hash, HASH);
        assert_eq!(document.p7s().unwrap(), b"signature");
        partition(&HASH, b"certificate", b"signature", text.len()).unwrap_err();
        partition(&HASH, b"certificate", b"signature", text.len() + 1).unwrap();
    }

    #[test]
    fn an_empty_partition_waits_and_a_damaged_one_is_an_error() {
        assert_eq!(Document::read(&[0; 64]).unwrap(), None);
        assert_eq!(Document::read(&[]).unwrap(), None);
        let good = partition(&HASH, b"c", b"s", 256).unwrap();
        let mut tail = good.clone();
        tail[255] = b'x';
        let other = String::from_utf8(good.clone())
            .unwrap()
            .replace("cw==", "c===");
        for bytes in [&tail[..], &good[..20], b"{}", b"x", other.as_bytes()] {
            assert!(Document::read(bytes).is_err());
        }
    }
}
