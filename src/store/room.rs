//! What the cache holds, and making room in it.
//!
//! Everything that can be made or fetched again may go at any time, least recently used first. Who
//! has an object open reads on; what is missing when it is looked for is made or fetched again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::Result;
use rustix::fs::{FlockOperation, flock};

use super::temp::LOCK;
use super::{FOLDERS, Store, environment, tally};

/// What a cache may take when nobody says otherwise.
pub const DEFAULT_LIMIT: u64 = 10 << 30;

/// Folders whose files can be had again. The InRelease files are not among them: they are small, and
/// say how old an archive must not be.
const REPLACEABLE: [&str; 5] = ["downloads", "objects", "derived", "indices", "partial"];

/// A number of files and their size on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// What a cache holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// By folder.
    pub folders: BTreeMap<&'static str, Amount>,
    /// Results besides compiled packages, by kind.
    pub derived: BTreeMap<String, Amount>,
    /// All of it.
    pub total: Amount,
}

/// What making room has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evicted {
    /// What was removed.
    pub removed: Amount,
    /// What is left.
    pub left: Amount,
}

/// A file of the cache.
pub(super) struct Item {
    pub folder: &'static str,
    pub path: PathBuf,
    bytes: u64,
    /// When it was last used.
    used: (i64, i64),
}

/// Calls `found` for every file below `folder`. What vanishes meanwhile is left out.
fn walk(folder: &Path, found: &mut dyn FnMut(PathBuf, &fs::Metadata)) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(environment("reading", folder, &error).into()),
    };
    for entry in entries {
        let entry = entry.map_err(|error| environment("reading", folder, &error))?;
        let path = entry.path();
        match entry.metadata() {
            Ok(data) if data.is_dir() => walk(&path, found)?,
            Ok(data) if data.is_file() => found(path, &data),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a process is writing the file: it then holds its lock.
fn under_way(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
}

impl Store {
    /// All files, in the order of their paths.
    pub(super) fn items(&self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for folder in FOLDERS {
            walk(&self.folder(folder), &mut |path, data| {
                if path.file_name().is_some_and(|name| name == LOCK) {
                    return;
                }
                items.push(Item {
                    folder,
                    path,
                    bytes: data.blocks() * 512,
                    used: (data.mtime(), data.mtime_nsec()),
                });
            })?;
        }
        items.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(items)
    }

    /// What the cache holds.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        for folder in FOLDERS {
            usage.folders.insert(folder, Amount::default());
        }
        for item in self.items()? {
            usage.total.add(item.bytes);
            usage
                .folders
                .entry(item.folder)
                .or_default()
                .add(item.bytes);
            if item.folder == "derived"
                && let Some(kind) = item.path.extension()
            {
                let kind = kind.to_string_lossy().into_owned();
                usage.derived.entry(kind).or_default().add(item.bytes);
            }
        }
        Ok(usage)
    }

    /// Removes what was not used for longest, until the cache takes no more than `limit` bytes.
    ///
    /// # Errors
    /// A folder cannot be read, a file not removed.
    pub fn make_room(&self, limit: u64) -> Result<Evicted> {
        let mut items = self.items()?;
        let mut result = Evicted::default();
        for item in &items {
            result.left.add(item.bytes);
        }
        items.retain(|item| REPLACEABLE.contains(&item.folder));
        items.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
        for item in items {
            if result.left.bytes <= limit {
                break;
            }
            if item.folder == "partial" && under_way(&item.path) {
                continue;
            }
            match fs::remove_file(&item.path) {
                Ok(()) => result.removed.add(item.bytes),
                // Somebody else makes room, too.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(environment("removing", &item.path, &error).into()),
            }
            result.left.files -= 1;
            result.left.bytes -= item.bytes;
        }
        tally::begin(self, result.left.bytes);
        Ok(result)
    }

    /// What [`Self::tidy`] keeps the cache below.
    pub fn set_limit(&self, bytes: u64) {
        self.inner.limit.store(bytes, Ordering::Relaxed);
    }

    /// Waits until all objects are on the disk, and makes room if this store has written something
    /// that brought the cache over its limit. Failing to is no failure of what was done before.
    pub fn tidy(&self) {
        self.settle();
        let limit = self.inner.limit.load(Ordering::Relaxed);
        let written = self.inner.written.swap(0, Ordering::Relaxed);
        if limit == u64::MAX || written == 0 {
            return;
        }
        // Counting thousands of files takes longer than some builds have left to do.
        if tally::add(self, written).is_some_and(|taken| taken <= limit) {
            return;
        }
        match self.make_room(limit) {
            Ok(evicted) if evicted.removed.files > 0 => tracing::debug!(
                "{} files were removed from the cache, which was over its limit",
                evicted.removed.files
            ),
            Ok(_) => {}
            Err(error) => tracing::warn!("the cache is over its limit: {error:#}"),
        }
    }
}
