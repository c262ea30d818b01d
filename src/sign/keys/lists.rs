//! The contents of a set's variables.

use anyhow::{Context as _, Result};
use uuid::Uuid;

use crate::sign::efi::auth::sign_variable;
use crate::sign::efi::siglist::{self, Entry, Signature};
use crate::sign::efi::{Variable, auth};
use crate::sign::{FileSigner, Signer as _};
use crate::stamp::Stamp;

/// An entry with a certificate of a set.
pub(super) fn certificate(owner: Uuid, der: &[u8]) -> Entry {
    Entry {
        owner,
        signature: Signature::Certificate(der.to_vec()),
    }
}

/// `variable` with `entries`, replacing what is there.
pub(super) fn sign(
    variable: Variable,
    time: Stamp,
    entries: &[Entry],
    signer: &FileSigner,
) -> Result<Vec<u8>> {
    sign_variable(variable, time, false, &siglist::write(entries)?, signer)
}

/// The entries of a signed variable, unverified.
pub(super) fn entries(signed: &[u8]) -> Result<Vec<Entry>> {
    siglist::read(auth::payload(signed)?).context("reading its signature lists")
}

/// `PK.auth`, signed by the key itself: what a machine without a PK takes.
pub(super) fn platform_key(owner: Uuid, time: Stamp, pk: &FileSigner) -> Result<Vec<u8>> {
    sign(
        Variable::Pk,
        time,
        &[certificate(owner, pk.certificate())],
        pk,
    )
}
