//! Gets a lock for a profile: the one on disk while it fits, a new one otherwise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::lock::{Inputs, Upgrade, profile_hash};
use super::{Lock, Resolution, solve};
use crate::arch::Arch;
use crate::archive::{self, Keyrings, Record};
use crate::digest::Sha256;
use crate::erofs::codec_versions;
use crate::failure::{self, Failure, Kind};
use crate::package;
use crate::profile::Loaded;
use crate::stamp::Stamp;

/// Where the lock of `loaded` is: beside the profile, or in the working directory for built-in ones.
#[must_use]
pub fn lock_path(loaded: &Loaded) -> PathBuf {
    let name = Lock::file_name(&loaded.stem, loaded.profile.arch);
    loaded
        .directory
        .as_deref()
        .unwrap_or_else(|| Path::new(""))
        .join(name)
}

/// Whether `lock` is for the profile as it is now, local files included.
///
/// # Errors
/// A local file that can't be read.
pub fn fits(loaded: &Loaded, lock: &Lock) -> Result<bool> {
    if lock.arch != loaded.profile.arch || !lock.matches(profile_hash(&loaded.profile)) {
        return Ok(false);
    }
    Ok(local_files(loaded)?
        .iter()
        .all(|(name, file)| lock.files.get(name) == Some(&file.sha256)))
}

/// The command that makes a lock fit again.
#[must_use]
pub fn lock_command(loaded: &Loaded) -> String {
    format!("hullwright lock {}", loaded.named())
}

/// The lock on disk if it fits the profile, or what a new one would be. None is written.
///
/// # Errors
/// As [`existing`] without `strict`, and [`fresh`].
pub fn lock(loaded: &Loaded, keyrings: &Keyrings, archive: &archive::Context) -> Result<Lock> {
    if let Some(lock) = existing(loaded, false)? {
        return Ok(lock);
    }
    Ok(fresh(loaded, keyrings, archive, &Upgrade::Nothing, None)?.lock)
}

/// The lock on disk if it fits the profile, or a new one, which is then on the disk; `strict` as in
/// [`existing`].
///
/// # Errors
/// As [`existing`] and [`fresh`]; a lock that can't be written.
pub fn lock_on_disk(
    loaded: &Loaded,
    keyrings: &Keyrings,
    archive: &archive::Context,
    strict: bool,
) -> Result<Lock> {
    if let Some(lock) = existing(loaded, strict)? {
        return Ok(lock);
    }
    let fresh = fresh(loaded, keyrings, archive, &Upgrade::Nothing, None)?;
    fresh.lock.save(&lock_path(loaded))?;
    Ok(fresh.lock)
}

/// The lock on disk if it fits the profile. Under `strict` (`--locked`) one that does not fit, or
/// none, is an error; a difference in codecs is a warning.
///
/// # Errors
/// A lock that can't be read; under `strict` as said.
pub fn existing(loaded: &Loaded, strict: bool) -> Result<Option<Lock>> {
    let path = lock_path(loaded);
    let Some(lock) = Lock::load(&path)? else {
        if strict {
            return Err(Failure::new(
                Kind::Usage,
                format!("--locked: there is no lock at {}", path.display()),
            )
            .hint(format!("make one: {}", lock_command(loaded)))
            .into());
        }
        return Ok(None);
    };
    if fits(loaded, &lock)? {
        for (codec, locked, ours) in lock.other_codecs(&codec_versions()) {
            tracing::warn!(
                "{} was made with {codec} {locked} and this is {ours}: bytes may differ",
                path.display()
            );
        }
        return Ok(Some(lock));
    }
    if strict {
        return Err(Failure::new(
            Kind::Usage,
            format!(
                "--locked: {} does not fit the profile any more",
                path.display()
            ),
        )
        .hint(format!("renew it: {}", lock_command(loaded)))
        .into());
    }
    Ok(None)
}

/// A local `.deb` with its stanza.
#[derive(Debug, Clone)]
pub struct LocalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its hash.
    pub sha256: Sha256,
    /// Its control fields as an index would have them.
    pub record: Record,
}

/// The local packages of a profile by the path that the profile writes.
///
/// # Errors
/// A file that is not there, not a package, or has another hash than the profile says.
pub fn local_files(loaded: &Loaded) -> Result<BTreeMap<String, LocalFile>> {
    let mut out = BTreeMap::new();
    for deb in loaded.local_debs()? {
        let name = deb.written.to_string_lossy().into_owned();
        let bytes =
            std::fs::read(&deb.path).with_context(|| format!("reading {}", deb.path.display()))?;
        let sha256 = Sha256::of(&bytes);
        if deb.sha256.is_some_and(|wanted| wanted != sha256) {
            return Err(Failure::new(
                Kind::Archive,
                format!(
                    "{}: SHA-256 is {sha256}, and {} wants another",
                    deb.path.display(),
                    deb.origin
                ),
            )
            .into());
        }
        let record = record(&bytes, &name, sha256, loaded.profile.arch).map_err(|error| {
            let kind = match failure::kind_of(&error) {
                // A file that is no package is the user's to mend.
                Kind::Bug => Kind::Archive,
                kind => kind,
            };
            Failure::new(kind, format!("reading {}: {error:#}", deb.path.display()))
                .hint(format!("{} names it", deb.origin))
        })?;
        out.insert(
            name,
            LocalFile {
                path: deb.path,
                sha256,
                record,
            },
        );
    }
    Ok(out)
}

/// The stanza that an index would have for a `.deb`.
fn record(deb: &[u8], name: &str, sha256: Sha256, arch: Arch) -> Result<Record> {
    let mut stanza = package::control_text(deb)?;
    while stanza.last() == Some(&b'\n') {
        stanza.pop();
    }
    // An index may only name what is below it; a profile may name a file anywhere.
    let place = format!("\nFilename: local\nSize: {}\nSHA256: {sha256}\n", deb.len());
    stanza.extend_from_slice(place.as_bytes());
    let records = archive::packages::parse(&stanza, arch.traits().debian)
        .map_err(|error| Failure::new(Kind::Archive, format!("its control file: {error}")))?;
    let record = records.into_iter().next().ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            format!("{name} is not a package for {arch} or for all architectures"),
        )
    })?;
    Ok(Record {
        filename: name.to_owned(),
        ..record
    })
}

/// A new lock with the resolution it came from.
#[derive(Debug)]
pub struct Fresh {
    /// The lock, not saved yet.
    pub lock: Lock,
    /// What it replaces.
    pub old: Option<Lock>,
    /// Why each package is there.
    pub resolution: Resolution,
}

/// Resolves `loaded` against its archives.
///
/// # Errors
/// Archives that can't be trusted or reached, packages that don't fit together.
pub fn fresh(
    loaded: &Loaded,
    keyrings: &Keyrings,
    context: &archive::Context,
    upgrade: &Upgrade,
    stamp: Option<Stamp>,
) -> Result<Fresh> {
    if context.offline {
        return Err(Failure::new(
            Kind::Archive,
            format!(
                "there is no lock that fits {}, and making one needs the network",
                loaded.reference
            ),
        )
        .hint(format!("run once with network: {}", lock_command(loaded)))
        .into());
    }
    let old = Lock::load(&lock_path(loaded))?;
    let suites = archive::refresh(&loaded.profile, keyrings, context, old.as_ref())?;
    let stage = context.progress.stage("resolve", None);
    let local = local_files(loaded)?;
    let records: Vec<Record> = local.values().map(|file| file.record.clone()).collect();
    let held = old
        .as_ref()
        .map(|old| old.held(upgrade))
        .transpose()?
        .unwrap_or_default();
    let resolution = solve::resolve_holding(&loaded.profile, &suites, &records, &held)?;
    let lock = Lock::make(Inputs {
        profile: &loaded.profile,
        suites: &suites,
        resolution: &resolution,
        codecs: codec_versions(),
        files: local
            .into_iter()
            .map(|(name, file)| (name, file.sha256))
            .collect(),
        ids: BTreeMap::new(),
        stamp,
        old: old.as_ref(),
    })?;
    drop(stage);
    Ok(Fresh {
        lock,
        old,
        resolution,
    })
}
