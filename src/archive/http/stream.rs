//! A transfer that is read as it comes, and goes on where it broke off. Nothing is stored.

use std::io::{self, Read};

use super::response::Body;
use super::transport::ATTEMPTS;
use super::{Attempt, BUFFER, FetchError, Transport};

/// The content of a URL. What it is of must be checked by who reads it: a server that can't resume
/// sends all of it anew, and the part that was read already is skipped.
pub struct Stream<'t> {
    transport: &'t Transport,
    url: String,
    at: u64,
    body: Option<Body>,
    validator: String,
    failures: u32,
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("url", &self.url)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// Opens `url`, which is called `what` in messages.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn stream(&self, url: &str, what: &str) -> Result<Stream<'_>, FetchError> {
        let body = self.retrying(url, what, |_| self.open(url, 0, None))?;
        Ok(Stream {
            transport: self,
            url: url.into(),
            at: 0,
            validator: body.validator.clone(),
            body: Some(body),
            failures: 0,
        })
    }
}

impl Stream<'_> {
    /// One attempt to read on. An end before the announced length is an error.
    fn attempt(&mut self, buffer: &mut [u8]) -> Result<usize, Attempt> {
        self.transport.check_cancel()?;
        let mut body = match self.body.take() {
            Some(body) => body,
            None => self.reopen()?,
        };
        let n = body
            .reader
            .read(buffer)
            .map_err(|error| Attempt::Transient(error.to_string()))?;
        if n == 0 && body.cut(self.at) {
            return Err(Attempt::Transient("the connection was cut".into()));
        }
        self.at += n as u64;
        self.body = Some(body);
        Ok(n)
    }

    fn reopen(&mut self) -> Result<Body, Attempt> {
        let mut body = self
            .transport
            .open(&self.url, self.at, Some(&self.validator))?;
        if body.offset == self.at {
            return Ok(body);
        }
        if body.offset != 0 {
            return Err(Attempt::Transient(
                "the server answered with another range".into(),
            ));
        }
        let mut left = self.at;
        let mut buffer = vec![0; BUFFER];
        while left > 0 {
            self.transport.check_cancel()?;
            let want = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            let part = buffer.get_mut(..want).unwrap_or_default();
            match body.reader.read(part) {
                Ok(0) => return Err(Attempt::Transient("the connection was cut".into())),
                Ok(n) => left -= n as u64,
                Err(error) => return Err(Attempt::Transient(error.to_string())),
            }
        }
        Ok(body)
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.attempt(buffer) {
                Ok(n) => {
                    self.failures = 0;
                    return Ok(n);
                }
                Err(Attempt::Transient(reason)) => {
                    self.body = None;
                    self.failures += 1;
                    let (url, failures) = (&self.url, self.failures);
                    tracing::debug!("{url}: {reason} (attempt {failures})");
                    if failures == ATTEMPTS {
                        return Err(io::Error::other(format!(
                            "it broke off {ATTEMPTS} times at byte {}: {reason}",
                            self.at
                        )));
                    }
                    self.transport
                        .pause_before(failures)
                        .map_err(io::Error::other)?;
                }
                Err(Attempt::Final(FetchError::Gone(_))) => {
                    return Err(io::Error::other("it disappeared while it was read"));
                }
                Err(Attempt::Final(FetchError::Failed(error))) => {
                    return Err(io::Error::other(format!("{error:#}")));
                }
            }
        }
    }
}
