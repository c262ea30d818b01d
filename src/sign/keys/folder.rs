//! Files and folders of a set: written whole, to the platter, with their modes, and never lost.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use der::pem::LineEnding;
use der::{Decode as _, EncodePem as _};
use x509_cert::Certificate;

use super::private;
use crate::sign::{FileSigner, Signer as _};
use crate::staging::Unfinished;

/// A folder beside `dir` that is to become it; removed when dropped, and when the process is
/// interrupted.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    unfinished: Unfinished,
}

impl Draft {
    /// A new, empty folder beside `dir`, for its owner only.
    pub(super) fn beside(dir: &Path) -> Result<Self> {
        let parent = parent(dir);
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        let path = tempfile::Builder::new()
            .prefix(".keys-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .with_context(|| format!("creating a folder in {}", parent.display()))?
            .keep();
        Ok(Self {
            unfinished: Unfinished::new(path.clone()),
            path,
        })
    }

    /// Makes a folder in it, unless it is there.
    pub(super) fn folder(&self, name: &str, mode: u32) -> Result<()> {
        let path = self.path.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::set_permissions(&path, fs::Permissions::from_mode(mode)),
        }
        .with_context(|| format!("creating {}", path.display()))
    }

    /// Writes a file in it, in place of any there is.
    pub(super) fn write(&self, name: impl AsRef<Path>, mode: u32, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let write = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    /// Writes private key and certificate at `stem`, a path without extension.
    pub(super) fn write_pair(
        &self,
        stem: impl Fn(&str) -> PathBuf,
        pair: &FileSigner,
        passphrase: Option<&str>,
    ) -> Result<()> {
        let key = private::encode(pair.key(), passphrase)?;
        let pem = Certificate::from_der(pair.certificate())
            .and_then(|certificate| certificate.to_pem(LineEnding::LF))
            .context("encoding the certificate")?;
        self.write(stem("key"), 0o600, key.as_bytes())?;
        self.write(stem("crt"), 0o644, pem.as_bytes())?;
        self.write(stem("der"), 0o644, pair.certificate())
    }

    /// Gives it the name `dir`, which must be absent or an empty folder; `false` where it is neither.
    pub(super) fn become_new(self, dir: &Path) -> Result<bool> {
        sync(&self.path)?;
        // rename(2) replaces an empty folder at most, so of two that race, one wins whole.
        match fs::rename(&self.path, dir) {
            Ok(()) => self.unfinished.keep(),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::AlreadyExists
                        | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(false);
            }
            Err(error) => {
                return Err(error).with_context(|| format!("renaming to {}", dir.display()));
            }
        }
        sync(parent(dir))?;
        Ok(true)
    }
}

/// The folder that holds `dir`.
pub(super) fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Puts a folder's entries on the platter.
pub(super) fn sync(dir: &Path) -> Result<()> {
    fs::File::open(dir)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("syncing {}", dir.display()))
}
