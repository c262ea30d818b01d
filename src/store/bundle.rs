//! A cache in one file, for machines that begin with none: a tar archive, compressed with zstd.
//!
//! Its first member, `hullwright-cache`, holds the version of the form; the others are files of the
//! cache under their paths in it. Everything is verified before it gets its name. That proves that a
//! bundle is whole, not that an object is what its package compiles to: whoever makes a bundle is
//! trusted as whoever can write to the cache.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::check::{State, check, check_object};
use super::object::format::KIND_MAX;
use super::{Amount, Store, environment, hash_file};
use crate::failure::{Failure, Kind};

/// First member of a bundle.
const MARK: &str = "hullwright-cache";
/// Version of the form.
const VERSION: &[u8] = b"1\n";
/// Objects are compressed already; this finds what little is left, at the speed of a disk.
const LEVEL: i32 = 1;
/// Longest member: what a package may unpack to.
const LARGEST: u64 = 8 << 30;

/// What an import has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Files that are new.
    pub new: Amount,
    /// Files that were there already.
    pub known: u64,
}

impl Store {
    /// Writes objects, results and the downloads that are no packages, which builds from objects do
    /// not need, to a bundle at `to`; all downloads with `packages`.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn export(&self, to: &Path, packages: bool) -> Result<Amount> {
        let mut name = to.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        let failed = |error: &io::Error| {
            environment("writing", &partial, error).hint("choose another place for the bundle")
        };
        let file = File::create(&partial).map_err(|error| failed(&error))?;
        let result = self.write_bundle(file, packages).and_then(|amount| {
            std::fs::rename(&partial, to).map_err(|error| failed(&error))?;
            Ok(amount)
        });
        if result.is_err() {
            let _ = std::fs::remove_file(&partial);
        }
        result
    }

    fn write_bundle(&self, file: File, packages: bool) -> Result<Amount> {
        let file = io::BufWriter::with_capacity(1 << 20, file);
        let mut out = tar::Builder::new(zstd::Encoder::new(file, LEVEL)?);
        append(&mut out, MARK, VERSION.len() as u64, VERSION)?;
        let mut amount = Amount::default();
        for item in self.items()? {
            if !matches!(item.folder, "downloads" | "objects" | "derived") {
                continue;
            }
            let mut file = match File::open(&item.path) {
                Ok(file) => file,
                // Evicted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(environment("reading", &item.path, &error).into()),
            };
            if item.folder == "downloads" && !packages && is_package(&file) {
                continue;
            }
            match check(&item)? {
                State::Good => {}
                State::Other => continue,
                State::Damaged(problem) => {
                    let path = item.path.display();
                    tracing::warn!("{path} is left out, since it is damaged: {problem}");
                    continue;
                }
            }
            let name = item.path.strip_prefix(self.root()).unwrap_or(&item.path);
            let len = file.metadata()?.len();
            append(&mut out, &name.to_string_lossy(), len, &mut file)
                .with_context(|| format!("writing {} to the bundle", item.path.display()))?;
            amount.files += 1;
            amount.bytes += len;
        }
        out.into_inner()?.finish()?.flush()?;
        Ok(amount)
    }

    /// Takes what a bundle holds.
    ///
    /// # Errors
    /// The file is no whole bundle; what came before the damage stays. A file cannot be written.
    pub fn import(&self, from: &Path) -> Result<Imported> {
        let file = File::open(from).map_err(|error| {
            Failure::new(Kind::Usage, format!("reading {}: {error}", from.display()))
        })?;
        let damaged = |what: &dyn std::fmt::Display| {
            Failure::new(
                Kind::Archive,
                format!("{} is no whole bundle: {what}", from.display()),
            )
            .hint("`hullwright cache export FILE` makes one")
        };
        let mut reader = zstd::Decoder::new(file).map_err(|error| damaged(&error))?;
        // The window of every level, and what a hostile frame may ask for.
        reader.window_log_max(27)?;
        let mut archive = tar::Archive::new(reader);
        let mut imported = Imported::default();
        let mut marked = false;
        for entry in archive.entries().map_err(|error| damaged(&error))? {
            let mut entry = entry.map_err(|error| damaged(&error))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if !marked {
                let mut version = Vec::new();
                let mut head = entry.by_ref().take(64);
                head.read_to_end(&mut version)
                    .map_err(|error| damaged(&error))?;
                if name != MARK || version != VERSION {
                    return Err(damaged(&format!("it does not begin with `{MARK}` 1")).into());
                }
                marked = true;
                continue;
            }
            let Some(member) = Member::parse(&name) else {
                return Err(damaged(&format!("`{name}` is no file of a cache")).into());
            };
            if !entry.header().entry_type().is_file() || entry.size() > LARGEST {
                return Err(damaged(&format!("`{name}` is no file that a cache can have")).into());
            }
            let to = self.root().join(&name);
            if to.exists() {
                imported.known += 1;
                continue;
            }
            let size = entry.size();
            let temp = self.temp()?;
            copy(&mut entry, temp.file()).map_err(|error| error.failure(temp.path(), &damaged))?;
            if let Err(problem) = member.check(temp.path()) {
                return Err(damaged(&format!("`{name}`: {problem}")).into());
            }
            self.wrote(temp.file());
            match member {
                Member::Download(_) => temp.persist(&to)?,
                // One sync below is cheaper than one for each.
                Member::Object(_) => temp.rename(&to)?,
            }
            imported.new.files += 1;
            imported.new.bytes += size;
        }
        if !marked {
            return Err(damaged(&"it is empty").into());
        }
        let root = File::open(self.root())?;
        rustix::fs::syncfs(&root)
            .map_err(|error| environment("syncing", self.root(), &error.into()))?;
        Ok(imported)
    }
}

fn append(
    out: &mut tar::Builder<zstd::Encoder<'static, io::BufWriter<File>>>,
    name: &str,
    len: u64,
    data: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(len);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    out.append_data(&mut header, name, data)
}

/// Whether a download is a Debian package, which begins as every ar archive does.
fn is_package(file: &File) -> bool {
    let mut magic = [0; 8];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut magic, 0).is_ok()
        && magic == *crate::package::ar::MAGIC
}

/// A file of a cache by its name in a bundle.
enum Member<'a> {
    Download(&'a str),
    Object(&'a str),
}

impl<'a> Member<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let mut parts = path.split('/');
        let (folder, shard, name) = (parts.next()?, parts.next()?, parts.next()?);
        let (hex, kind) = match name.split_once('.') {
            Some((hex, kind)) => (hex, Some(kind)),
            None => (name, None),
        };
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if parts.next().is_some()
            || hex.len() != 64
            || !hex.bytes().all(lower)
            || hex.get(..2) != Some(shard)
        {
            return None;
        }
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        match (folder, kind) {
            ("downloads", None) => Some(Self::Download(name)),
            ("objects", None) => Some(Self::Object(name)),
            ("derived", Some(kind))
                if (1..=KIND_MAX).contains(&kind.len()) && kind.bytes().all(word) =>
            {
                Some(Self::Object(name))
            }
            _ => None,
        }
    }

    fn check(&self, path: &Path) -> Result<(), String> {
        let readable = |error: io::Error| error.to_string();
        match self {
            Self::Download(name) => {
                let found = hash_file(path).map_err(readable)?.to_string();
                if found == *name {
                    return Ok(());
                }
                Err(format!("its SHA-256 is {found}"))
            }
            Self::Object(name) => check_object(File::open(path).map_err(readable)?, path, name),
        }
    }
}

/// Which side of a copy has failed.
enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

impl CopyError {
    fn failure(&self, to: &Path, damaged: &dyn Fn(&dyn std::fmt::Display) -> Failure) -> Failure {
        match self {
            Self::Read(error) => damaged(error),
            Self::Write(error) => environment("writing", to, error),
        }
    }
}

fn copy(from: &mut impl Read, mut to: &File) -> Result<(), CopyError> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = from.read(&mut buffer).map_err(CopyError::Read)?;
        if n == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..n).unwrap_or_default())
            .map_err(CopyError::Write)?;
    }
}
