//! The lock file: the exact inputs of a build.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::digest::Sha256;
use crate::stamp::Stamp;

/// Everything a build needs to know besides the profile. See the design's Contracts, "Lock".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Major version of the format: 1.
    pub lock: u32,
    /// Name of the profile.
    pub profile: String,
    /// Target architecture.
    pub arch: Arch,
    /// SHA-256 of the parts of the merged profile that resolution depends on.
    pub profile_hash: Sha256,
    /// hullwright's version.
    pub tool: String,
    /// Versions of the codecs, whose change changes bytes.
    pub codecs: BTreeMap<String, String>,
    /// Time of everything.
    pub stamp: Stamp,
    /// Whether an expired Release was accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_expired: bool,
    /// The signed suites, by archive and name.
    pub suites: Vec<LockedSuite>,
    /// The packages, by name.
    pub packages: Vec<LockedPackage>,
    /// Local `.deb` files and other artefacts by path as the profile writes it.
    #[serde(default)]
    pub files: BTreeMap<String, Sha256>,
    /// Numbers of users and groups, by `user NAME` or `group NAME`.
    #[serde(default)]
    pub ids: BTreeMap<String, u32>,
}

/// One suite as it was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSuite {
    /// Archive of the profile.
    pub archive: String,
    /// Suite.
    pub name: String,
    /// `Date` of the Release, seconds since the epoch.
    pub date: u64,
    /// SHA-256 of the InRelease file.
    pub inrelease: Sha256,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian architecture (`amd64`, `all`).
    pub architecture: String,
    /// Archive of the profile; empty for a local file.
    pub archive: String,
    /// Suite it came from; empty for a local file.
    pub suite: String,
    /// Path below the archive's base URL, or the local file's path as the profile writes it.
    pub path: String,
    /// Size of the `.deb` in bytes.
    pub size: u64,
    /// SHA-256 of the `.deb`.
    pub sha256: Sha256,
    /// Why it is here: `profile`, or the package that wants it and the field.
    pub why: String,
}
