//! Reading files against their hashes.

use std::io::{self, Read};

use sha2::Digest as _;

use super::Check;
use crate::digest::Sha256;
use crate::release::index::File;
use crate::report::progress::Stage;

const BUFFER: usize = 1 << 20;

/// Hashes and counts what is read through it, and ends in an error instead of exceeding a size.
pub(super) struct Hashing<'a, R> {
    inner: R,
    hash: sha2::Sha256,
    count: u64,
    limit: u64,
    stage: &'a Stage,
}

impl<'a, R: Read> Hashing<'a, R> {
    pub(super) fn new(inner: R, limit: u64, stage: &'a Stage) -> Self {
        Self {
            inner,
            hash: sha2::Sha256::new(),
            count: 0,
            limit,
            stage,
        }
    }

    /// Reads what is left; how many bytes there were, and their hash.
    pub(super) fn finish(mut self) -> io::Result<(u64, Sha256)> {
        let mut buffer = vec![0; BUFFER];
        while self.read(&mut buffer)? > 0 {}
        Ok((self.count, Sha256(self.hash.finalize().into())))
    }
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        if self.count > self.limit {
            return Err(io::Error::other(format!(
                "it has more than {} bytes",
                self.limit
            )));
        }
        self.hash.update(buffer.get(..n).unwrap_or_default());
        self.stage.add(n as u64);
        Ok(n)
    }
}

/// Reads the file at `path` through `look`, which may stop early, and tells where it is not `file`.
/// What `look` returns is given only for a file that is.
pub(super) fn examine<T>(
    check: &Check<'_>,
    stage: &Stage,
    path: &str,
    file: &File,
    look: impl FnOnce(&mut dyn Read) -> T,
) -> Option<T> {
    let mut hashing = Hashing::new(check.open(path)?, file.size, stage);
    let seen = look(&mut hashing);
    let (size, sha256) = match hashing.finish() {
        Ok(found) => found,
        Err(error) => {
            check.find(path, error.to_string());
            return None;
        }
    };
    check.count(size);
    if size != file.size {
        let expected = file.size;
        check.find(
            path,
            format!("it has {size} bytes, and {expected} are signed"),
        );
        return None;
    }
    if sha256 != file.sha256 {
        let expected = file.sha256;
        check.find(
            path,
            format!("its SHA-256 is {sha256}, and {expected} is signed"),
        );
        return None;
    }
    Some(seen)
}

/// Reads a whole file into memory; `limit` is more than any sane one of its kind has.
pub(super) fn load(
    check: &Check<'_>,
    stage: &Stage,
    path: &str,
    file: &File,
    limit: u64,
) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = examine(check, stage, path, file, |reader| {
        reader.take(limit).read_to_end(&mut bytes).map(|_| ())
    })?;
    // What can't be read is told by `examine`.
    read.ok()?;
    if bytes.len() as u64 != file.size {
        check.find(
            path,
            format!("it has {} bytes, more than any of its kind", file.size),
        );
        return None;
    }
    Some(bytes)
}
