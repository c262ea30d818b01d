//! `release yank`: a release that no node is to install any more.
//!
//! Its payloads are removed, so that nobody installs it by hand or from a mirror that is late; what
//! tells about it (manifest, lock, lists, diff) stays, since the next release is compared with it and
//! somebody will ask what was wrong. The index keeps its hashes and the reason. Nodes that run it keep
//! running: sysupdate never installs an older version by itself, so the way out is a newer one.

use anyhow::Result;

use super::cut::Added;
use super::index::{Index, is_reason};
use super::tree::{Authority, Tree};
use crate::failure::{Failure, Kind};

/// Withdraws `version` of every product in `channel`, or only of the one called `id`.
///
/// # Errors
/// No product has it, or all have it yanked already.
pub fn yank(
    tree: &Tree,
    channel: &str,
    version: &str,
    id: Option<&str>,
    reason: &str,
    authority: &Authority,
) -> Result<(Index, Vec<Added>)> {
    if !is_reason(reason) {
        return Err(Failure::new(
            Kind::Usage,
            "--reason is not one line of up to 500 characters",
        )
        .into());
    }
    let mut index = tree.channel(channel, authority)?;
    let mut missing = true;
    let mut yanked = Vec::new();
    for product in &mut index.products {
        if id.is_some_and(|id| id != product.id) {
            continue;
        }
        let found = product.releases.iter_mut().find(|r| r.version == version);
        let Some(release) = found else { continue };
        missing = false;
        if release.yanked.is_some() {
            continue;
        }
        release.yanked = Some(reason.to_owned());
        yanked.push(Added {
            id: product.id.clone(),
            arch: product.arch,
            release: release.clone(),
        });
        product.current = product.newest_offered().map(str::to_owned);
    }
    if missing {
        return Err(super::no_such_version(&index, id, version).into());
    }
    if yanked.is_empty() {
        return Err(Failure::new(
            Kind::Usage,
            format!("version {version} is yanked from {channel} already"),
        )
        .into());
    }
    index.serial += 1;
    let scratch = tree.scratch()?;
    tree.publish(&index, &[], authority, &scratch)?;
    Ok((index, yanked))
}
