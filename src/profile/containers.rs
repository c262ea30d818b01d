//! The archives of `containers`: where they are, and whether they are what the profile says.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use sha2::Digest as _;

use super::files::{missing, resolve};
use super::load::Loaded;
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};

/// An archive of `containers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFile {
    /// As the profile writes it.
    pub written: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it must hash to.
    pub sha256: Sha256,
    /// `FILE:LINE` that names it.
    pub origin: String,
}

impl Loaded {
    /// The archives of `containers`, in order. They are not opened.
    ///
    /// # Errors
    /// A file that is not there.
    pub fn container_files(&self) -> Result<Vec<ContainerFile>> {
        let mut out = Vec::new();
        let nodes = self.list(&["containers"]);
        for (container, node) in self.profile.containers.iter().zip(nodes) {
            let place = node.get("archive").unwrap_or(node);
            let written = container.archive.to_string_lossy().into_owned();
            let path = resolve(place, &written)?;
            if !path.is_file() {
                return Err(missing(place, &path, "file"));
            }
            out.push(ContainerFile {
                written,
                path,
                sha256: container.sha256,
                origin: place.origin.short(),
            });
        }
        Ok(out)
    }
}

impl ContainerFile {
    /// Hands a reader of the file and its length to `take`, and refuses its result where what was read
    /// is not what the profile says. What `take` leaves is read after it.
    ///
    /// # Errors
    /// The file can't be read or has another hash; whatever `take` fails with.
    pub fn read<T>(&self, take: impl FnOnce(&mut dyn Read, u64) -> Result<T>) -> Result<T> {
        let reading = || format!("reading {}", self.path.display());
        let file = File::open(&self.path).with_context(reading)?;
        let size = file.metadata().with_context(reading)?.len();
        let mut hashing = Hashing {
            inner: file,
            hash: sha2::Sha256::new(),
        };
        let result = take(&mut hashing, size).with_context(reading)?;
        io::copy(&mut hashing, &mut io::sink()).with_context(reading)?;
        let found = Sha256(hashing.hash.finalize().into());
        if found == self.sha256 {
            return Ok(result);
        }
        Err(Failure::new(
            Kind::Usage,
            format!(
                "{} has the SHA-256 {found}; {} says {}",
                self.path.display(),
                self.origin,
                self.sha256
            ),
        )
        .hint(format!(
            "put back the archive that was meant, or write `sha256: {found}` if this is the one"
        ))
        .into())
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn check(&self) -> Result<()> {
        self.read(|_, _| Ok(()))
    }
}

/// A reader that hashes what passes.
struct Hashing<R> {
    inner: R,
    hash: sha2::Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(bytes)?;
        self.hash.update(bytes.get(..len).unwrap_or_default());
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &tempfile::TempDir, bytes: &[u8], sha256: Sha256) -> ContainerFile {
        let path = dir.path().join("app.tar");
        std::fs::write(&path, bytes).unwrap();
        ContainerFile {
            written: "app.tar".into(),
            path,
            sha256,
            origin: "host.yaml:7".into(),
        }
    }

    #[test]
    fn an_archive_is_what_the_profile_says_however_much_of_it_was_taken() {
        let dir = tempfile::tempdir().unwrap();
        let good = file(&dir, b"an image", Sha256::of(b"an image"));
        good.check().unwrap();
        let all = good.read(|reader, size| {
            let mut bytes = vec![0; size as usize];
            reader.read_exact(&mut bytes)?;
            Ok(bytes)
        });
        assert_eq!(all.unwrap(), b"an image");
    }

    #[test]
    fn another_archive_is_refused_with_the_line_and_both_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let bad = file(&dir, b"an image", Sha256::of(b"another"));
        let message = format!("{:#}", bad.check().unwrap_err());
        for part in [
            "host.yaml:7".to_owned(),
            Sha256::of(b"an image").to_string(),
            Sha256::of(b"another").to_string(),
        ] {
            assert!(message.contains(&part), "{part} in {message}");
        }
    }
}
