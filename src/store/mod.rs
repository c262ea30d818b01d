//! The content-addressed cache: downloads, indices, locks between processes.
//!
//! ```text
//! CACHE/downloads/aa/SHA256   verified content, never changed after it appears
//!       partial/SHA256        a download under way or cut off; holds an flock(2) while it is written
//!       indices/SHA256.vN     Packages indices in compact form, by the hash of the original
//!       releases/KEY          the last InRelease that verified, by base URL and suite
//!       objects/aa/KEY        compiled packages, in a format of their own ([`format`])
//!       derived/aa/KEY.KIND   other results that are worth keeping, in the same format
//!       tmp/PID-N             being written; holds an flock(2) for as long as its writer lives
//! ```
//!
//! Content is renamed into `downloads` only after its hash was compared and its bytes reached the
//! disk, so presence means "verified", a killed process leaves at most a temporary file, and any
//! number of processes may share one cache.

mod age;
mod bundle;
mod check;
mod derived;
mod failure;
mod keeper;
pub mod memo;
mod object;
mod objects;
mod room;
mod tally;
mod temp;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use sha2::Digest as _;

use crate::digest::Sha256;

pub use bundle::Imported;
pub use check::Verified;
pub use derived::decode;
pub use failure::environment;
pub use memo::{Forgetful, Memo, remember};
pub use object::{DamageList, DamagedObject, NewData, ObjectFile, StoredData, format};
pub use objects::{PACKAGE, key_of};
pub use room::{Amount, DEFAULT_LIMIT, Evicted, Usage};
pub use temp::Temp;

/// Folders of a cache.
const FOLDERS: [&str; 7] = [
    "downloads",
    "partial",
    "indices",
    "releases",
    "objects",
    "derived",
    "tmp",
];

/// What file systems commonly round a file's length up to.
const BLOCK: u64 = 4096;

/// A cache directory. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Objects that were found to be damaged.
    damage: Arc<DamageList>,
    /// Objects are read whole before they are handed out.
    distrust: AtomicBool,
    /// Bytes that were written since [`Store::tidy`] looked last.
    written: AtomicU64,
    /// Most bytes that the cache may take.
    limit: AtomicU64,
    keeper: keeper::Keeper,
}

impl Store {
    /// Opens the cache at `dir`, makes what is missing and removes what dead processes left.
    ///
    /// # Errors
    /// The directory cannot be made (kind [`Environment`](crate::failure::Kind::Environment)).
    pub fn open(dir: &Path) -> Result<Self> {
        let store = Self {
            inner: Arc::new(Inner {
                root: dir.to_path_buf(),
                damage: Arc::default(),
                distrust: AtomicBool::new(false),
                written: AtomicU64::new(0),
                limit: AtomicU64::new(u64::MAX),
                keeper: keeper::Keeper::default(),
            }),
        };
        for folder in FOLDERS {
            let path = dir.join(folder);
            fs::create_dir_all(&path).map_err(|e| {
                let failure = environment("making the folder", &path, &e);
                if failure.hints.is_empty() {
                    failure.hint("point HULLWRIGHT_CACHE to a folder that can be written to")
                } else {
                    failure
                }
            })?;
        }
        temp::remove_stale(&store.folder("tmp"));
        Ok(store)
    }

    /// The cache directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// A folder of the cache.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        self.inner.root.join(name)
    }

    /// Where content of that hash is or will be.
    #[must_use]
    pub fn download_path(&self, sha256: &Sha256) -> PathBuf {
        let name = sha256.to_string();
        let shard = name.get(..2).unwrap_or_default().to_owned();
        self.folder("downloads").join(shard).join(name)
    }

    /// The verified content of that hash, if it is here. The hash was compared before the file got
    /// its name; [`Store::verify`] compares it again.
    #[must_use]
    pub fn download(&self, sha256: &Sha256) -> Option<PathBuf> {
        let path = self.download_path(sha256);
        let data = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        age::touch_path(&path, &data);
        Some(path)
    }

    /// As [`Store::download`]; a file of another size counts as missing, and is removed when it is
    /// damaged (and not the size that is asked for wrong).
    #[must_use]
    pub fn download_sized(&self, sha256: &Sha256, size: u64) -> Option<PathBuf> {
        let path = self.download(sha256)?;
        if fs::metadata(&path).is_ok_and(|data| data.len() == size) {
            return Some(path);
        }
        let _ = self.verify(sha256);
        None
    }

    /// Hashes the content again; what does not match is removed and `None` is returned.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn verify(&self, sha256: &Sha256) -> Result<Option<PathBuf>> {
        let Some(path) = self.download(sha256) else {
            return Ok(None);
        };
        let found = hash_file(&path).map_err(|e| environment("reading", &path, &e))?;
        if found == *sha256 {
            return Ok(Some(path));
        }
        tracing::warn!("{} is damaged and was removed", path.display());
        fs::remove_file(&path).map_err(|e| environment("removing", &path, &e))?;
        Ok(None)
    }

    /// A new temporary file in the cache's file system; removed when dropped.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn temp(&self) -> Result<Temp> {
        Temp::new(&self.folder("tmp"))
    }

    /// Puts bytes under their hash.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<(Sha256, PathBuf)> {
        let sha256 = Sha256::of(bytes);
        if let Some(path) = self.download_sized(&sha256, bytes.len() as u64) {
            return Ok((sha256, path));
        }
        let path = self.download_path(&sha256);
        self.write(&path, bytes)?;
        Ok((sha256, path))
    }

    /// Writes `path` (inside the cache) whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut temp = self.temp()?;
        temp.write_all(bytes)?;
        self.wrote(temp.file());
        temp.persist(path)
    }

    /// Takes a verified file that lies in the cache's file system under its hash: syncs, renames.
    ///
    /// # Errors
    /// The file cannot be synced or renamed.
    pub(crate) fn adopt(&self, file: &File, from: &Path, sha256: &Sha256) -> Result<PathBuf> {
        let path = self.download_path(sha256);
        temp::sync_and_rename(file, from, &path)?;
        self.wrote(file);
        Ok(path)
    }

    /// This file is new. Its blocks may not be counted yet.
    fn wrote(&self, file: &File) {
        let bytes = file.metadata().map_or(0, |data| data.len());
        let on_disk = bytes.max(1).next_multiple_of(BLOCK);
        self.inner.written.fetch_add(on_disk, Ordering::Relaxed);
    }
}

/// The SHA-256 of a file's bytes.
///
/// # Errors
/// The file cannot be read.
pub fn hash_file(path: &Path) -> io::Result<Sha256> {
    let mut file = File::open(path)?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Sha256(hash.finalize().into())),
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests;
