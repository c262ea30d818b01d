//! The public half of a key folder: certificates, and the signed variables that enrol them. It is
//! all that a build with `sign: later` is given.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use der::{Decode as _, DecodePem as _, Encode as _};
use rsa::traits::PublicKeyParts as _;
use x509_cert::Certificate;

use super::Role;
use super::authenticode::public_key;
use super::failure;
use super::keys::{DEVELOPMENT_WORDS, ENROL_DIR, MARKER_FILE, MIN_BITS, RELEASE_PUBLIC};
use crate::digest::Sha256;
use crate::stamp::Stamp;

/// Signed variables, as UEFI's `SetVariable` takes them (UEFI 2.10, section 8.2.2): what systemd-boot
/// enrols from `loader/keys/auto`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// `PK.auth`.
    pub pk: Vec<u8>,
    /// `KEK.auth`.
    pub kek: Vec<u8>,
    /// `db.auth`.
    pub db: Vec<u8>,
    /// `dbx.auth`, once something was revoked.
    pub dbx: Option<Vec<u8>>,
}

/// What a key folder says of itself without any private key.
#[derive(Debug, Clone)]
pub struct Trust {
    dir: PathBuf,
    db: Vec<u8>,
    verity: Option<Vec<u8>>,
    enrolment: Option<Enrolment>,
    release: Option<String>,
    development: bool,
}

impl Trust {
    /// Reads the public half of the key folder `dir`. No private key is opened.
    ///
    /// # Errors
    /// `db.crt` is missing, a certificate is unreadable, too short or not valid at `now`.
    pub fn open(dir: &Path, now: Stamp) -> Result<Self> {
        let db = read_certificate(dir, Role::Db, now)?;
        let verity = if dir.join(Role::Verity.certificate_file()).exists() {
            Some(read_certificate(dir, Role::Verity, now)?)
        } else {
            None
        };
        let development = dir.join(MARKER_FILE).exists()
            || [Some(&db), verity.as_ref()]
                .into_iter()
                .flatten()
                .any(|certificate| {
                    super::authenticode::subject(certificate).contains(DEVELOPMENT_WORDS)
                });
        Ok(Self {
            dir: dir.into(),
            db,
            verity,
            enrolment: read_enrolment(&dir.join(ENROL_DIR))?,
            release: read_release_key(dir)?,
            development,
        })
    }

    /// Where it came from.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The certificate (DER) of a key, where the folder has it.
    #[must_use]
    pub fn certificate(&self, role: Role) -> Option<&[u8]> {
        match role {
            Role::Db => Some(&self.db),
            Role::Verity => self.verity.as_deref(),
        }
    }

    /// The certificate (DER) that firmware checks boot loader, UKI and addons with.
    #[must_use]
    pub fn db(&self) -> &[u8] {
        &self.db
    }

    /// SHA-256 of the `db` certificate, as it stands in manifests and firmware set-up screens.
    #[must_use]
    pub fn fingerprint(&self) -> Sha256 {
        Sha256::of(&self.db)
    }

    /// The signed variables, where the folder has them.
    #[must_use]
    pub const fn enrolment(&self) -> Option<&Enrolment> {
        self.enrolment.as_ref()
    }

    /// The armoured OpenPGP key that signs releases, where the folder has it.
    #[must_use]
    pub fn release_key(&self) -> Option<&str> {
        self.release.as_deref()
    }

    /// Whether the keys are marked as for development only.
    #[must_use]
    pub const fn is_development(&self) -> bool {
        self.development
    }

    /// Whether these keys may sign an image of a profile that is, or is not, for development.
    ///
    /// # Errors
    /// The profile is for development and the keys are for release: a machine that trusts the keys
    /// must not start an image that anybody may log in to.
    pub fn check_allowed(&self, development_profile: bool) -> Result<()> {
        if development_profile && !self.development {
            return Err(failure(format!(
                "the profile has `development: true`, and the keys in {} are for release",
                self.dir.display()
            ))
            .hint("leave out --keys and HULLWRIGHT_KEYS to sign with development keys")
            .hint("or build a profile without the `dev` mix-in")
            .into());
        }
        Ok(())
    }
}

fn read_certificate(dir: &Path, role: Role, now: Stamp) -> Result<Vec<u8>> {
    let path = dir.join(role.certificate_file());
    let text = super::keys::read(dir, &path)?;
    let shown = path.display();
    let der = parse_certificate(&path, &text)?;
    let certificate = Certificate::from_der(&der).context("reading the certificate")?;
    let bits = public_key(&certificate)?.size() * 8;
    if bits < MIN_BITS {
        return Err(failure(format!(
            "{shown} is of a key of {bits} bits; Secure Boot needs {MIN_BITS} or more"
        ))
        .into());
    }
    check_validity(&certificate, &path, now)?;
    Ok(der)
}

/// The certificate (DER) in `text`, the PEM file `path`.
pub(super) fn parse_certificate(path: &Path, text: &str) -> Result<Vec<u8>> {
    Certificate::from_pem(text)
        .map_err(|error| {
            failure(format!(
                "{} is not an X.509 certificate in PEM: {error}",
                path.display()
            ))
        })?
        .to_der()
        .context("encoding the certificate")
}

fn read_enrolment(dir: &Path) -> Result<Option<Enrolment>> {
    if !dir.is_dir() {
        return Ok(None);
    }
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read(&path)
            .map_err(|error| failure(format!("reading {}: {error}", path.display())))
            .map_err(anyhow::Error::from)
    };
    Ok(Some(Enrolment {
        pk: read("PK.auth")?,
        kek: read("KEK.auth")?,
        db: read("db.auth")?,
        dbx: if dir.join("dbx.auth").exists() {
            Some(read("dbx.auth")?)
        } else {
            None
        },
    }))
}

fn read_release_key(dir: &Path) -> Result<Option<String>> {
    let path = dir.join(RELEASE_PUBLIC);
    if !path.exists() {
        return Ok(None);
    }
    let armoured = fs::read_to_string(&path)
        .map_err(|error| failure(format!("reading {}: {error}", path.display())))?;
    Ok(Some(armoured))
}

fn check_validity(certificate: &Certificate, path: &Path, now: Stamp) -> Result<()> {
    let validity = certificate.tbs_certificate.validity;
    let now = Duration::from_secs(now.seconds());
    let path = path.display();
    if now > validity.not_after.to_unix_duration() {
        return Err(failure(format!(
            "the certificate {path} expired on {}",
            validity.not_after
        ))
        .hint("make new keys with `hullwright keys new DIR` and enrol their certificate")
        .into());
    }
    if now < validity.not_before.to_unix_duration() {
        return Err(failure(format!(
            "the certificate {path} is not valid before {}",
            validity.not_before
        ))
        .hint("check this machine's clock")
        .into());
    }
    Ok(())
}
