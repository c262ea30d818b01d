//! Work in progress on disk: a folder beside its destination that becomes the output by one rename,
//! or disappears.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result};

use crate::failure::{Failure, Kind};

/// Paths that a signal handler has to remove, because nothing is dropped when a process exits.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A temporary file or folder that is removed when the value is dropped or the process interrupted.
#[derive(Debug)]
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// Takes charge of `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        if let Ok(mut list) = UNFINISHED.lock() {
            list.push(path.clone());
        }
        Self(path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Ok(mut list) = UNFINISHED.lock() {
            list.retain(|path| *path != self.0);
        }
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    // Whatever is gone already needs no removing.
    let _ = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
}

/// Removes everything unfinished; for the signal handler, just before the process exits.
pub fn abandon_all() {
    if let Ok(list) = UNFINISHED.lock() {
        for path in list.iter() {
            // Other threads still write: a folder may get a new file while it is emptied.
            for _ in 0..100 {
                remove(path);
                if path.symlink_metadata().is_err() {
                    break;
                }
            }
        }
    }
}

/// A folder under construction.
#[derive(Debug)]
pub struct Staging {
    folder: Unfinished,
    /// Held while the process lives, so that others can tell a folder at work from one left behind.
    _lock: fs::File,
    destination: PathBuf,
    /// The parent of the destination, where this made it.
    made: Option<PathBuf>,
}

impl Drop for Staging {
    fn drop(&mut self) {
        remove(&self.folder.0);
        if let Some(parent) = &self.made {
            // Only an empty one goes.
            let _ = fs::remove_dir(parent);
        }
    }
}

const PREFIX: &str = ".hullwright-";

impl Staging {
    /// Begins a folder that is to become `destination`; clears away what killed processes left there.
    ///
    /// # Errors
    /// The parent is not writable.
    pub fn begin(destination: &Path) -> Result<Self> {
        let parent = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let failed = |error: std::io::Error| {
            Failure::new(
                Kind::Environment,
                format!("can't write to {}: {error}", parent.display()),
            )
            .hint("choose another folder with --output DIR")
        };
        let made = (!parent.exists()).then(|| parent.to_owned());
        fs::create_dir_all(parent).map_err(failed)?;
        clear_leftovers(parent);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent)
            .map_err(failed)?
            .keep();
        let lock = fs::File::create(folder.join(LOCK)).map_err(failed)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .context("locking the staging folder")?;
        Ok(Self {
            folder: Unfinished::new(folder),
            _lock: lock,
            destination: destination.to_owned(),
            made,
        })
    }

    /// Where to write.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder.0
    }

    /// Puts the folder in its place; what was there is replaced.
    ///
    /// # Errors
    /// The rename fails; the old folder is then still whole.
    pub fn commit(self, sync: bool) -> Result<()> {
        let from = self.path();
        fs::remove_file(from.join(LOCK)).context("unlocking the staging folder")?;
        if sync {
            for entry in fs::read_dir(from)? {
                fs::File::open(entry?.path())?.sync_all()?;
            }
            fs::File::open(from)?.sync_all()?;
        }
        // 0700 is the temporary folder's; an output is as readable as the umask says others are.
        open_to_readers(from)?;
        let to = &self.destination;
        let doing = || format!("renaming {} to {}", from.display(), to.display());
        if to.exists() {
            // Both names change in one step, so no moment has a half output or none.
            rustix::fs::renameat_with(
                rustix::fs::CWD,
                from,
                rustix::fs::CWD,
                to,
                rustix::fs::RenameFlags::EXCHANGE,
            )
            .with_context(doing)?;
        } else {
            fs::rename(from, to).with_context(doing)?;
        }
        Ok(())
    }
}

const LOCK: &str = ".lock";

fn open_to_readers(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("setting the mode of {}", folder.display()))
}

/// Removes staging folders whose process is gone.
fn clear_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = fs::File::open(entry.path().join(LOCK)) else {
            continue;
        };
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_appears_whole_replaces_the_old_one_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let names = || {
            let mut names: Vec<_> = fs::read_dir(dir.path())
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        drop(Staging::begin(&out).unwrap());
        assert!(names().is_empty());
        drop(Staging::begin(&dir.path().join("new/out")).unwrap());
        assert!(names().is_empty());
        for text in ["one", "two"] {
            let staging = Staging::begin(&out).unwrap();
            fs::write(staging.path().join("file"), text).unwrap();
            staging.commit(false).unwrap();
            assert_eq!(fs::read_to_string(out.join("file")).unwrap(), text);
            assert_eq!(names(), ["out"]);
        }
    }

    #[test]
    fn what_a_killed_process_left_is_cleared_and_what_lives_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join(".hullwright-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        let first = Staging::begin(&dir.path().join("a")).unwrap();
        let second = Staging::begin(&dir.path().join("b")).unwrap();
        assert!(!dead.exists());
        assert!(first.path().exists() && second.path().exists());
    }
}
