//! Temporary files that other processes recognise as alive or dead.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use rustix::fs::{FlockOperation, flock};

use super::environment;

/// What [`gate`] locks.
pub(super) const LOCK: &str = ".lock";

/// A file under way in `tmp/`. Its flock says that the writer lives.
#[derive(Debug)]
pub struct Temp {
    file: Arc<File>,
    path: PathBuf,
}

/// Held shared while a temporary file is made and locked, exclusively while dead ones are removed:
/// otherwise a cleaner could take a file in the moment before its owner locks it.
fn gate(folder: &Path, how: FlockOperation) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK))?;
    flock(&file, how)?;
    Ok(file)
}

impl Temp {
    pub(super) fn new(folder: &Path) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let failed = |e: io::Error| environment("making a temporary file in", folder, &e);
        let _gate = gate(folder, FlockOperation::LockShared).map_err(failed)?;
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}-{number}", std::process::id()));
            match OpenOptions::new()
                .create_new(true)
                .read(true)
                .write(true)
                .open(&path)
            {
                Ok(file) => {
                    flock(&file, FlockOperation::LockExclusive).map_err(|e| failed(e.into()))?;
                    let file = Arc::new(file);
                    return Ok(Self { file, path });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e).into()),
            }
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The machine's, naming the path.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        (&*self.file)
            .write_all(bytes)
            .map_err(|e| environment("writing", &self.path, &e).into())
    }

    /// The open file.
    pub const fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// The path for now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, after its bytes reached the disk; replaces what is there.
    ///
    /// # Errors
    /// The machine's, naming the path.
    pub fn persist(self, to: &Path) -> Result<()> {
        sync_and_rename(&self.file, &self.path, to)
    }

    /// Gives the file its name at once, for content that checks itself: after a crash it may be
    /// anything.
    ///
    /// # Errors
    /// The machine's, naming the path.
    pub fn rename(self, to: &Path) -> Result<()> {
        make_folder(to)?;
        fs::rename(&self.path, to).map_err(|e| environment("renaming to", to, &e))?;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // After `persist` the name is gone already.
        let _ = fs::remove_file(&self.path);
    }
}

fn make_folder(of: &Path) -> Result<()> {
    if let Some(folder) = of.parent() {
        fs::create_dir_all(folder).map_err(|e| environment("making the folder", folder, &e))?;
    }
    Ok(())
}

/// Syncs `file`, whose name is `from`, makes the folder of `to` and renames it there.
pub(super) fn sync_and_rename(file: &File, from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    file.sync_data()
        .map_err(|e| environment("syncing", from, &e))?;
    fs::rename(from, to).map_err(|e| environment("renaming to", to, &e))?;
    Ok(())
}

/// Removes temporary files whose writer is dead. Failing to is no error: the next run tries again.
pub(super) fn remove_stale(folder: &Path) {
    let Ok(_gate) = gate(folder, FlockOperation::NonBlockingLockExclusive) else {
        return;
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.file_name().is_some_and(|name| name == LOCK) {
            continue;
        }
        let dead = File::open(&path)
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok());
        if dead {
            let _ = fs::remove_file(&path);
        }
    }
}
