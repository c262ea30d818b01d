//! The lock file: the exact inputs of a build.
//!
//! `file` reads and writes it, `make` makes one from a resolution and keeps what an older one
//! promised, `diff` tells two apart.

mod diff;
mod file;
mod make;

pub use diff::{Change, Diff, diff};
pub use make::{Inputs, Upgrade, profile_hash};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
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
    /// What the board's files are taken from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artefacts: Vec<LockedArtefact>,
    /// Local `.deb` files and other artefacts by path as the profile writes it.
    #[serde(default)]
    pub files: BTreeMap<String, Sha256>,
    /// Numbers of users and groups, by `user NAME` or `group NAME`.
    #[serde(default)]
    pub ids: BTreeMap<String, u32>,
}

/// The major version that this program reads and writes.
pub const VERSION: u32 = 1;

impl Lock {
    /// `NAME.ARCH.lock`.
    #[must_use]
    pub fn file_name(profile: &str, arch: Arch) -> String {
        format!("{profile}.{arch}.lock")
    }

    /// The package called `name`.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&LockedPackage> {
        self.packages
            .binary_search_by(|p| p.name.as_str().cmp(name))
            .ok()
            .and_then(|position| self.packages.get(position))
    }

    /// Whether the lock was made for a profile with this hash ([`profile_hash`]).
    #[must_use]
    pub fn matches(&self, profile_hash: Sha256) -> bool {
        self.profile_hash == profile_hash
    }

    /// Fails when the lock was made for another state of the profile; `path` is for the message.
    pub fn require_match(
        &self,
        profile_hash: Sha256,
        path: &std::path::Path,
    ) -> anyhow::Result<()> {
        if self.matches(profile_hash) {
            return Ok(());
        }
        Err(Failure::new(
            Kind::Usage,
            "the lock was made for another state of the profile's archives, packages or kernel",
        )
        .at(path, None, None)
        .hint(format!(
            "run `hullwright lock {}` and keep the new lock",
            self.profile
        ))
        .into())
    }

    /// The suite `name` of `archive` as it was signed when the lock was made.
    #[must_use]
    pub fn suite(&self, archive: &str, name: &str) -> Option<&LockedSuite> {
        self.suites
            .iter()
            .find(|s| s.archive == archive && s.name == name)
    }

    /// The lock's own hash, from which identifiers are derived.
    #[must_use]
    pub fn hash(&self) -> Sha256 {
        Sha256::of(self.to_text().as_bytes())
    }

    /// Codecs whose version here is not the one in `codecs`: name, locked version, present version.
    #[must_use]
    pub fn other_codecs(&self, codecs: &BTreeMap<String, String>) -> Vec<(String, String, String)> {
        let absent = || "absent".to_owned();
        self.codecs
            .iter()
            .filter(|(name, version)| codecs.get(*name) != Some(version))
            .map(|(name, version)| {
                let present = codecs.get(name).cloned().unwrap_or_else(absent);
                (name.clone(), version.clone(), present)
            })
            .collect()
    }
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

/// A file that the board takes by hash; the board says where it is fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedArtefact {
    /// What the board calls it.
    pub name: String,
    /// Version.
    pub version: String,
    /// Path below the base URL.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Sha256,
}

impl From<&crate::profile::board::Artefact> for LockedArtefact {
    fn from(artefact: &crate::profile::board::Artefact) -> Self {
        Self {
            name: artefact.name.clone(),
            version: artefact.version.clone(),
            path: artefact.path.clone(),
            size: artefact.size,
            sha256: artefact.sha256,
        }
    }
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
