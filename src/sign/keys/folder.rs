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
use crate::staging::{self, Unfinished};

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

    /// A new, empty folder that is to take the place of the folder `dir` and leave it its own name,
    /// `DIR.old-N`: so there is one moment in which the two change, and nothing is ever lost.
    pub(super) fn replacing(dir: &Path) -> Result<Self> {
        let mode = fs::metadata(dir)
            .with_context(|| format!("reading {}", dir.display()))?
            .permissions();
        let mut number = 1;
        let path = loop {
            let mut name = dir.as_os_str().to_owned();
            name.push(format!(".old-{number}"));
            let path = PathBuf::from(name);
            match fs::create_dir(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => {
                    return Err(error).with_context(|| format!("creating {}", path.display()));
                }
            }
        };
        fs::set_permissions(&path, mode)
            .with_context(|| format!("setting the mode of {}", path.display()))?;
        Ok(Self {
            unfinished: Unfinished::new(path.clone()),
            path,
        })
    }

    /// Exchanges it for `dir`; returns where that lies now.
    pub(super) fn replace(self, dir: &Path) -> Result<PathBuf> {
        sync(&self.path)?;
        // What an interruption removes must not be the old set.
        let Self { path, unfinished } = self;
        unfinished.keep();
        if let Err(error) = exchange(&path, dir) {
            drop(Unfinished::new(path.clone()));
            return Err(super::failure(format!(
                "{} can't take the place of {}: {error}",
                path.display(),
                dir.display()
            ))
            .hint("the folder of a set has to be on the file system of its parent")
            .into());
        }
        sync(parent(dir))?;
        Ok(path)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
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

    /// Copies everything in `from` that is not there yet, with its modes.
    pub(super) fn copy_from(&self, from: &Path) -> Result<()> {
        copy(from, &self.path)
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

fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        // A file system without it (NFS, some FUSE). Where the process is killed in between, both
        // sets are there, and the message of the next command names the one that is missing.
        Err(rustix::io::Errno::INVAL) => {
            let mut aside = new.as_os_str().to_owned();
            aside.push("-new");
            fs::rename(new, &aside)?;
            fs::rename(old, new)
                .and_then(|()| {
                    fs::rename(&aside, old).inspect_err(|_| {
                        let _ = fs::rename(new, old);
                    })
                })
                .inspect_err(|_| {
                    let _ = fs::rename(&aside, new);
                })
        }
        other => Ok(other?),
    }
}

/// Holds a set for the one process that may change it.
pub(super) fn lock(dir: &Path) -> Result<fs::File> {
    use rustix::fs::{FlockOperation, flock};
    let folder = fs::File::open(dir)
        .map_err(|error| super::failure(format!("reading {}: {error}", dir.display())))?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        super::failure(format!(
            "{} is being changed by another process: {error}",
            dir.display()
        ))
    })?;
    Ok(folder)
}

/// The folder that holds `dir`.
pub(super) fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copy_one = |entry: io::Result<fs::DirEntry>| -> Result<()> {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !target.exists() {
                fs::create_dir(&target)?;
                fs::set_permissions(&target, entry.metadata()?.permissions())?;
            }
            return copy(&path, &target);
        }
        if target.symlink_metadata().is_ok() {
            return Ok(());
        }
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path)?, &target)?;
        } else if kind.is_file() {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(entry.metadata()?.permissions().mode() & 0o7777)
                .open(&target)?;
            io::copy(&mut fs::File::open(&path)?, &mut file)?;
            file.sync_all()?;
        }
        Ok(())
    };
    fs::read_dir(from)
        .with_context(|| format!("reading {}", from.display()))?
        .try_for_each(copy_one)
        .with_context(|| format!("copying {}", from.display()))
}

/// Writes a public file in place of the one that is there, at once.
pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    staging::write_file(path, bytes)?;
    sync(parent(path))
}

/// Puts a folder's entries on the platter.
pub(super) fn sync(dir: &Path) -> Result<()> {
    fs::File::open(dir)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("syncing {}", dir.display()))
}
