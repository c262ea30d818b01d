//! The lists of a release: what is in it, under which licences, and from what it was made.

mod copyright;
mod licences;
mod packages;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::facts::Facts;
use crate::build::Built;
use crate::profile::Loaded;

/// Name of the packages with their origin and licences.
pub const PACKAGES: &str = "packages.json";
/// Name of the licences for people.
pub const LICENCES: &str = "licences.txt";
/// Name of the merged profile.
pub const PROFILE: &str = "profile.yaml";
/// Name of the lock.
pub const LOCK: &str = "lock";

/// Writes the lists into `folder`, each name behind `prefix` (`ID_VERSION.` in a release):
/// [`PACKAGES`], [`LICENCES`], [`PROFILE`], [`LOCK`], and what [`Facts::write`] does. Returns the facts,
/// for the diff to the release before.
///
/// # Errors
/// The folder is not writable; the build's output can't be read.
pub fn write(built: &Built, loaded: &Loaded, folder: &Path, prefix: &str) -> Result<Facts> {
    let facts = Facts::collect(built).context("collecting the facts")?;
    facts.write(folder, prefix)?;
    let packages = packages::of(built, &facts).context("listing packages")?;
    let put = |name: &str, text: &str| {
        let path = folder.join(format!("{prefix}{name}"));
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    put(PACKAGES, &packages.to_json()?)?;
    put(LICENCES, &licences::text(&packages))?;
    put(PROFILE, &loaded.published_yaml())?;
    put(LOCK, &built.lock.to_text())?;
    Ok(facts)
}
