//! Objects in the cache: found by kind and key, kept under them.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, PoisonError};

use anyhow::Result;

use super::object::format::{KIND_MAX, VERSION};
use super::object::{self, DamagedObject, NewData, ObjectFile};
use super::{Store, age, environment};
use crate::erofs::codec_versions;

/// The kind of compiled packages, which have a folder of their own.
pub const PACKAGE: &str = "package";

/// A key from what an object depends on. Lengths are hashed along, so that different lists never
/// give the same bytes.
#[must_use]
pub fn key_of(parts: &[&[u8]]) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
}

/// What objects depend on whatever they are: other codecs, and other releases of the program, may make
/// other bytes of the same.
static MAKER: LazyLock<blake3::Hash> = LazyLock::new(|| {
    let codecs: Vec<String> = codec_versions()
        .into_iter()
        .map(|(codec, version)| format!("{codec} {version}"))
        .collect();
    key_of(&[
        &VERSION.to_le_bytes(),
        env!("CARGO_PKG_VERSION").as_bytes(),
        codecs.join("\n").as_bytes(),
    ])
});

/// When objects are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    /// Before they get their name, and in the background.
    First,
    /// Whenever the kernel likes. What a crash makes of them is found to be damaged.
    Later,
}

impl Store {
    /// File name and key of an object: what another program makes has another.
    fn name(kind: &str, key: &blake3::Hash) -> blake3::Hash {
        key_of(&[MAKER.as_bytes(), kind.as_bytes(), key.as_bytes()])
    }

    /// Where the object of `kind` under `key` is or will be.
    #[must_use]
    pub fn object_path(&self, kind: &str, key: &blake3::Hash) -> PathBuf {
        let name = Self::name(kind, key).to_hex();
        let shard = name.get(..2).unwrap_or_default();
        if kind == PACKAGE {
            return self.folder("objects").join(shard).join(name.as_str());
        }
        let file = format!("{name}.{kind}");
        self.folder("derived").join(shard).join(file)
    }

    /// The object of `kind` under `key`, which is of `what` (for people), with its head. One that is
    /// damaged is removed, and missing then.
    ///
    /// # Errors
    /// The machine refuses to open the file.
    pub fn object(
        &self,
        kind: &str,
        key: &blake3::Hash,
        what: &str,
    ) -> Result<Option<(Arc<ObjectFile>, Vec<u8>)>> {
        let path = self.object_path(kind, key);
        let file = match self.inner.keeper.pending(&path) {
            Some(file) => file,
            None => match File::open(&path) {
                Ok(file) => {
                    age::touch(&file);
                    Arc::new(file)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(environment("opening", &path, &error).into()),
            },
        };
        let name = Self::name(kind, key);
        let found = ObjectFile::open(file, &path, what, (kind, &name), &self.inner.damage)
            .and_then(|(object, head)| {
                if self.inner.distrust.load(Ordering::Relaxed) {
                    object.check()?;
                }
                Ok((object, head))
            });
        match found {
            Ok(found) => Ok(Some(found)),
            Err(damaged) => {
                self.discard(&damaged);
                Ok(None)
            }
        }
    }

    /// Writes an object of `kind` under `key`, which is of `what` (for people). It can be read at
    /// once.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_object(
        &self,
        kind: &str,
        key: &blake3::Hash,
        what: &str,
        head: &[u8],
        data: &NewData<'_>,
    ) -> Result<Arc<ObjectFile>> {
        self.write_object((kind, key, what), head, data, Sync::First)
    }

    pub(super) fn write_object(
        &self,
        (kind, key, what): (&str, &blake3::Hash, &str),
        head: &[u8],
        data: &NewData<'_>,
        sync: Sync,
    ) -> Result<Arc<ObjectFile>> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        anyhow::ensure!(
            (1..=KIND_MAX).contains(&kind.len()) && kind.bytes().all(plain),
            "`{kind}` can't be the kind of an object: it takes 1 to {KIND_MAX} of a-z, 0-9 and -"
        );
        let path = self.object_path(kind, key);
        let temp = self.temp()?;
        let name = Self::name(kind, key);
        let wrong = |error| environment("writing", temp.path(), &error);
        object::write(temp.file(), kind, &name, head, data).map_err(wrong)?;
        let file = Arc::clone(temp.file());
        let (object, _) = ObjectFile::open(
            Arc::clone(&file),
            &path,
            what,
            (kind, &name),
            &self.inner.damage,
        )?;
        self.wrote(&file);
        match sync {
            Sync::First => self.inner.keeper.give(temp, path, file),
            Sync::Later => temp.rename(&path)?,
        }
        Ok(object)
    }

    fn discard(&self, damaged: &DamagedObject) {
        tracing::warn!("{damaged}; it was removed, and is made again");
        match fs::remove_file(&damaged.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("{}", environment("removing", &damaged.path, &error));
            }
            _ => {}
        }
    }

    /// Removes the objects that readers found to be damaged, and returns how many those are. From
    /// then on, this store reads objects whole before it hands them out: where one is damaged, more
    /// are likely to be, and each costs another try.
    pub fn discard_damaged(&self) -> usize {
        let found = std::mem::take(
            &mut *self
                .inner
                .damage
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut last = None;
        for damaged in &found {
            if last.replace(&damaged.path) != Some(&damaged.path) {
                self.discard(damaged);
            }
        }
        if !found.is_empty() {
            self.inner.distrust.store(true, Ordering::Relaxed);
        }
        found.len()
    }

    /// Waits until every object that was kept is on the disk, under its name.
    pub fn settle(&self) {
        self.inner.keeper.settle();
    }
}
