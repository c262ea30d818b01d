//! From the bytes of a `.deb` to a [`PackageObject`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::ar::{self, ArError, Tarball};
use super::control::{self, ControlError};
use super::decompress;
use super::limits::{LIMITS, Limits, STREAM_FROM};
use super::object::{Entry, EntryKind, PackageObject};
use super::tarball::{self, Data, Member, MemberKind, Stop, TarError};
use crate::digest::Sha256;
use crate::erofs::{Blob, CodecSettings};
use crate::failure::{Failure, Kind};
use crate::resolve::lock::LockedPackage;
use crate::tree::TreePath;

/// What is wrong with a `.deb`.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// The container.
    #[error(transparent)]
    Ar(#[from] ArError),
    /// One of the two archives.
    #[error("{part}: {source}")]
    Tar {
        /// `control.tar` or `data.tar`.
        part: &'static str,
        /// What is wrong with it.
        source: TarError,
    },
    /// What the control archive says.
    #[error("control.tar: {0}")]
    Control(#[from] ControlError),
    /// The file is larger than a package may be.
    #[error("{size} bytes are more than the {limit} allowed")]
    TooLarge {
        /// Size of the file.
        size: u64,
        /// Allowed.
        limit: u64,
    },
    /// A decoder that can't be set up.
    #[error("{part}: {source}")]
    Decoder {
        /// `control.tar` or `data.tar`.
        part: &'static str,
        /// Cause.
        source: std::io::Error,
    },
}

/// A package that was there when it was looked for, and no longer is: another process made room in
/// the cache. It can be fetched again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} of {name} is gone", path.display())]
pub struct Vanished {
    /// Where it was.
    pub path: PathBuf,
    /// The package.
    pub name: String,
}

impl Vanished {
    /// `error`, or what it means for the file of a package.
    pub(super) fn or(error: std::io::Error, path: &Path, id: &DebId) -> anyhow::Error {
        if error.kind() == std::io::ErrorKind::NotFound {
            let (path, name) = (path.to_owned(), id.name.clone());
            return Self { path, name }.into();
        }
        let context = format!("reading {} of {}", path.display(), id.name);
        anyhow::Error::new(error).context(context)
    }
}

/// Which package a `.deb` is expected to be; from the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebId {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian architecture, `all` included.
    pub architecture: String,
    /// SHA-256 of the file, which the caller has verified.
    pub sha256: Sha256,
}

impl From<&LockedPackage> for DebId {
    fn from(package: &LockedPackage) -> Self {
        Self {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            sha256: package.sha256,
        }
    }
}

pub(super) fn open(
    file: &Arc<Vec<u8>>,
    tarball: (decompress::Codec, usize, usize),
    part: &'static str,
    limit: u64,
) -> Result<Box<dyn Read>, DebError> {
    let (codec, offset, len) = tarball;
    decompress::open(codec, file, offset..offset.saturating_add(len), limit)
        .map_err(|source| DebError::Decoder { part, source })
}

pub(super) const fn place(tarball: &Tarball<'_>) -> (decompress::Codec, usize, usize) {
    (tarball.codec, tarball.offset, tarball.data.len())
}

/// Compiles the bytes of a `.deb`, whose SHA-256 is `sha256`, within `limits`.
///
/// # Errors
/// See [`DebError`].
pub fn parse_within(
    file: Vec<u8>,
    sha256: Sha256,
    settings: &CodecSettings,
    limits: &Limits,
) -> Result<PackageObject, DebError> {
    if file.len() as u64 > limits.deb {
        return Err(DebError::TooLarge {
            size: file.len() as u64,
            limit: limits.deb,
        });
    }
    let (control_at, data_at) = {
        let deb = ar::parse(&file)?;
        (place(&deb.control), place(&deb.data))
    };
    let file = Arc::new(file);
    let reader = open(&file, control_at, "control.tar", limits.control_tar)?;
    let control = read_control(reader, limits)?;
    let reader = open(&file, data_at, "data.tar", limits.data_tar)?;
    // The readers hold the file from here on, so that it goes as soon as the last one is done.
    drop(file);
    let entries = read_data(reader, settings, limits).map_err(|source| DebError::Tar {
        part: "data.tar",
        source,
    })?;
    Ok(PackageObject {
        deb: sha256,
        control,
        entries,
    })
}

/// Compiles the bytes of a `.deb`, whose SHA-256 is `sha256`.
///
/// # Errors
/// See [`DebError`].
pub fn parse(
    file: Vec<u8>,
    sha256: Sha256,
    settings: &CodecSettings,
) -> Result<PackageObject, DebError> {
    parse_within(file, sha256, settings, &LIMITS)
}

/// The entry point of fuzzers: any bytes give a package or an error, within small limits.
pub fn fuzz_parse(bytes: &[u8]) {
    let settings = CodecSettings {
        codec: crate::erofs::Codec::None,
        level: 0,
        chunk: 4096,
        tails: crate::erofs::Tails::Own,
    };
    let limits = Limits {
        deb: 1 << 24,
        control_tar: 1 << 20,
        data_tar: 1 << 24,
        file: 1 << 22,
        control_file: 1 << 16,
        header: 1 << 16,
        entries: 10_000,
    };
    let _ = parse_within(bytes.to_vec(), Sha256([0; 32]), &settings, &limits);
}

/// The `control` member of a `.deb`, as it stands: the stanza that an index would have.
///
/// # Errors
/// See [`DebError`].
pub fn control_text(file: &[u8]) -> Result<Vec<u8>, DebError> {
    let deb = ar::parse(file)?;
    let place = place(&deb.control);
    let reader = open(
        &Arc::new(file.to_vec()),
        place,
        "control.tar",
        LIMITS.control_tar,
    )?;
    Ok(read_control_members(reader, &LIMITS)?.0)
}

fn read_control(
    reader: Box<dyn Read>,
    limits: &Limits,
) -> Result<super::object::Control, DebError> {
    let (control, conffiles) = read_control_members(reader, limits)?;
    Ok(control::parse(&control, &conffiles)?)
}

/// The members `control` and, empty if absent, `conffiles`.
fn read_control_members(
    reader: Box<dyn Read>,
    limits: &Limits,
) -> Result<(Vec<u8>, Vec<u8>), DebError> {
    let mut control = None;
    let mut conffiles = None;
    tarball::walk(reader, limits, |member, data| {
        let slot = match member.path.as_bytes() {
            b"control" => &mut control,
            b"conffiles" => &mut conffiles,
            _ => return Ok(()),
        };
        let MemberKind::File(size) = member.kind else {
            return Err(Stop::Refused("must be a regular file".into()));
        };
        if size > limits.control_file {
            return Err(Stop::Refused(format!(
                "{size} bytes are more than the {} allowed",
                limits.control_file
            )));
        }
        if slot.replace(data.read()?).is_some() {
            return Err(Stop::Refused("stands in the archive twice".into()));
        }
        Ok(())
    })
    .map_err(|source| DebError::Tar {
        part: "control.tar",
        source,
    })?;
    let control = control.ok_or(ControlError::Missing)?;
    Ok((control, conffiles.unwrap_or_default()))
}

/// The members so far: for a regular file, the path that its inode was first shipped under.
type Seen = BTreeMap<TreePath, Option<TreePath>>;

fn read_data(
    reader: Box<dyn Read>,
    settings: &CodecSettings,
    limits: &Limits,
) -> Result<Vec<Entry>, TarError> {
    let mut seen = Seen::new();
    let mut entries = Vec::new();
    tarball::walk(reader, limits, |member, data| {
        entries.push(entry(member, data, settings, &mut seen)?);
        Ok(())
    })?;
    Ok(entries)
}

fn entry(
    member: Member,
    data: &mut Data<'_>,
    settings: &CodecSettings,
    seen: &mut Seen,
) -> Result<Entry, Stop> {
    let Member { path, meta, kind } = member;
    if seen.contains_key(&path) {
        return Err(Stop::Refused("stands in the archive twice".into()));
    }
    let mut inode = None;
    let kind = match kind {
        MemberKind::Dir => EntryKind::Dir,
        MemberKind::File(size) => {
            inode = Some(path.clone());
            EntryKind::File(Arc::new(compile_content(data, size, settings)?))
        }
        MemberKind::HardLink(target) => match seen.get(&target) {
            Some(Some(first)) => {
                inode = Some(first.clone());
                EntryKind::HardLink(first.clone())
            }
            Some(None) => {
                return Err(Stop::Refused(format!(
                    "is a hard link to {target}, which is not a regular file"
                )));
            }
            None => {
                return Err(Stop::Refused(format!(
                    "is a hard link to {target}, which does not stand before it in the archive"
                )));
            }
        },
        MemberKind::Symlink(target) => EntryKind::Symlink(target),
        MemberKind::CharDevice(major, minor) => EntryKind::CharDevice { major, minor },
        MemberKind::BlockDevice(major, minor) => EntryKind::BlockDevice { major, minor },
        MemberKind::Fifo => EntryKind::Fifo,
    };
    seen.insert(path.clone(), inode);
    Ok(Entry { path, meta, kind })
}

/// Small files are compiled from memory; large ones stream through a few chunks at a time.
fn compile_content(data: &mut Data<'_>, size: u64, settings: &CodecSettings) -> Result<Blob, Stop> {
    if size <= STREAM_FROM {
        return Ok(Blob::compile(&data.read()?, settings));
    }
    Blob::compile_reader(data, size, settings).map_err(|error| data.stop(&error))
}

/// Compiles the `.deb` at `path`. See [`compile_open`].
///
/// # Errors
/// [`Vanished`], and those of [`compile_open`].
pub fn compile(path: &Path, id: &DebId, settings: &CodecSettings) -> anyhow::Result<PackageObject> {
    let file = File::open(path).map_err(|error| Vanished::or(error, path, id))?;
    compile_open(file, path, id, settings)
}

/// Compiles the `.deb` that `file` reads, and whose name is or was `path`.
///
/// The file must have the SHA-256 in `id`: downloads are verified while they stream in, but disks
/// and people can change a cache since.
///
/// # Errors
/// A file that can't be read, and every [`DebError`] as a [`Failure`] of [`Kind::Archive`] that
/// names the package and the member.
pub fn compile_open(
    file: File,
    path: &Path,
    id: &DebId,
    settings: &CodecSettings,
) -> anyhow::Result<PackageObject> {
    let file =
        read_open(file).with_context(|| format!("reading {} of {}", path.display(), id.name))?;
    let failure = |message: String| {
        let context = format!("{} {} ({})", id.name, id.version, path.display());
        Failure::new(Kind::Archive, format!("package {context}: {message}"))
    };
    let found = Sha256::of(&file);
    if found != id.sha256 {
        return Err(failure(format!(
            "its SHA-256 is {found}, and {} is wanted: it has changed since it was verified",
            id.sha256
        ))
        .hint("delete that file; the next run gets it again")
        .into());
    }
    let object = parse(file, id.sha256, settings).map_err(|error| {
        failure(error.to_string()).hint(
            "it is the very file that was locked, so it was made like this: take another version, \
             or leave the package out",
        )
    })?;
    check_control(&object, id)?;
    Ok(object)
}

/// Refuses a package that says it is another than the lock does.
pub(super) fn check_control(object: &PackageObject, id: &DebId) -> anyhow::Result<()> {
    let control = &object.control;
    for (field, found, wanted) in [
        ("Package", &control.name, &id.name),
        ("Version", &control.version, &id.version),
        ("Architecture", &control.architecture, &id.architecture),
    ] {
        if found != wanted {
            return Err(Failure::new(
                Kind::Archive,
                format!(
                    "package {} {} ({}): its control file says `{field}: {found}`, but the lock \
                     says `{wanted}`",
                    id.name, id.version, id.sha256
                ),
            )
            .hint("renew the lock with `hullwright lock`")
            .into());
        }
    }
    Ok(())
}

pub(super) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_open(File::open(path)?)
}

fn read_open(mut file: File) -> anyhow::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if size > LIMITS.deb {
        let limit = LIMITS.deb;
        let error = DebError::TooLarge { size, limit };
        return Err(Failure::new(Kind::Archive, error.to_string()).into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size)?);
    file.by_ref().take(LIMITS.deb).read_to_end(&mut bytes)?;
    Ok(bytes)
}
