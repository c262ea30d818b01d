//! What must not start any more: `dbx`.
//!
//! `dbx.auth` is the whole list, for machines that are enrolled from nothing; `dbx-update.auth` adds
//! what was revoked last to whatever a machine has, firmware vendor's entries among it.

use std::path::Path;

use anyhow::Result;
use der::{Decode as _, DecodePem as _, Encode as _};
use x509_cert::Certificate;

use super::open::Open;
use super::rotate::Changed;
use super::{AskPassphrase, ENROL_DIR, Key, SET_FILE, failure, folder, lists, rotate};
use crate::sign::efi::Variable;
use crate::sign::efi::auth::sign_variable;
use crate::sign::efi::siglist::{self, Entry, Signature};
use crate::sign::{FileSigner, authenticode};
use crate::stamp::Stamp;

/// What was revoked last, to be appended to a machine's `dbx`.
pub const DBX_UPDATE: &str = "dbx-update.auth";

/// Something to forbid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// The image with this Authenticode digest.
    Image([u8; 32]),
    /// Everything signed by the key of this certificate (DER).
    Certificate(Vec<u8>),
}

/// Adds to the set's `dbx`; `None` where it has all of `what` already.
///
/// # Errors
/// The KEK is missing, locked or not the one that machines know, or `what` is a certificate that the
/// set signs with. The set is then as it was.
pub fn revoke(
    dir: &Path,
    what: &[Revoked],
    owner: Option<&Path>,
    ask: AskPassphrase<'_>,
    now: Stamp,
) -> Result<Option<Changed>> {
    let open = Open::new(dir, owner, ask)?;
    let mut entries = open.entries(&Variable::Dbx.file())?;
    let mut added: Vec<Entry> = Vec::new();
    for revoked in what {
        let signature = match revoked {
            Revoked::Image(digest) => Signature::Sha256(*digest),
            Revoked::Certificate(der) => {
                check_unused(&open, der)?;
                Signature::Certificate(der.clone())
            }
        };
        let known = entries.iter().chain(&added);
        if !known.into_iter().any(|entry| entry.signature == signature) {
            added.push(Entry {
                owner: open.set.owner,
                signature,
            });
        }
    }
    if added.is_empty() {
        return Ok(None);
    }
    entries.extend(added.iter().cloned());
    let kek = open.signer(Key::Kek, Variable::Kek)?;
    let signed = sign(open.next_time(now), &entries, &added, &kek)?;

    // No key changes, so the set stays where it is. Interrupted in between, the whole list lacks what is
    // in the update, and the next revocation mends it.
    let mut set = open.set.clone();
    set.variables = rotate::latest(&signed)?;
    folder::put(&open.dir.join(SET_FILE), &set.encode()?)?;
    for (name, bytes) in &signed {
        folder::put(&open.dir.join(ENROL_DIR).join(name), bytes)?;
    }
    Ok(Some(Changed {
        old: None,
        old_owner: None,
        renewed: signed.into_iter().map(|(name, _)| name).collect(),
    }))
}

/// The update first: a machine that has taken it takes the whole list, too, because that is later.
fn sign(
    time: Stamp,
    all: &[Entry],
    added: &[Entry],
    kek: &FileSigner,
) -> Result<Vec<(String, Vec<u8>)>> {
    let later = Stamp::from_seconds(time.seconds() + 1);
    let update = sign_variable(Variable::Dbx, time, true, &siglist::write(added)?, kek)?;
    let whole = lists::sign(Variable::Dbx, later, all, kek)?;
    Ok(vec![
        (DBX_UPDATE.into(), update),
        (Variable::Dbx.file(), whole),
    ])
}

/// The same lists, signed by a new KEK.
pub(super) fn sign_again(
    open: &Open<'_>,
    time: Stamp,
    kek: &FileSigner,
) -> Result<Vec<(String, Vec<u8>)>> {
    let all = open.entries(&Variable::Dbx.file())?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let added = open.entries(DBX_UPDATE)?;
    sign(time, &all, &added, kek)
}

fn check_unused(open: &Open<'_>, der: &[u8]) -> Result<()> {
    for key in [Key::Db, Key::Verity] {
        if open.certificate(key).is_ok_and(|own| own == der) {
            let name = key.name();
            return Err(failure(format!(
                "{} is the certificate that this set signs with: machines would refuse every image",
                open.file(key, "crt").display()
            ))
            .hint(format!(
                "rotate the key first: `hullwright keys rotate {} {name}`; the old certificate is then \
                 in the folder that the rotation names",
                open.dir.display()
            ))
            .into());
        }
    }
    Ok(())
}

/// The Authenticode digest of an image, for [`Revoked::Image`].
///
/// # Errors
/// It is no PE image.
pub fn image_digest(image: &[u8]) -> Result<[u8; 32]> {
    authenticode::digest(image)
}

/// A certificate (DER) from a file in PEM or DER.
///
/// # Errors
/// It is neither.
pub fn read_certificate(bytes: &[u8]) -> Result<Vec<u8>> {
    let certificate = if bytes.starts_with(b"-----") {
        Certificate::from_pem(bytes)
    } else {
        Certificate::from_der(bytes)
    };
    certificate
        .and_then(|certificate| certificate.to_der())
        .map_err(|error| anyhow::anyhow!("it is not an X.509 certificate in PEM or DER: {error}"))
}
