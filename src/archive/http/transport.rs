//! Requests that are repeated while it makes sense: what every transfer stands on.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::response::{oversize, transfer};
use super::{Attempt, BUFFER, FetchError};
use crate::failure::{Failure, Kind};

/// Attempts for one transfer.
pub(super) const ATTEMPTS: u32 = 5;

/// What a [`Transport`] needs to know.
#[derive(Debug, Clone)]
pub struct TransportSettings {
    /// Transfers at once.
    pub jobs: usize,
    /// Whether the usual variables (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`), which ureq
    /// reads, name proxies.
    pub proxies: bool,
    /// Stops transfers when set.
    pub cancel: Arc<AtomicBool>,
    /// First pause between attempts; each one after it is twice as long.
    pub retry_pause: Duration,
}

/// Asks servers over HTTP(S), and the file system for `file:` URLs. Shared by threads.
#[derive(Debug)]
pub struct Transport {
    pub(super) agent: ureq::Agent,
    cancel: Arc<AtomicBool>,
    retry_pause: Duration,
}

impl Transport {
    /// A transport.
    #[must_use]
    pub fn new(settings: &TransportSettings) -> Self {
        let jobs = settings.jobs;
        let mut config = ureq::Agent::config_builder();
        if !settings.proxies {
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
            cancel: settings.cancel.clone(),
            retry_pause: settings.retry_pause,
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
    pub(super) fn retrying<T>(
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
                    self.pause_before(number)?;
                }
            }
        }
    }

    /// Waits before attempt `number`, which is the second or a later one.
    pub(super) fn pause_before(&self, number: u32) -> Result<()> {
        let doublings = number.saturating_sub(1).min(ATTEMPTS);
        self.pause(self.retry_pause * 2_u32.pow(doublings))
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
