//! What `list` and `verify` read: a folder or a URL, and with which key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::super::{environment, interrupt};
use crate::archive::http::{Transport, TransportSettings};
use crate::failure::{Failure, Kind};
use crate::release::source::{Folder, Source, Web};
use crate::release::verify::Request;
use crate::stamp::Stamp;

/// Transfers at once.
pub const JOBS: usize = 8;

/// A tree to read.
#[derive(Debug, clap::Args)]
pub struct PlaceArguments {
    /// The folder or URL that has release.asc.
    #[arg(value_name = "DIR|URL")]
    tree: String,
    /// File with the public keys to trust [default: release.asc of the tree, which shows damage, but
    /// no forgery].
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Only this channel.
    #[arg(long, value_name = "NAME")]
    pub channel: Option<String>,
}

/// The key as text, and the time.
pub struct Trusted {
    key: Option<String>,
    now: Stamp,
}

impl PlaceArguments {
    /// Opens the tree.
    pub fn source(&self) -> Result<Box<dyn Source>> {
        let base = self.tree.trim_end_matches('/');
        if is_url(base) {
            let transport = Transport::new(&TransportSettings {
                jobs: JOBS,
                proxies: true,
                cancel: interrupt::flag(),
                retry_pause: Duration::from_millis(300),
            });
            return Ok(Box::new(Web {
                transport,
                base: base.to_owned(),
            }));
        }
        let dir = Path::new(&self.tree);
        if !dir.is_dir() {
            return Err(
                Failure::new(Kind::Usage, format!("{} is no folder", dir.display()))
                    .hint("name a release tree, or its URL with https://")
                    .into(),
            );
        }
        Ok(Box::new(Folder(dir.to_owned())))
    }

    /// Whether threads wait for a server rather than for the processor.
    pub fn is_remote(&self) -> bool {
        is_url(&self.tree)
    }

    /// Reads the key.
    pub fn trusted(&self) -> Result<Trusted> {
        let read = |path: &PathBuf| -> Result<String> {
            std::fs::read_to_string(path).map_err(|error| {
                Failure::new(Kind::Keys, format!("reading {}: {error}", path.display())).into()
            })
        };
        Ok(Trusted {
            key: self.key.as_ref().map(read).transpose()?,
            now: Stamp::from_seconds(environment::now()),
        })
    }

    /// What to ask for.
    pub fn request<'a>(&'a self, trusted: &'a Trusted) -> Request<'a> {
        Request {
            key: trusted.key.as_deref(),
            channel: self.channel.as_deref(),
            now: trusted.now,
        }
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}
