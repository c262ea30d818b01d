//! Releases: trees for any static web server, from which nodes update themselves.
//!
//! A tree has channels, a channel its products (an `os.id` for an architecture), a product its
//! releases. `index` says what there is; every other small file follows from it (`signed`). `cut`,
//! `promote` and `yank` change a channel by the `rules`, always as a whole (`tree`); `verify` proves one
//! with the public key alone.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::resolve::Lock;

pub mod cut;
pub mod diff;
pub mod disk_zst;
pub mod facts;
pub mod index;
pub mod lists;
pub mod names;
pub mod payload;
pub mod promote;
pub mod rules;
pub mod signed;
pub mod source;
pub mod sums;
pub mod tree;
pub mod verify;
pub mod version;
pub mod yank;

pub use cut::{Added, Candidate, Cut};
pub use index::Index;
pub use tree::{Authority, Tree};

/// The lock of a release that lies in `folder`.
fn lock_of(folder: &Path, id: &str, release: &index::Release) -> Result<Lock> {
    let name = names::Role::Lock.file_name(id, &release.version, &release.root_hash);
    let path = folder.join(&name);
    let shown = path.display();
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {shown}"))?;
    let expected = release.file(names::Role::Lock).map(|file| file.sha256);
    if Some(Sha256::of(text.as_bytes())) != expected {
        return Err(Failure::new(
            Kind::Archive,
            format!("{shown} is not the lock that was released"),
        )
        .hint("restore it from a mirror")
        .into());
    }
    Lock::parse(&text, &path)
}

fn no_such_version(index: &Index, id: Option<&str>, version: &str) -> Failure {
    let channel = &index.channel;
    let of = id.map_or_else(String::new, |id| format!(" of {id}"));
    let mut failure = Failure::new(
        Kind::Usage,
        format!("there is no version {version}{of} in {channel}"),
    );
    for product in &index.products {
        let versions: Vec<_> = product
            .releases
            .iter()
            .map(|r| r.version.as_str())
            .collect();
        failure = failure.hint(format!(
            "{} {} has {}",
            product.id,
            product.arch,
            versions.join(", ")
        ));
    }
    failure
}
