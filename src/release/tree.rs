//! A release tree on disk, and how it changes.
//!
//! A channel's folder is never changed in place. Its next state is made beside the tree, from hard
//! links to the files that stay and from the new ones, is signed and brought to the platter, and then
//! takes the old folder's name in one step (`RENAME_EXCHANGE`). So at every moment the tree is one
//! whole, signed state, also for a mirror that is reading it, and an interrupted command has changed
//! nothing. What remains is a client that reads `SHA256SUMS` before that moment and its signature after
//! it: the signature is not good then, systemd-sysupdate installs nothing, and the next attempt
//! succeeds.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{Access, FlockOperation};

use super::index::{Index, MAX_INDEX};
use super::names::{CHANNEL, INDEX, KEY, SIGNATURE, SUMS, signature_of};
use super::signed;
use crate::arch::Arch;
use crate::failure::{Failure, Kind};
use crate::profile;
use crate::sign::openpgp::{ReleaseKeys, ReleaseSigner};
use crate::staging::{self, Scratch};
use crate::stamp::Stamp;

/// A tree that this process alone may change.
#[derive(Debug)]
pub struct Tree {
    dir: PathBuf,
    /// Whether it was made by [`Self::open`].
    made: bool,
    /// Locked as long as the value lives.
    _lock: fs::File,
}

/// A file to be added.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Whose folder it goes to.
    pub arch: Arch,
    /// Its name there.
    pub name: String,
    /// Where it is now. It must not change any more.
    pub path: PathBuf,
}

/// Who signs a channel, and who is to believe it.
#[derive(Debug)]
pub struct Authority {
    /// The key.
    pub signer: ReleaseSigner,
    /// `release.asc`.
    pub public: String,
    /// The keys in it.
    pub keys: ReleaseKeys,
    /// Judges the keys' expiry.
    pub now: Stamp,
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.made {
            // Only an empty one goes: nothing was published.
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// Takes the lock, with patience for one that is about to go: a program that another thread starts holds
/// it too until it runs.
fn take(lock: &fs::File) -> bool {
    (0..20).any(|attempt| {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
        rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()
    })
}

impl Tree {
    /// Takes charge of the tree in `dir`, which is made if need be.
    ///
    /// # Errors
    /// It can't be made, or another process is changing it.
    pub fn open(dir: &Path) -> Result<Self> {
        let failed = |error: io::Error| {
            Failure::new(
                Kind::Environment,
                format!("can't use {} as a release tree: {error}", dir.display()),
            )
        };
        let made = !dir.exists();
        fs::create_dir_all(dir).map_err(failed)?;
        let dir = dir.canonicalize().map_err(failed)?;
        let lock = fs::File::open(&dir).map_err(failed)?;
        if !take(&lock) {
            return Err(Failure::new(
                Kind::Environment,
                format!("another hullwright is changing {}", dir.display()),
            )
            .hint("wait until it has finished")
            .into());
        }
        Ok(Self {
            dir,
            made,
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Names of the channels, in order.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn channels(&self) -> Result<Vec<String>> {
        channels(&self.dir)
    }

    /// A folder for what is being made, on the file system of the tree: beside it where that is
    /// possible, so that no mirror picks it up.
    ///
    /// # Errors
    /// Nothing there is writable.
    pub fn scratch(&self) -> Result<Scratch> {
        let device = |path: &Path| fs::metadata(path).map(|data| data.dev()).ok();
        let parent = self.dir.parent().filter(|parent| {
            device(parent) == device(&self.dir)
                && rustix::fs::access(*parent, Access::WRITE_OK).is_ok()
        });
        let place = parent.unwrap_or(&self.dir);
        Scratch::begin(place).map_err(|error| {
            Failure::new(
                Kind::Environment,
                format!("can't write to {}: {error}", place.display()),
            )
            .into()
        })
    }

    /// The state of `channel`, an empty one where there is none. What is to be signed again must have
    /// been signed by us, and be as it was signed.
    ///
    /// # Errors
    /// A signature is not good, or a file is missing, new, or of another size.
    pub fn channel(&self, channel: &str, authority: &Authority) -> Result<Index> {
        profile::check_channel(channel).map_err(|expected| {
            Failure::new(
                Kind::Usage,
                format!("`{channel}` is no name of a channel; expected {expected}"),
            )
        })?;
        let folder = self.dir.join(channel);
        if !folder.join(INDEX).exists() {
            if !is_empty(&folder) {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("{} exists and is no channel", folder.display()),
                )
                .hint("choose another folder with --to, or another name with --channel")
                .into());
            }
            return Ok(Index::new(channel));
        }
        read_channel(&folder, channel, authority).map_err(|error| {
            Failure::new(
                Kind::Archive,
                format!("{} can't be changed: {error:#}", folder.display()),
            )
            .hint(format!(
                "look at all of it with `hullwright release verify {}`",
                self.dir.display()
            ))
            .hint("where the release key was rotated, release.asc must still have the old key")
            .into()
        })
    }

    /// Signs a channel anew as it is, such as after a rotation of the key.
    ///
    /// # Errors
    /// There is no such channel; as [`Self::channel`] and [`Self::publish`].
    pub fn sign_again(&self, channel: &str, authority: &Authority) -> Result<Index> {
        let mut index = self.channel(channel, authority)?;
        if index.serial == 0 {
            return Err(Failure::new(
                Kind::Usage,
                format!("{} has no channel {channel}", self.dir.display()),
            )
            .into());
        }
        index.serial += 1;
        self.publish(&index, &[], authority, &self.scratch()?)?;
        Ok(index)
    }

    /// The folder of an architecture in `channel`.
    #[must_use]
    pub fn folder(&self, channel: &str, arch: Arch) -> PathBuf {
        self.dir.join(channel).join(arch.to_string())
    }

    /// The states of all other channels than `channel`.
    ///
    /// # Errors
    /// As [`Self::channel`].
    pub fn others(&self, channel: &str, authority: &Authority) -> Result<Vec<Index>> {
        let names = self.channels()?.into_iter().filter(|name| name != channel);
        names.map(|name| self.channel(&name, authority)).collect()
    }

    /// Makes `index` the state of its channel, with `incoming` added to the files that it has.
    ///
    /// # Errors
    /// A file is missing, or the disk is full; the tree is then as it was.
    pub fn publish(
        &self,
        index: &Index,
        incoming: &[Incoming],
        authority: &Authority,
        scratch: &Scratch,
    ) -> Result<()> {
        let (old, new) = (self.dir.join(&index.channel), scratch.path().join("next"));
        let write = |path: &Path, text: &str| -> Result<()> {
            let time = Stamp::from_seconds(index.stamp());
            let signature = authority.signer.sign(text.as_bytes(), time)?;
            write_synced(path, text.as_bytes())?;
            write_synced(&with_signature(path), &signature)
        };
        create(&new)?;
        for arch in index.arches() {
            let folder = new.join(arch.to_string());
            create(&folder)?;
            for file in index.present(arch) {
                let found = incoming
                    .iter()
                    .find(|new| new.arch == arch && new.name == file.name);
                let to = folder.join(&file.name);
                match found {
                    Some(new) => {
                        link(&new.path, &to)?;
                        sync(&to)?;
                    }
                    None => link(&self.folder(&index.channel, arch).join(&file.name), &to)?,
                }
            }
            write_synced(
                &folder.join(CHANNEL),
                signed::channel_text(index, arch).as_bytes(),
            )?;
            write(&folder.join(SUMS), &signed::sums(index, arch).to_text())?;
            sync(&folder)?;
        }
        write(&new.join(INDEX), &index.to_text()?)?;
        sync(&new)?;
        let key = self.dir.join(KEY);
        if fs::read(&key).ok().as_deref() != Some(authority.public.as_bytes()) {
            staging::write_file(&key, authority.public.as_bytes())?;
        }
        staging::exchange(&new, &old)?;
        sync(&self.dir)
    }
}

/// Names of the channels in the tree `dir`.
///
/// # Errors
/// The folder can't be read.
pub fn channels(dir: &Path) -> Result<Vec<String>> {
    let context = || format!("listing {}", dir.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(context)? {
        let entry = entry.with_context(context)?;
        if let Ok(name) = entry.file_name().into_string()
            && profile::check_channel(&name).is_ok()
            && entry.path().join(INDEX).exists()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// `path` with `.gpg` behind it.
fn with_signature(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SIGNATURE);
    name.into()
}

fn is_empty(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn read_channel(folder: &Path, channel: &str, authority: &Authority) -> Result<Index> {
    let signed = |path: &Path| -> Result<Vec<u8>> {
        let shown = path.display();
        let bytes = fs::read(path).with_context(|| format!("reading {shown}"))?;
        let signature = with_signature(path);
        let signature =
            fs::read(&signature).with_context(|| format!("reading {}", signature.display()))?;
        authority
            .keys
            .verify(&bytes, &signature, authority.now)
            .with_context(|| shown.to_string())?;
        Ok(bytes)
    };
    let path = folder.join(INDEX);
    let size = fs::metadata(&path).map_or(0, |data| data.len());
    anyhow::ensure!(size <= MAX_INDEX, "{} has {size} bytes", path.display());
    let index = Index::parse(&signed(&path)?).with_context(|| path.display().to_string())?;
    anyhow::ensure!(
        index.channel == channel,
        "{} is of the channel {}",
        path.display(),
        index.channel
    );
    for arch in index.arches() {
        let folder = folder.join(arch.to_string());
        let sums = signed(&folder.join(SUMS))?;
        anyhow::ensure!(
            sums == signed::sums(&index, arch).to_text().as_bytes(),
            "{} is not the one of index.json",
            folder.join(SUMS).display()
        );
        check_files(&folder, &index, arch)?;
    }
    Ok(index)
}

/// Whether the folder has the files of the index, by name and size, and no other, which would be lost.
fn check_files(folder: &Path, index: &Index, arch: Arch) -> Result<()> {
    let mut known = BTreeSet::from([CHANNEL.to_owned(), SUMS.into(), signature_of(SUMS)]);
    for file in index.present(arch) {
        let path = folder.join(&file.name);
        let size = fs::metadata(&path)
            .with_context(|| format!("reading {}", path.display()))?
            .len();
        anyhow::ensure!(
            size == file.size,
            "{} has {size} bytes, and the index says {}",
            path.display(),
            file.size
        );
        known.insert(file.name.clone());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let name = entry?.file_name();
        anyhow::ensure!(
            name.to_str().is_some_and(|name| known.contains(name)),
            "{} is no file of a release",
            folder.join(&name).display()
        );
    }
    Ok(())
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))
}

/// Another name for the same bytes; a copy where the file system has no hard links, or this user may
/// not make one.
fn link(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    sync(to)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))?;
    sync(path)
}

fn sync(path: &Path) -> Result<()> {
    fs::File::open(path)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("syncing {}", path.display()))
}
