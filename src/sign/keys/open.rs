//! A set opened for a change: whose keys sign what, and with which times.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use zeroize::Zeroizing;

use super::{AskPassphrase, ENROL_DIR, Key, OWNER_DIR, Set, failure, lists, private, read};
use crate::failure::{Failure, Kind};
use crate::sign::efi::Variable;
use crate::sign::efi::siglist::{Entry, Signature};
use crate::sign::{FileSigner, Signer as _, openpgp, trust};
use crate::stamp::Stamp;

/// A set that is about to change.
pub(super) struct Open<'a> {
    /// The key folder.
    pub(super) dir: PathBuf,
    /// The folder with PK and KEK.
    pub(super) owner: PathBuf,
    /// Whether that lies outside of `dir`.
    pub(super) owner_apart: bool,
    /// What the set remembers.
    pub(super) set: Set,
    ask: AskPassphrase<'a>,
    _lock: fs::File,
}

impl<'a> Open<'a> {
    /// Opens the set in `dir`, whose owner's keys are in `owner`, else in the set.
    pub(super) fn new(dir: &Path, owner: Option<&Path>, ask: AskPassphrase<'a>) -> Result<Self> {
        let dir = &resolve(dir)?;
        let inside = dir.join(OWNER_DIR);
        let owner = match owner {
            Some(owner) => resolve(owner)?,
            // A link leads out of the set, and what is there is not copied with it.
            None if inside.is_symlink() => resolve(&inside)?,
            None => inside.clone(),
        };
        Ok(Self {
            _lock: super::folder::lock(dir)?,
            set: Set::read(dir)?,
            owner_apart: owner != inside,
            owner,
            dir: dir.clone(),
            ask,
        })
    }

    /// The path of a key's file.
    pub(super) fn file(&self, key: Key, extension: &str) -> PathBuf {
        key.file_in(&self.dir, &self.owner, extension)
    }

    /// The bytes of a file in `enrol/`, where it is there.
    pub(super) fn enrolled(&self, file: &str) -> Result<Option<Vec<u8>>> {
        let path = self.dir.join(ENROL_DIR).join(file);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure(format!("reading {}: {error}", path.display())).into()),
        }
    }

    /// The entries of a signed variable in `enrol/`; none where there is no such file.
    pub(super) fn entries(&self, file: &str) -> Result<Vec<Entry>> {
        let Some(bytes) = self.enrolled(file)? else {
            return Ok(Vec::new());
        };
        let shown = self.dir.join(ENROL_DIR).join(file);
        lists::entries(&bytes).map_err(|error| {
            failure(format!("{} can't be read: {error:#}", shown.display())).into()
        })
    }

    /// The certificate (DER) of a key.
    pub(super) fn certificate(&self, key: Key) -> Result<Vec<u8>> {
        let path = self.file(key, "crt");
        let text = self.read(&path)?;
        trust::parse_certificate(&path, &text)
    }

    /// The key that signs `variable` when its own key is `key`; it has to be the one that machines
    /// know.
    pub(super) fn signer(&self, key: Key, variable: Variable) -> Result<FileSigner> {
        let pair = self.pair(key)?;
        let known = self.entries(&variable.file())?.into_iter().any(|entry| {
            matches!(entry.signature, Signature::Certificate(der) if der == pair.certificate())
        });
        if !known {
            return Err(failure(format!(
                "{} is not the certificate in {}, which machines know",
                self.file(key, "crt").display(),
                self.dir.join(ENROL_DIR).join(variable.file()).display()
            ))
            .hint("name the owner's folder that belongs to this set with --owner DIR")
            .into());
        }
        Ok(pair)
    }

    /// Private key and certificate.
    fn pair(&self, key: Key) -> Result<FileSigner> {
        let (path, certificate_path) = (self.file(key, "key"), self.file(key, "crt"));
        let certificate = self.certificate(key)?;
        if !path.exists() {
            self.read(&path)?;
        }
        private::check_mode(&path, self.is_development())?;
        FileSigner::pair(&self.dir, &path, &certificate_path, &certificate, self.ask)
    }

    /// Reads a file of a key, and says where the owner's may be.
    fn read(&self, path: &Path) -> Result<String> {
        read(&self.dir, path).map_err(|error| {
            if path.starts_with(&self.owner) && !path.exists() {
                failure(format!("{} is missing", path.display()))
                    .hint(
                        "where the owner's keys lie elsewhere, name their folder with --owner DIR",
                    )
                    .into()
            } else {
                error
            }
        })
    }

    /// Whether the set is for development.
    pub(super) fn is_development(&self) -> bool {
        self.set.profile == super::KeyProfile::Development
    }

    /// What the successor of `key` is to be encrypted with: the passphrase of `key`, which has to open
    /// it; where its file is gone, that of any other key of the set.
    pub(super) fn passphrase_for(&self, key: Key) -> Result<Option<Zeroizing<String>>> {
        let others = Key::ALL.into_iter().filter(|other| *other != key);
        for candidate in std::iter::once(key).chain(others) {
            let path = self.file(candidate, "key");
            let Ok(text) = fs::read_to_string(&path).map(Zeroizing::new) else {
                continue;
            };
            let shown = path.display().to_string();
            if candidate == Key::Release {
                let (_, encrypted) = openpgp::describe_secret(&text)
                    .with_context(|| format!("reading {shown}"))
                    .map_err(|error| failure(format!("{error:#}")))?;
                if encrypted {
                    let passphrase = (self.ask)(&shown)?;
                    if !openpgp::opens(&text, &passphrase)? {
                        return Err(private::wrong_passphrase(&shown).into());
                    }
                    return Ok(Some(passphrase));
                }
            } else if private::is_encrypted(&text) {
                private::open(&self.dir, &path, self.ask)?;
                return (self.ask)(&shown).map(Some);
            }
            if candidate == key {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The release key's public file.
    pub(super) fn release_public(&self) -> Result<String> {
        self.read(&self.dir.join(super::RELEASE_PUBLIC))
    }

    /// A time for the next signed variables.
    pub(super) fn next_time(&self, now: Stamp) -> Stamp {
        self.set.next_time(now)
    }
}

/// The folder itself, where a link leads to it: links stay as they are.
fn resolve(dir: &Path) -> Result<PathBuf> {
    let resolved = fs::canonicalize(dir)
        .map_err(|error| failure(format!("reading {}: {error}", dir.display())))?;
    if !resolved.is_dir() {
        return Err(Failure::new(Kind::Keys, format!("{} is no folder", dir.display())).into());
    }
    Ok(resolved)
}
