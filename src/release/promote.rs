//! `release promote`: the bytes of one channel's release, offered in another.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::cut::{Added, insert};
use super::index::{Index, Product};
use super::rules;
use super::tree::{Authority, Incoming, Tree};
use crate::failure::{Failure, Kind};
use crate::store::hash_file;

/// Which release goes where.
#[derive(Debug, Clone, Copy)]
pub struct Promotion<'a> {
    /// The version.
    pub version: &'a str,
    /// The channel that has it.
    pub from: &'a str,
    /// The channel that gets it.
    pub to: &'a str,
    /// Only of the product with this `os.id`.
    pub id: Option<&'a str>,
}

/// Adds the release of every product that has the version to the other channel, or of none.
///
/// # Errors
/// No product has it, a file of it is not what was signed, or it breaks a rule of the target.
pub fn promote(
    tree: &Tree,
    promotion: &Promotion<'_>,
    authority: &Authority,
) -> Result<(Index, Vec<Added>)> {
    let Promotion {
        version, from, to, ..
    } = *promotion;
    if from == to {
        return Err(Failure::new(
            Kind::Usage,
            format!("--from and --to are the same channel, {from}"),
        )
        .into());
    }
    let source = tree.channel(from, authority)?;
    let mut target = tree.channel(to, authority)?;
    let wanted = |product: &&Product| promotion.id.is_none_or(|id| id == product.id);
    let mut found = Vec::new();
    let mut incoming = Vec::new();
    let mut added = Vec::new();
    let mut missing = true;
    for product in source.products.iter().filter(wanted) {
        let Some(release) = product.release(version) else {
            continue;
        };
        missing = false;
        let (id, arch) = (&product.id, product.arch);
        if let Some(reason) = &release.yanked {
            found.push(Failure::new(
                Kind::Usage,
                format!("version {version} of {id} was yanked from {from}: {reason}"),
            ));
            continue;
        }
        let there = target.product(id, arch);
        let folder = |channel: &str| tree.folder(channel, arch);
        found.extend(rules::order(there, to, version, release.stamp));
        found.extend(rules::fit(there, release));
        if let Some(last) = there.and_then(Product::last) {
            let before = super::lock_of(&folder(to), id, last)?;
            let now = super::lock_of(&folder(from), id, release)?;
            found.extend(rules::ids(&before, &now, &last.version));
        }
        for file in &release.files {
            let path = folder(from).join(&file.name);
            check(&path, file.sha256)?;
            incoming.push(Incoming {
                arch,
                name: file.name.clone(),
                path,
            });
        }
        added.push(Added {
            id: id.clone(),
            arch,
            release: release.clone(),
        });
    }
    if missing {
        return Err(super::no_such_version(&source, promotion.id, version).into());
    }
    rules::refuse(found)?;
    for one in &added {
        insert(&mut target, &one.id, one.arch, one.release.clone());
    }
    target.serial += 1;
    let scratch = tree.scratch()?;
    tree.publish(&target, &incoming, authority, &scratch)?;
    Ok((target, added))
}

/// What is signed for another channel is what was signed for the first.
fn check(path: &Path, expected: crate::digest::Sha256) -> Result<()> {
    let shown = path.display();
    let found = hash_file(path).with_context(|| format!("reading {shown}"))?;
    ensure!(
        found == expected,
        Failure::new(
            Kind::Archive,
            format!("{shown} has SHA-256 {found}, and the index says {expected}"),
        )
        .hint("the file was damaged after it was released: restore it from a mirror")
    );
    Ok(())
}
