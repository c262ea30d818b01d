//! Debian archives: InRelease verification, Packages indices, mirrors, downloads.

mod record;

pub use record::Record;

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
