//! Work in progress on disk: a folder beside its destination that becomes the output by one rename,
//! or disappears.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, RenameFlags};

use crate::failure::{Failure, Kind};

/// Writes a file in place of what is there, in one step: beside it, to the platter, renamed.
///
/// # Errors
/// It can't be written; what was there is then as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push("-");
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(&prefix)
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok::<_, io::Error>(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

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

    /// Gives up the charge: what was made has its final name.
    pub fn keep(self) {
        if let Ok(mut list) = UNFINISHED.lock() {
            list.retain(|path| *path != self.0);
        }
        std::mem::forget(self);
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
    let Ok(list) = UNFINISHED.lock() else {
        return;
    };
    for path in list.iter() {
        // Other threads still write: what they add while the folder is being emptied needs another go.
        for _ in 0..100 {
            remove(path);
            if !path.exists() {
                break;
            }
        }
    }
    // Whoever fails because its files are gone waits here, so that the exit status is the signal's.
    std::mem::forget(list);
}

/// A folder for work in progress, which goes when the value is dropped or the process interrupted.
#[derive(Debug)]
pub struct Scratch {
    folder: Unfinished,
    /// Locked while the process lives, so that others can tell a folder at work from one left behind.
    /// The lock is on the folder itself: there is no moment in which it exists without.
    _lock: fs::File,
}

impl Scratch {
    /// Makes one in `parent`; clears away what killed processes left there.
    ///
    /// # Errors
    /// `parent` is not writable.
    pub fn begin(parent: &Path) -> io::Result<Self> {
        clear_leftovers(parent);
        loop {
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .tempdir_in(parent)?
                .keep();
            let folder = Unfinished::new(folder);
            // Another process that clears leftovers may have been quicker than the lock.
            if let Ok(lock) = fs::File::open(&folder.0)
                && try_lock(&lock)
                && folder.0.exists()
            {
                return Ok(Self {
                    folder,
                    _lock: lock,
                });
            }
        }
    }

    /// Where to write.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder.0
    }
}

/// A folder under construction.
#[derive(Debug)]
pub struct Staging {
    folder: Scratch,
    destination: PathBuf,
    /// The parent of the destination, where this made it.
    made: Option<PathBuf>,
}

impl Drop for Staging {
    fn drop(&mut self) {
        // An output that was replaced: to give its blocks back takes a while, and less for all files at once.
        if let Ok(files) = fs::read_dir(self.folder.path()) {
            std::thread::scope(|scope| {
                for file in files.flatten() {
                    scope.spawn(move || remove(&file.path()));
                }
            });
        }
        remove(self.folder.path());
        if let Some(parent) = &self.made {
            // Only an empty one goes.
            let _ = fs::remove_dir(parent);
        }
    }
}

const PREFIX: &str = ".hullwright-";

/// Files that every finished output has. What lacks them was made by someone else.
const MARKS: [&str; 2] = ["manifest.json", "SHA256SUMS"];

impl Staging {
    /// Begins a folder that is to become `destination`; clears away what killed processes left there.
    ///
    /// # Errors
    /// The parent is not writable; `destination` is something that no build made.
    pub fn begin(destination: &Path) -> Result<Self> {
        let parent = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let failed = |error: io::Error| {
            Failure::new(
                Kind::Environment,
                format!("can't write to {}: {error}", parent.display()),
            )
            .hint("choose another folder with --output DIR")
        };
        check_replaceable(destination)?;
        let made = (!parent.exists()).then(|| parent.to_owned());
        fs::create_dir_all(parent).map_err(failed)?;
        Ok(Self {
            folder: Scratch::begin(parent).map_err(failed)?,
            destination: destination.to_owned(),
            made,
        })
    }

    /// Where to write.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts the folder in its place; what was there is replaced.
    ///
    /// # Errors
    /// The rename fails; the old folder is then still whole.
    pub fn commit(self, sync: bool) -> Result<()> {
        let from = self.path();
        if sync {
            for entry in fs::read_dir(from)? {
                fs::File::open(entry?.path())?.sync_all()?;
            }
            fs::File::open(from)?.sync_all()?;
        }
        // 0700 is the temporary folder's; an output is as readable as the umask says others are.
        open_to_readers(from)?;
        let to = &self.destination;
        check_replaceable(to)?;
        exchange(from, to)
    }
}

/// Gives the folder `from` the name `to`. What had that name gets the name `from`, in the same step:
/// no moment has a half output or none, whatever other builds do meanwhile.
///
/// # Errors
/// The rename fails; the old folder is then still whole.
pub fn exchange(from: &Path, to: &Path) -> Result<()> {
    // Either this comes first, or the signal handler, which keeps the list until the process ends: a
    // folder that it has begun to empty must not become an output.
    let _list = UNFINISHED.lock();
    put(from, to).with_context(|| format!("renaming {} to {}", from.display(), to.display()))
}

fn put(from: &Path, to: &Path) -> io::Result<()> {
    let rename = |flags| {
        rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags)
            .map_err(io::Error::from)
    };
    loop {
        match rename(RenameFlags::NOREPLACE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // A file system without these flags (NFS, some FUSE).
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            other => return other,
        }
        match rename(RenameFlags::EXCHANGE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            other => return other,
        }
    }
    // Where the process is killed in between, the next build clears the old output away.
    let mut aside = from.as_os_str().to_owned();
    aside.push("-old");
    let aside = PathBuf::from(aside);
    match fs::rename(to, &aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => {
            fs::rename(from, to)?;
            remove(&aside);
            Ok(())
        }
    }
}

/// Refuses to replace what no build made: a slip in `--output` must not cost somebody's files.
fn check_replaceable(destination: &Path) -> Result<()> {
    let Ok(data) = fs::symlink_metadata(destination) else {
        return Ok(());
    };
    let empty = || fs::read_dir(destination).is_ok_and(|mut entries| entries.next().is_none());
    let ours = || MARKS.iter().all(|name| destination.join(name).is_file());
    if data.is_dir() && (ours() || empty()) {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Usage,
        format!(
            "{} exists and is not the output of a build",
            destination.display()
        ),
    )
    .hint("choose a new folder with --output DIR, or remove this one yourself")
    .into())
}

fn try_lock(folder: &fs::File) -> bool {
    rustix::fs::flock(folder, FlockOperation::NonBlockingLockExclusive).is_ok()
}

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
        if fs::File::open(entry.path()).is_ok_and(|folder| try_lock(&folder)) {
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
            for name in MARKS.iter().chain(&["file"]) {
                fs::write(staging.path().join(name), text).unwrap();
            }
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
        fs::write(dead.join("usr.erofs"), "half").unwrap();
        let first = Staging::begin(&dir.path().join("a")).unwrap();
        let second = Staging::begin(&dir.path().join("b")).unwrap();
        assert!(!dead.exists());
        assert!(first.path().exists() && second.path().exists());
    }

    #[test]
    fn what_no_build_made_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        Staging::begin(&home).unwrap();
        fs::write(home.join("letter"), "dear").unwrap();
        for precious in [home.clone(), home.join("letter")] {
            let error = Staging::begin(&precious).unwrap_err();
            assert_eq!(crate::failure::kind_of(&error), Kind::Usage, "{error}");
        }
        assert_eq!(fs::read_to_string(home.join("letter")).unwrap(), "dear");
    }
}
