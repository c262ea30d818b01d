//! One channel: its signed files, and what is to be read because of them.

use std::collections::BTreeSet;

use super::hashing::examine;
use super::{Check, disk, payload};
use crate::arch::Arch;
use crate::digest::Sha256;
use crate::release::index::{File, Index, MAX_FILE, MAX_INDEX, Release};
use crate::release::names::{CHANNEL, INDEX, Role, SUMS, signature_of};
use crate::release::signed;
use crate::release::sums::{MAX_SUMS, Sums};
use crate::report::progress::Stage;

/// More bytes than `channel.txt` has.
const MAX_CHANNEL: u64 = 4096;

/// A piece of work for a thread.
pub(super) enum Task {
    /// A release, except for its disk image.
    Release {
        folder: String,
        id: String,
        arch: Arch,
        release: Box<Release>,
    },
    /// The disk image of a release.
    Disk {
        folder: String,
        release: Box<Release>,
    },
    /// A file of which only the hash is known.
    Sum { path: String, sha256: Sha256 },
}

impl Task {
    /// Bytes to read, as far as that is known.
    pub(super) fn size(&self) -> u64 {
        let of = |release: &Release, disk: bool| {
            release
                .present()
                .filter(|file| (file.role == Role::Disk) == disk)
                .fold(0, |sum: u64, file| sum.saturating_add(file.size))
        };
        match self {
            Self::Release { release, .. } => of(release, false),
            Self::Disk { release, .. } => of(release, true),
            Self::Sum { .. } => 0,
        }
    }

    pub(super) fn run(&self, check: &Check<'_>, stage: &Stage) {
        match self {
            Self::Release {
                folder,
                id,
                arch,
                release,
            } => payload::check(check, stage, folder, id, *arch, release),
            Self::Disk { folder, release } => disk::check(check, stage, folder, release),
            Self::Sum { path, sha256 } => sum(check, stage, path, *sha256),
        }
    }
}

/// A file whose size nothing signed tells.
fn sum(check: &Check<'_>, stage: &Stage, path: &str, sha256: Sha256) {
    let Some(reader) = check.open(path) else {
        return;
    };
    match super::hashing::Hashing::new(reader, MAX_FILE, stage).finish() {
        Ok((size, found)) => {
            check.count(size);
            if found != sha256 {
                check.find(
                    path,
                    format!("its SHA-256 is {found}, and {sha256} is signed"),
                );
            }
        }
        Err(error) => check.find(path, error.to_string()),
    }
}

/// Checks the signed files of the channel `name`, and plans the rest.
pub(super) fn plan(check: &Check<'_>, name: &str) -> Vec<Task> {
    let path = format!("{name}/{INDEX}");
    let index = check
        .read_signed(&path, MAX_INDEX)
        .and_then(|text| match Index::parse(&text) {
            Ok(index) if index.channel == name => Some(index),
            Ok(index) => {
                check.find(
                    &path,
                    format!("it is the index of the channel {}", index.channel),
                );
                None
            }
            Err(error) => {
                check.find(&path, format!("{error:#}"));
                None
            }
        });
    let mut arches = index.as_ref().map(Index::arches).unwrap_or_default();
    match check.source.list(name) {
        Ok(Some(names)) => unknown_in_channel(check, name, &names, &mut arches, index.as_ref()),
        Ok(None) => {}
        Err(error) => check.find(name, format!("{error:#}")),
    }
    let mut tasks = Vec::new();
    for arch in arches {
        tasks.extend(folder(check, name, arch, index.as_ref()));
    }
    tasks
}

/// Tells what the channel's folder has besides what it must have. Without an index, the folders tell
/// which architectures there are.
fn unknown_in_channel(
    check: &Check<'_>,
    channel: &str,
    names: &[String],
    arches: &mut BTreeSet<Arch>,
    index: Option<&Index>,
) {
    for name in names {
        let arch = [Arch::X86_64, Arch::Arm64]
            .into_iter()
            .find(|arch| arch.to_string() == *name);
        let known = match arch {
            Some(arch) if index.is_none() => {
                arches.insert(arch);
                true
            }
            Some(arch) => arches.contains(&arch),
            None => *name == INDEX || *name == signature_of(INDEX),
        };
        if !known {
            check.find(format!("{channel}/{name}"), "nothing signed knows it");
        }
    }
}

/// Checks the signed files of an architecture's folder, and that it has no others than they name.
fn folder(check: &Check<'_>, channel: &str, arch: Arch, index: Option<&Index>) -> Vec<Task> {
    let folder = format!("{channel}/{arch}");
    let path = |name: &str| format!("{folder}/{name}");
    let sums = check
        .read_signed(&path(SUMS), MAX_SUMS)
        .and_then(|text| match Sums::parse(&text) {
            Ok(sums) => Some(sums),
            Err(error) => {
                check.find(path(SUMS), error.to_string());
                None
            }
        });
    let mut known = BTreeSet::from([SUMS.to_owned(), signature_of(SUMS), CHANNEL.to_owned()]);
    let mut tasks = Vec::new();
    if let Some(index) = index {
        let expected = signed::sums(index, arch);
        known.extend(expected.0.keys().cloned());
        if let Some(sums) = &sums {
            compare(check, &path(SUMS), &expected, sums);
        }
        let text = check.read(&path(CHANNEL), MAX_CHANNEL);
        if text.is_some_and(|text| text != signed::channel_text(index, arch).as_bytes()) {
            check.find(path(CHANNEL), "it is not the one of the index");
        }
        for (product, release) in index.releases(arch) {
            tasks.push(Task::Release {
                folder: folder.clone(),
                id: product.id.clone(),
                arch,
                release: Box::new(release.clone()),
            });
            if release.yanked.is_none() {
                tasks.push(Task::Disk {
                    folder: folder.clone(),
                    release: Box::new(release.clone()),
                });
            }
        }
    }
    if let Some(sums) = sums {
        for (name, sha256) in sums.0 {
            // What the index has is read because of it.
            if index.is_none() || !known.contains(&name) {
                tasks.push(Task::Sum {
                    path: path(&name),
                    sha256,
                });
            }
            known.insert(name);
        }
    } else if index.is_none() {
        // Nothing good is left that could say which files belong here.
        return tasks;
    }
    match check.source.list(&folder) {
        Ok(Some(names)) => {
            for name in names.iter().filter(|name| !known.contains(*name)) {
                check.find(path(name), "nothing signed knows it");
            }
        }
        Ok(None) => {}
        Err(error) => check.find(&folder, format!("{error:#}")),
    }
    tasks
}

/// Tells where the sums are not those of the index.
fn compare(check: &Check<'_>, path: &str, expected: &Sums, found: &Sums) {
    for (name, sha256) in &expected.0 {
        match found.0.get(name) {
            None => check.find(path, format!("{name} is not in it, and is in the index")),
            Some(other) if other != sha256 => check.find(
                path,
                format!("{name} has SHA-256 {other} in it, and {sha256} by the index"),
            ),
            Some(_) => {}
        }
    }
    for name in found.0.keys() {
        if !expected.0.contains_key(name) {
            check.find(path, format!("{name} is in it, and not in the index"));
        }
    }
}

/// Hashes a file that nothing else is known of.
pub(super) fn plain(check: &Check<'_>, stage: &Stage, folder: &str, file: &File) {
    let path = format!("{folder}/{}", file.name);
    examine(check, stage, &path, file, |_| ());
}
