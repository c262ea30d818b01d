//! One transfer: connect, resume, retry, and check every byte.

mod local;
mod response;
mod resume;
mod stream;
mod transport;

use anyhow::Result;

use super::Context;
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::store::Store;

pub(super) use local::copy_out;
pub use stream::Stream;
pub use transport::{Transport, TransportSettings};

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

/// Fetches content of known hash into the store. Shared by the threads of a download.
#[derive(Debug)]
pub struct Fetcher {
    transport: Transport,
    store: Store,
}

const BUFFER: usize = 128 * 1024;

impl Fetcher {
    /// A fetcher for a context's store.
    #[must_use]
    pub fn new(ctx: &Context) -> Self {
        Self {
            transport: Transport::new(&TransportSettings {
                jobs: ctx.jobs,
                proxies: ctx.proxies,
                cancel: ctx.cancel.clone(),
                retry_pause: ctx.retry_pause,
            }),
            store: ctx.store.clone(),
        }
    }

    /// Fails when the user has interrupted.
    ///
    /// # Errors
    /// Kind [`Interrupted`](Kind::Interrupted).
    pub fn check_cancel(&self) -> Result<()> {
        self.transport.check_cancel()
    }

    /// A file of unknown hash, at most `limit` bytes, into memory.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn get(&self, url: &str, limit: u64, what: &str) -> Result<Vec<u8>, FetchError> {
        self.transport.get(url, limit, what)
    }
}
