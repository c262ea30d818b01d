//! The signature of a root hash: in the initrd of a UKI, and in the partition beside the hash tree.

use anyhow::{Context as _, Result, bail, ensure};
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use der::Decode as _;
use serde::Serialize;

use super::subject::Slot;
use crate::digest::Sha256;
use crate::erofs::ReadAt as _;
use crate::initrd::root_hash_signature;
use crate::uki::Pe;
use crate::verity::signature::{Document, PARTITION_SIZE};

/// What stands in a usr-verity-sig partition.
#[derive(Debug, Clone, Serialize)]
pub struct DocumentFacts {
    /// What is signed.
    pub root_hash: Sha256,
    /// SHA-256 of the certificate whose key has signed.
    pub certificate: Sha256,
}

/// The signature that a UKI carries for the kernel; nothing where it has no place for one, and empty
/// where the place waits.
pub(super) fn of_uki<'a>(pe: &Pe<'a>) -> Option<&'a [u8]> {
    root_hash_signature::read(pe.section(".initrd")?)
}

/// The document of a slot; nothing where there is no partition, or one that is empty.
pub(super) fn of_slot(slot: &Slot) -> Result<Option<Document>> {
    let Some(device) = &slot.signature else {
        return Ok(None);
    };
    let len = device.size()?.min(PARTITION_SIZE as u64);
    let mut bytes = vec![0; len as usize];
    device.read_exact_at(0, &mut bytes)?;
    Document::read(&bytes)
}

/// Checks the signature that a UKI's command line names. Whether the kernel will take its key is not
/// known here: that is the firmware's `db` to say.
///
/// # Errors
/// There is none, or it is no signature.
pub(super) fn check_uki(pe: &Pe<'_>) -> Result<()> {
    let place = format!("root-hash-signature=/{}", root_hash_signature::PATH);
    let cmdline = String::from_utf8_lossy(pe.section(".cmdline").unwrap_or_default());
    if !cmdline.contains(&place) {
        return Ok(());
    }
    let p7s = of_uki(pe).context(
        "the command line names a signature of the root hash that the initrd does not have",
    )?;
    ensure!(
        !p7s.is_empty(),
        "the root hash is not signed yet (`hullwright sign`)"
    );
    let info = ContentInfo::from_der(p7s).context("reading the signature of the root hash")?;
    let signed: SignedData = info
        .content
        .decode_as()
        .context("reading the signature of the root hash")?;
    ensure!(
        signed.signer_infos.0.len() == 1,
        "the root hash has {} signatures, and the kernel takes one",
        signed.signer_infos.0.len()
    );
    Ok(())
}

/// Checks the document of a slot against the root hash that its UKI trusts, and against the signature
/// in that UKI, which `in_ukis` has by root hash.
///
/// # Errors
/// They differ.
pub(super) fn check_slot(
    slot: &Slot,
    wanted: &Sha256,
    in_ukis: &[(Sha256, Vec<u8>)],
) -> Result<()> {
    let in_uki = in_ukis
        .iter()
        .find(|(hash, _)| hash == wanted)
        .map(|(_, p7s)| p7s);
    let document = of_slot(slot).context("reading the signature partition")?;
    match (document, in_uki) {
        (None, None) => Ok(()),
        (None, Some(p7s)) if p7s.is_empty() || slot.partuuids.is_none() => Ok(()),
        (None, Some(_)) => {
            bail!("the UKI has a signature of the root hash, and the partition has none")
        }
        (Some(document), in_uki) => {
            ensure!(
                document.root_hash == *wanted,
                "the signature partition is of the root hash {}",
                document.root_hash
            );
            ensure!(
                in_uki.is_none() || in_uki == document.p7s().as_ref(),
                "the signature partition has another signature than the UKI"
            );
            Ok(())
        }
    }
}
