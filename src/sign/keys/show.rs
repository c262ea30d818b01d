//! What a set is made of, without opening a private key.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use der::{Decode as _, Encode as _};
use x509_cert::Certificate;
use zeroize::Zeroizing;

use super::{ENROL_DIR, Key, OWNER_DIR, RELEASE_PUBLIC, Set, failure, lists, private};
use crate::digest::Sha256;
use crate::sign::efi::Variable;
use crate::sign::efi::siglist::{Entry, Signature};
use crate::sign::{openpgp, trust};
use crate::stamp::Stamp;

/// How a private key lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Private {
    /// It is not there.
    Absent,
    /// A passphrase opens it.
    Encrypted,
    /// Whoever reads the file has it.
    Plain,
}

/// A key of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Which.
    pub key: Key,
    /// Subject of the certificate, or OpenPGP user id.
    pub subject: String,
    /// SHA-256 of the certificate (DER), or OpenPGP fingerprint.
    pub fingerprint: String,
    /// From when it is good.
    pub from: Stamp,
    /// Until when.
    pub until: Option<Stamp>,
    /// Its private half.
    pub private: Private,
    /// The certificate (DER); empty for the OpenPGP key.
    pub certificate: Vec<u8>,
    /// Where that was read.
    pub place: PathBuf,
}

/// A set.
#[derive(Debug)]
pub struct Overview {
    /// What the set remembers; sets made by others have no memory.
    pub set: Option<Set>,
    /// Its keys.
    pub keys: Vec<Shown>,
    /// Certificates in `db` besides those of the set, by subject and fingerprint.
    pub others_in_db: Vec<(String, String)>,
    /// How many entries `dbx` has.
    pub revoked: usize,
}

/// Looks at the set in `dir`, whose owner's keys are in `owner`, else in the set, else known by what
/// they signed.
///
/// # Errors
/// There is no `db` certificate, or a file can't be understood.
pub fn show(dir: &Path, owner: Option<&Path>) -> Result<Overview> {
    let inside = dir.join(OWNER_DIR);
    let owner = owner.unwrap_or(&inside);
    let entries = |variable: Variable| entries(dir, &variable.file());
    let db = entries(Variable::Db)?;
    let mut keys = Vec::new();
    for key in Key::X509 {
        let path = key.file_in(dir, owner, "crt");
        let enrolled = match key {
            Key::Pk => entries(Variable::Pk)?,
            Key::Kek => entries(Variable::Kek)?,
            _ => Vec::new(),
        };
        let private = private_at(&key.file_in(dir, owner, "key"))?;
        if path.exists() || key == Key::Db {
            let text = super::read(dir, &path)?;
            let der = trust::parse_certificate(&path, &text)?;
            keys.push(describe(key, der, path, private)?);
        } else if let Some(der) = enrolled.into_iter().find_map(certificate) {
            let place = dir.join(ENROL_DIR).join(format!("{}.auth", key.name()));
            keys.push(describe(key, der, place, private)?);
        }
    }
    keys.extend(release(dir)?);
    let others_in_db = db
        .into_iter()
        .filter_map(certificate)
        .filter(|der| keys.iter().all(|shown| shown.certificate != *der))
        .map(|der| {
            let subject = crate::sign::authenticode::subject(&der);
            (subject, Sha256::of(&der).to_string())
        })
        .collect();
    Ok(Overview {
        set: dir
            .join(super::SET_FILE)
            .exists()
            .then(|| Set::read(dir))
            .transpose()?,
        keys,
        others_in_db,
        revoked: entries(Variable::Dbx)?.len(),
    })
}

fn release(dir: &Path) -> Result<Option<Shown>> {
    let place = dir.join(RELEASE_PUBLIC);
    if !place.exists() {
        return Ok(None);
    }
    let text = super::read(dir, &place)?;
    let key = openpgp::describe(&text)
        .and_then(|keys| keys.into_iter().next().context("it holds no key"))
        .map_err(|error| failure(format!("{}: {error:#}", place.display())))?;
    Ok(Some(Shown {
        key: Key::Release,
        subject: key.user,
        fingerprint: key.fingerprint,
        from: key.created,
        until: key.expires,
        private: private_at(&dir.join(super::RELEASE_KEY))?,
        certificate: Vec::new(),
        place,
    }))
}

fn describe(key: Key, der: Vec<u8>, place: PathBuf, private: Private) -> Result<Shown> {
    let certificate = Certificate::from_der(&der)
        .map_err(|error| failure(format!("{}: {error}", place.display())))?;
    let validity = certificate.tbs_certificate.validity;
    let stamp =
        |time: x509_cert::time::Time| Stamp::from_seconds(time.to_unix_duration().as_secs());
    Ok(Shown {
        key,
        subject: certificate.tbs_certificate.subject.to_string(),
        fingerprint: Sha256::of(&der).to_string(),
        from: stamp(validity.not_before),
        until: Some(stamp(validity.not_after)),
        private,
        certificate: certificate.to_der().context("encoding the certificate")?,
        place,
    })
}

/// The private key at `path`, by its envelope.
fn private_at(path: &Path) -> Result<Private> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Private::Absent),
        Err(error) => return Err(failure(format!("reading {}: {error}", path.display())).into()),
    };
    let encrypted = if text.contains("PGP PRIVATE KEY BLOCK") {
        openpgp::describe_secret(&text)
            .map_err(|error| failure(format!("{}: {error:#}", path.display())))?
            .1
    } else {
        private::is_encrypted(&text)
    };
    Ok(if encrypted {
        Private::Encrypted
    } else {
        Private::Plain
    })
}

/// The entries of a signed variable in the set; none where there is no such file.
fn entries(dir: &Path, file: &str) -> Result<Vec<Entry>> {
    let path = dir.join(ENROL_DIR).join(file);
    match fs::read(&path) {
        Ok(bytes) => lists::entries(&bytes)
            .map_err(|error| failure(format!("{}: {error:#}", path.display())).into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failure(format!("reading {}: {error}", path.display())).into()),
    }
}

fn certificate(entry: Entry) -> Option<Vec<u8>> {
    match entry.signature {
        Signature::Certificate(der) => Some(der),
        _ => None,
    }
}
