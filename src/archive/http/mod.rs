//! One transfer: connect, resume, retry, and check every byte.

mod local;
mod response;
mod resume;

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::Context;
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::store::Store;

pub(super) use local::copy_out;
use response::{oversize, transfer};

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
    /// A fetcher for a context's store. With `proxies`, they come from the usual variables
    /// (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`), which ureq reads.
    #[must_use]
    pub fn new(ctx: &Context) -> Self {
        let jobs = ctx.jobs;
        let mut config = ureq::Agent::config_builder();
        if !ctx.proxies {
            config = config.proxy(None);
        }
        let agent = config
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
            store: ctx.store.clone(),
            cancel: ctx.cancel.clone(),
            retry_pause: ctx.retry_pause,
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
}
