//! A request and its answer, over HTTP(S) or from a `file:` URL.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;

use super::{Attempt, FetchError, Transport};
use crate::failure::{Failure, Kind};
use crate::store::environment;

impl Transport {
    /// Asks for a file, from byte `from` on.
    pub(super) fn open(
        &self,
        url: &str,
        from: u64,
        if_range: Option<&str>,
    ) -> Result<Body, Attempt> {
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
}

/// A response under way.
pub(super) struct Body {
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// Bytes to come, where the server says so.
    pub(super) length: Option<u64>,
    /// For If-Range.
    pub(super) validator: String,
    /// The content.
    pub(super) reader: Box<dyn Read>,
}

impl Body {
    /// Whether the body ended before the length that was announced.
    pub(super) fn cut(&self, have: u64) -> bool {
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
        | E::Protocol(_)
        | E::BodyStalled => Attempt::Transient(error.to_string()),
        // Proxies are always asked for a tunnel, which many allow to port 443 only.
        E::ConnectProxyFailed(_) => Attempt::Final(FetchError::Failed(
            Failure::new(Kind::Archive, format!("fetching {url}: {error}"))
                .hint("if the proxy allows tunnels to port 443 only, use --mirror https://…")
                .hint("no_proxy names hosts that are reached without the proxy")
                .into(),
        )),
        _ => Attempt::Final(FetchError::Failed(
            Failure::new(Kind::Archive, format!("fetching {url}: {error}")).into(),
        )),
    }
}

/// A transfer that broke off.
pub(super) fn transfer(error: io::Error) -> Attempt {
    Attempt::Transient(error.to_string())
}

/// More bytes than were declared.
pub(super) fn oversize(what: &str, url: &str, limit: u64, declared: Option<u64>) -> FetchError {
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
