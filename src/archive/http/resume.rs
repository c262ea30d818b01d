//! Content of known hash: into a partial file that outlives the process, then into the store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rustix::fs::{FlockOperation, flock};
use sha2::Digest as _;

use super::response::{oversize, transfer};
use super::{Attempt, BUFFER, FetchError, Fetcher, Wanted};
use crate::digest::Sha256;
use crate::failure::{Failure, Kind, kind_of};
use crate::report::progress::Stage;
use crate::store::environment;

impl Fetcher {
    /// Content of known hash, into the store.
    ///
    /// # Errors
    /// [`FetchError`]; wrong content is fetched once more before it is an error.
    pub fn download(
        &self,
        wanted: &Wanted<'_>,
        stage: Option<&Stage>,
    ) -> Result<PathBuf, FetchError> {
        let partial = self.store.folder("partial").join(wanted.sha256.to_string());
        let Some(file) = self.claim(&partial, wanted)? else {
            // Another thread or process has finished it meanwhile.
            let path = self.store.download(&wanted.sha256);
            return path.ok_or_else(|| {
                FetchError::Failed(anyhow::anyhow!("{} vanished from the cache", wanted.sha256))
            });
        };
        let mut wrong = None;
        for _ in 0..2 {
            let result = self.transport.retrying(wanted.url, wanted.what, |number| {
                self.transfer(wanted, &file, &partial, stage, number == 0)
            });
            match result {
                Ok(found) if found == wanted.sha256 => {
                    let path = self.store.adopt(&file, &partial, &wanted.sha256)?;
                    let _ = fs::remove_file(sidecar(&partial));
                    return Ok(path);
                }
                Ok(found) => {
                    tracing::debug!("{} has wrong content ({found})", wanted.url);
                    wrong = Some(found);
                    discard(&file, &partial)?;
                }
                Err(error) => {
                    // A cut download is worth keeping, unless there is nothing of it or no space.
                    let full = matches!(&error, FetchError::Failed(e)
                        if kind_of(e) == Kind::Environment);
                    if full || file.metadata().is_ok_and(|data| data.len() == 0) {
                        let _ = fs::remove_file(sidecar(&partial));
                        let _ = fs::remove_file(&partial);
                    }
                    return Err(error);
                }
            }
        }
        let _ = fs::remove_file(&partial);
        let found = wrong.map(|sha256| sha256.to_string()).unwrap_or_default();
        Err(FetchError::Failed(
            Failure::new(
                Kind::Archive,
                format!(
                    "{} from {} has the wrong content: expected SHA-256 {}, found {found}",
                    wanted.what, wanted.url, wanted.sha256
                ),
            )
            .hint("it was fetched twice and discarded; use another mirror (--mirror URL)")
            .into(),
        ))
    }

    /// Opens the partial file and locks it against other downloads of the same content; `None` when
    /// the content has arrived while waiting.
    fn claim(&self, partial: &Path, wanted: &Wanted<'_>) -> Result<Option<File>> {
        let failed = |e: io::Error| environment("opening", partial, &e);
        loop {
            if self
                .store
                .download_sized(&wanted.sha256, wanted.size)
                .is_some()
            {
                return Ok(None);
            }
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(partial)
                .map_err(failed)?;
            while let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
                if e != rustix::io::Errno::WOULDBLOCK {
                    return Err(failed(e.into()).into());
                }
                self.check_cancel()?;
                std::thread::sleep(Duration::from_millis(50));
            }
            // The former holder may have renamed or removed the file that was opened.
            let same = match (rustix::fs::fstat(&file), rustix::fs::stat(partial)) {
                (Ok(ours), Ok(named)) => (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino),
                _ => false,
            };
            if same {
                return Ok(Some(file));
            }
        }
    }

    /// One attempt to complete the partial file; the hash of what is there then.
    fn transfer(
        &self,
        wanted: &Wanted<'_>,
        mut file: &File,
        partial: &Path,
        stage: Option<&Stage>,
        first: bool,
    ) -> Result<Sha256, Attempt> {
        let io_failed = |doing| move |e: io::Error| environment(doing, partial, &e);
        let mut have = file.metadata().map_err(io_failed("reading"))?.len();
        if have > wanted.size {
            discard(file, partial)?;
            have = 0;
        }
        let mut hash = sha2::Sha256::new();
        if have < wanted.size || wanted.size == 0 {
            let validator = fs::read_to_string(sidecar(partial)).ok();
            let resume = validator
                .as_deref()
                .and_then(|text| text.split_once('\n'))
                .filter(|(url, _)| have > 0 && *url == wanted.url)
                .map(|(_, validator)| validator);
            let from = if resume.is_some() { have } else { 0 };
            let mut body = self.transport.open(wanted.url, from, resume)?;
            if body.offset != have {
                discard(file, partial)?;
                have = 0;
                if body.offset != 0 {
                    return Err(Attempt::Transient(
                        "the server answered with another range".into(),
                    ));
                }
            }
            if let Some(length) = body.length
                && length > wanted.size - have
            {
                return Err(
                    oversize(wanted.what, wanted.url, wanted.size, Some(have + length)).into(),
                );
            }
            if have == 0 {
                let text = format!("{}\n{}", wanted.url, body.validator);
                fs::write(sidecar(partial), text).map_err(io_failed("writing beside"))?;
            } else {
                rehash(file, &mut hash).map_err(io_failed("reading"))?;
            }
            file.seek(SeekFrom::Start(have))
                .map_err(io_failed("seeking in"))?;
            if let Some(stage) = stage.filter(|_| first) {
                stage.add(have);
            }
            let mut buffer = vec![0; BUFFER];
            loop {
                self.check_cancel()?;
                let n = body.reader.read(&mut buffer).map_err(transfer)?;
                if n == 0 {
                    break;
                }
                let bytes = buffer.get(..n).unwrap_or_default();
                have += n as u64;
                if have > wanted.size {
                    discard(file, partial)?;
                    return Err(oversize(wanted.what, wanted.url, wanted.size, None).into());
                }
                write_chunk(&mut file, bytes, partial)?;
                hash.update(bytes);
                if let Some(stage) = stage {
                    stage.add(n as u64);
                }
            }
            if body.cut(have) {
                return Err(Attempt::Transient("the connection was cut".into()));
            }
        } else {
            rehash(file, &mut hash).map_err(io_failed("reading"))?;
        }
        Ok(Sha256(hash.finalize().into()))
    }
}

fn write_chunk(file: &mut impl Write, bytes: &[u8], path: &Path) -> Result<()> {
    file.write_all(bytes)
        .map_err(|e| environment("writing", path, &e).into())
}

fn rehash(mut file: &File, hash: &mut sha2::Sha256) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// Beside a partial file: the URL it comes from and the validator for If-Range.
fn sidecar(partial: &Path) -> PathBuf {
    partial.with_extension("from")
}

/// Empties a partial file; its lock stays.
fn discard(file: &File, partial: &Path) -> Result<()> {
    let _ = fs::remove_file(sidecar(partial));
    file.set_len(0)
        .map_err(|e| environment("emptying", partial, &e).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_while_downloading_names_the_file() {
        let path = Path::new("/dev/full");
        let mut full = OpenOptions::new().write(true).open(path).unwrap();
        let error = write_chunk(&mut full, b"bytes", path).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Environment);
        assert!(
            error
                .to_string()
                .starts_with("writing /dev/full: No space left")
        );
    }
}
