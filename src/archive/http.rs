//! One transfer: connect, resume, retry, and check every byte.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};
use sha2::Digest as _;

use crate::digest::Sha256;
use crate::failure::{Failure, Kind, kind_of};
use crate::report::progress::Stage;
use crate::store::{Store, environment, hash_file};

/// Something of known hash and size to fetch.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// What it is, for messages (`package bash 5.2.37-2`).
    pub what: &'a str,
    /// Where from.
    pub url: &'a str,
    /// Expected hash.
    pub sha256: Sha256,
    /// Expected size in bytes.
    pub size: u64,
}

/// Why there is no content.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server does not have it (404, 410, or no such file).
    #[error("{0} does not exist")]
    Gone(String),
    /// All else.
    #[error(transparent)]
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for FetchError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Failure> for FetchError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.into())
    }
}

impl FetchError {
    /// The error for a caller that has no other source.
    #[must_use]
    pub fn into_failure(self, what: &str) -> anyhow::Error {
        match self {
            Self::Gone(url) => Failure::new(Kind::Archive, format!("{what}: {url} does not exist"))
                .hint("use another mirror (--mirror URL), or correct the archive in the profile")
                .into(),
            Self::Failed(error) => error,
        }
    }
}

/// An error of one attempt: whether another one makes sense.
enum Attempt {
    Transient(String),
    Final(FetchError),
}

impl<E> From<E> for Attempt
where
    FetchError: From<E>,
{
    fn from(error: E) -> Self {
        Self::Final(FetchError::from(error))
    }
}

/// Fetches over HTTP(S) and from `file:` URLs. Shared by the threads of a download.
#[derive(Debug)]
pub struct Fetcher {
    agent: ureq::Agent,
    store: Store,
    cancel: Arc<AtomicBool>,
    retry_pause: Duration,
}

/// Attempts for one transfer.
const ATTEMPTS: u32 = 5;
const BUFFER: usize = 128 * 1024;

impl Fetcher {
    /// A fetcher that keeps its files in `store` and stops when `cancel` is set. Proxies come from
    /// the usual variables (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`). `retry_pause`
    /// is the first pause between attempts; each one after it is twice as long.
    #[must_use]
    pub fn new(store: Store, cancel: Arc<AtomicBool>, jobs: usize, retry_pause: Duration) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("hullwright/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(Duration::from_secs(20)))
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .max_idle_connections(jobs.max(3))
            .max_idle_connections_per_host(jobs.max(3))
            .build()
            .into();
        Self {
            agent,
            store,
            cancel,
            retry_pause,
        }
    }

    /// Fails when the user has interrupted.
    ///
    /// # Errors
    /// Kind [`Interrupted`](Kind::Interrupted).
    pub fn check_cancel(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Failure::new(Kind::Interrupted, "interrupted while downloading").into());
        }
        Ok(())
    }

    /// A file of unknown hash, at most `limit` bytes, into memory.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn get(&self, url: &str, limit: u64, what: &str) -> Result<Vec<u8>, FetchError> {
        self.retrying(url, what, |_| {
            let mut reader = self.open(url, 0, None)?.reader;
            let mut bytes = Vec::new();
            let mut buffer = vec![0; BUFFER];
            loop {
                self.check_cancel()?;
                let n = reader.read(&mut buffer).map_err(transfer)?;
                if n == 0 {
                    return Ok(bytes);
                }
                bytes.extend_from_slice(buffer.get(..n).unwrap_or_default());
                if bytes.len() as u64 > limit {
                    return Err(oversize(what, url, limit, None).into());
                }
            }
        })
    }

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
            let result = self.retrying(wanted.url, wanted.what, |number| {
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
            let mut body = self.open(wanted.url, from, resume)?;
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

    /// Repeats `attempt` while its errors are transient, with pauses that grow.
    fn retrying<T>(
        &self,
        url: &str,
        what: &str,
        attempt: impl Fn(u32) -> Result<T, Attempt>,
    ) -> Result<T, FetchError> {
        let mut number = 0;
        loop {
            self.check_cancel()?;
            match attempt(number) {
                Ok(value) => return Ok(value),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Transient(reason)) => {
                    number += 1;
                    tracing::debug!("{url}: {reason} (attempt {number})");
                    if number == ATTEMPTS {
                        return Err(FetchError::Failed(
                            Failure::new(
                                Kind::Archive,
                                format!(
                                    "fetching {what} from {url} failed {ATTEMPTS} times: {reason}"
                                ),
                            )
                            .hint("check the network and proxy variables, or use --mirror URL")
                            .into(),
                        ));
                    }
                    self.pause(self.retry_pause * 2_u32.pow(number - 1))?;
                }
            }
        }
    }

    fn pause(&self, length: Duration) -> Result<()> {
        let mut left = length;
        while !left.is_zero() {
            self.check_cancel()?;
            let step = left.min(Duration::from_millis(100));
            std::thread::sleep(step);
            left -= step;
        }
        Ok(())
    }

    fn open(&self, url: &str, from: u64, if_range: Option<&str>) -> Result<Body, Attempt> {
        if let Some(path) = url.strip_prefix("file:") {
            return open_file(url, path, from);
        }
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
            if let Some(validator) = if_range.filter(|v| !v.is_empty()) {
                request = request.header("If-Range", validator);
            }
        }
        let response = request.call().map_err(|error| request_error(url, error))?;
        let status = response.status().as_u16();
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let offset = match status {
            200 => 0,
            206 => header("content-range")
                .strip_prefix("bytes ")
                .and_then(|range| range.split_once('-'))
                .and_then(|(start, _)| start.parse().ok())
                .unwrap_or(u64::MAX),
            // The range is beyond the end, so what we have is of another file: begin again.
            416 => u64::MAX,
            404 | 410 => return Err(FetchError::Gone(url.into()).into()),
            408 | 425 | 429 | 500..=599 => {
                return Err(Attempt::Transient(format!("the server answers {status}")));
            }
            _ => {
                return Err(Failure::new(
                    Kind::Archive,
                    format!("fetching {url}: the server answers {status}"),
                )
                .hint("use another mirror (--mirror URL)")
                .into());
            }
        };
        // Weak validators may not be used with If-Range (RFC 9110, section 13.1.5).
        let etag = header("etag");
        let validator = if etag.is_empty() || etag.starts_with("W/") {
            header("last-modified")
        } else {
            etag
        };
        let length = header("content-length").parse().ok();
        Ok(Body {
            offset,
            length,
            validator,
            reader: Box::new(response.into_body().into_reader()),
        })
    }

    /// Takes content of known hash from `folder`, where it is named by its hash.
    ///
    /// # Errors
    /// Missing there, or damaged.
    pub fn take_from(&self, folder: &Path, wanted: &Wanted<'_>) -> Result<PathBuf> {
        let path = folder.join(wanted.sha256.to_string());
        let mut file = File::open(&path).map_err(|e| {
            Failure::new(
                Kind::Archive,
                format!("{} is not in {}: {e}", wanted.what, folder.display()),
            )
            .hint(format!("expected {}", path.display()))
            .hint("`hullwright fetch PROFILE --to DIR` writes all inputs of a lock")
        })?;
        let mut temp = self.store.temp()?;
        let mut hash = sha2::Sha256::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            self.check_cancel()?;
            let n = file
                .read(&mut buffer)
                .map_err(|e| environment("reading", &path, &e))?;
            if n == 0 {
                break;
            }
            let bytes = buffer.get(..n).unwrap_or_default();
            hash.update(bytes);
            temp.write_all(bytes)?;
        }
        let found = Sha256(hash.finalize().into());
        if found != wanted.sha256 {
            return Err(Failure::new(
                Kind::Archive,
                format!(
                    "{} in {} has the wrong content: expected SHA-256 {}, found {found}",
                    wanted.what,
                    path.display(),
                    wanted.sha256
                ),
            )
            .hint("write the folder anew with `hullwright fetch PROFILE --to DIR`")
            .into());
        }
        let to = self.store.download_path(&wanted.sha256);
        temp.persist(&to)?;
        Ok(to)
    }
}

/// A response under way.
struct Body {
    /// Where in the file it begins.
    offset: u64,
    /// Bytes to come, where the server says so.
    length: Option<u64>,
    /// For If-Range.
    validator: String,
    reader: Box<dyn Read>,
}

impl Body {
    /// Whether the body ended before the length that was announced.
    fn cut(&self, have: u64) -> bool {
        self.length
            .is_some_and(|length| have < self.offset + length)
    }
}

fn open_file(url: &str, path: &str, from: u64) -> Result<Body, Attempt> {
    let path = Path::new(path.strip_prefix("//").unwrap_or(path));
    let mut file = File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => FetchError::Gone(url.into()),
        _ => environment("opening", path, &e).into(),
    })?;
    let length = file
        .metadata()
        .map_err(|e| environment("reading", path, &e))?
        .len();
    file.seek(SeekFrom::Start(from))
        .map_err(|e| environment("reading", path, &e))?;
    Ok(Body {
        offset: from,
        length: Some(length.saturating_sub(from)),
        validator: String::new(),
        reader: Box::new(file),
    })
}

fn request_error(url: &str, error: ureq::Error) -> Attempt {
    use ureq::Error as E;
    match error {
        E::Io(_)
        | E::Timeout(_)
        | E::HostNotFound
        | E::ConnectionFailed
        | E::ConnectProxyFailed(_)
        | E::Protocol(_)
        | E::BodyStalled => Attempt::Transient(error.to_string()),
        _ => Attempt::Final(FetchError::Failed(
            Failure::new(Kind::Archive, format!("fetching {url}: {error}")).into(),
        )),
    }
}

fn transfer(error: io::Error) -> Attempt {
    Attempt::Transient(error.to_string())
}

fn oversize(what: &str, url: &str, limit: u64, declared: Option<u64>) -> FetchError {
    let found = match declared {
        Some(length) => format!("the server declares {length}"),
        None => "the server sends more".into(),
    };
    FetchError::Failed(
        Failure::new(
            Kind::Archive,
            format!("{what} from {url} is larger than the {limit} bytes allowed: {found}"),
        )
        .hint("use another mirror (--mirror URL): this one serves something else")
        .into(),
    )
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

/// Copies verified content to `folder`, under its hash; what is there already with that content
/// stays.
///
/// # Errors
/// The machine's, naming the path.
pub(super) fn copy_out(from: &Path, folder: &Path, sha256: &Sha256) -> Result<()> {
    let to = folder.join(sha256.to_string());
    if hash_file(&to).is_ok_and(|found| found == *sha256) {
        return Ok(());
    }
    let mut input = File::open(from).map_err(|e| environment("opening", from, &e))?;
    let mut temp = tempfile::NamedTempFile::new_in(folder)
        .map_err(|e| environment("making a temporary file in", folder, &e))?;
    io::copy(&mut input, &mut temp).map_err(|e| environment("writing", &to, &e))?;
    temp.as_file()
        .sync_data()
        .map_err(|e| environment("syncing", &to, &e))?;
    let found = hash_file(temp.path()).map_err(|e| environment("reading", temp.path(), &e))?;
    if found != *sha256 {
        return Err(Failure::new(
            Kind::Archive,
            format!("{} in the cache is damaged: found {found}", from.display()),
        )
        .hint("remove that file and fetch again")
        .into());
    }
    temp.persist(&to)
        .map_err(|e| e.error)
        .with_context(|| format!("naming {}", to.display()))?;
    Ok(())
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
