//! Debian archives: InRelease verification, Packages indices, mirrors, downloads.

//!
//! [`refresh`] gives the verified indices of a profile's suites, [`fetch_packages`] the packages of a
//! lock. Trust flows from a keyring to the signed text of InRelease ([`cleartext`], [`openpgp`],
//! [`trust`]), from its hashes to the indices, from theirs to the packages; nothing reaches the cache
//! under its name before its hash was compared.

pub mod apt;
pub mod cleartext;
pub mod date;
pub mod http;
pub mod mirror;
pub mod openpgp;
pub mod packages;
pub mod release;
pub mod trust;

mod artefacts;
mod context;
mod fetch;
mod newest;
mod record;
mod refresh;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use artefacts::fetch_artefacts;
pub use context::{Context, Releases};
pub use fetch::{export, fetch_packages, fetch_some};
pub use mirror::Mirrors;
pub use newest::{VENDOR, newest};
pub use record::Record;
pub use refresh::refresh;
pub use trust::Keyrings;

use crate::digest::Sha256;

/// A verified suite with what it offers.
#[derive(Debug, Clone)]
pub struct SuiteIndex {
    /// Name of the archive in the profile.
    pub archive: String,
    /// Suite.
    pub suite: String,
    /// `Date` of the Release, seconds since the epoch.
    pub date: u64,
    /// SHA-256 of the InRelease file.
    pub inrelease: Sha256,
    /// Whether its `Valid-Until` had passed and that was accepted.
    pub expired: bool,
    /// As in the profile: whether its packages compete by version alone.
    pub pocket: bool,
    /// As in the profile.
    pub priority: i32,
    /// As in the profile: globs of package names it may serve; empty: all.
    pub only: Vec<String>,
    /// The packages of the target architecture and `all`.
    pub records: Vec<Record>,
}
