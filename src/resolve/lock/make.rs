//! A lock from a resolution, and what an older lock has promised.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::{Lock, LockedArtefact, LockedPackage, LockedSuite, VERSION};
use crate::archive::SuiteIndex;
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::profile::Profile;
use crate::profile::schema::{ArchiveSource, Packages};
use crate::resolve::solve::{Chosen, Reason, Resolution};
use crate::resolve::universe::{Field, Held};
use crate::stamp::Stamp;

/// What a lock is made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The profile.
    pub profile: &'a Profile,
    /// The suites the resolution was made from.
    pub suites: &'a [SuiteIndex],
    /// The chosen packages.
    pub resolution: &'a Resolution,
    /// Versions of the codecs.
    pub codecs: BTreeMap<String, String>,
    /// Hashes of local files and other artefacts.
    pub files: BTreeMap<String, Sha256>,
    /// Numbers of users and groups; those of an older lock win.
    pub ids: BTreeMap<String, u32>,
    /// `SOURCE_DATE_EPOCH` or `--stamp`.
    pub stamp: Option<Stamp>,
    /// The lock that this one replaces.
    pub old: Option<&'a Lock>,
}

/// Which versions of an older lock are given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgrade {
    /// None: `lock` without `--upgrade`.
    Nothing,
    /// All: `--upgrade`.
    All,
    /// Those of these packages: `--upgrade PACKAGE…`.
    Only(Vec<String>),
}

impl Lock {
    /// Makes a lock.
    pub fn make(inputs: Inputs<'_>) -> Result<Self> {
        let packages = inputs
            .resolution
            .chosen
            .iter()
            .map(LockedPackage::of)
            .collect::<Result<Vec<_>>>()?;
        let stamp = stamp(&inputs, &packages)?;
        let mut suites: Vec<LockedSuite> = inputs
            .suites
            .iter()
            .map(|suite| LockedSuite {
                archive: suite.archive.clone(),
                name: suite.suite.clone(),
                date: suite.date,
                inrelease: suite.inrelease,
            })
            .collect();
        suites.sort_by(|a, b| (&a.archive, &a.name).cmp(&(&b.archive, &b.name)));
        let mut ids = inputs.ids;
        ids.extend(inputs.old.into_iter().flat_map(|old| old.ids.clone()));
        Ok(Self {
            lock: VERSION,
            profile: inputs.profile.name.clone(),
            arch: inputs.profile.arch,
            profile_hash: profile_hash(inputs.profile),
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            codecs: inputs.codecs,
            stamp,
            allow_expired: inputs.suites.iter().any(|s| s.expired),
            suites,
            packages,
            artefacts: artefacts(inputs.profile),
            files: inputs.files,
            ids,
        })
    }

    /// The versions to keep when the set is resolved again.
    pub fn held(&self, upgrade: &Upgrade) -> Result<Held> {
        let given_up: &[String] = match upgrade {
            Upgrade::All => return Ok(Held::new()),
            Upgrade::Nothing => &[],
            Upgrade::Only(names) => names,
        };
        for name in given_up {
            if self.package(name).is_none() {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("cannot upgrade {name}: the lock has no such package"),
                )
                .hint("the lock file lists the packages that are in it")
                .into());
            }
        }
        Ok(self
            .packages
            .iter()
            .filter(|p| !given_up.contains(&p.name))
            .map(|p| (p.name.clone(), p.version.clone()))
            .collect())
    }
}

impl LockedPackage {
    fn of(chosen: &Chosen) -> Result<Self> {
        let record = &chosen.record;
        let sha256 = record.sha256.ok_or_else(|| {
            let (name, version, suite) = (&record.name, &record.version, &chosen.suite);
            Failure::new(
                Kind::Archive,
                format!("{name} {version} of {suite} has no SHA256 in the index"),
            )
            .hint("a package without a hash cannot be verified; use another archive for it")
        })?;
        Ok(Self {
            name: record.name.clone(),
            version: record.version.clone(),
            architecture: record.architecture.clone(),
            archive: chosen.archive.clone(),
            suite: chosen.suite.clone(),
            path: record.filename.clone(),
            size: record.size,
            sha256,
            why: chosen.why.to_string(),
        })
    }

    /// Whether both mean the same bytes.
    #[must_use]
    pub fn same_bytes(&self, other: &Self) -> bool {
        self.name == other.name && self.version == other.version && self.sha256 == other.sha256
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.field {
            Field::Profile => f.write_str("profile"),
            field => write!(f, "{} {}: {}", self.by, field.name(), self.text),
        }
    }
}

/// The Contract's stamp: the latest Release among the suites that supplied a package, unchanged when
/// no package changed, never earlier than before; an explicit one overrides.
fn stamp(inputs: &Inputs<'_>, packages: &[LockedPackage]) -> Result<Stamp> {
    if let Some(stamp) = inputs.stamp {
        return Ok(stamp);
    }
    if let Some(old) = inputs.old
        && old.packages.len() == packages.len()
        && old
            .packages
            .iter()
            .zip(packages)
            .all(|(a, b)| a.same_bytes(b))
    {
        return Ok(old.stamp);
    }
    let supplied = |suite: &&SuiteIndex| {
        packages
            .iter()
            .any(|p| p.archive == suite.archive && p.suite == suite.suite)
    };
    let latest = inputs
        .suites
        .iter()
        .filter(supplied)
        .map(|suite| Stamp::from_seconds(suite.date))
        .max();
    latest.max(inputs.old.map(|old| old.stamp)).ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            "no suite supplied a package, so there is no Release date to stamp the image with",
        )
        .hint("give a time with --stamp or SOURCE_DATE_EPOCH")
        .into()
    })
}

fn artefacts(profile: &Profile) -> Vec<LockedArtefact> {
    profile.board_artefacts().iter().map(Into::into).collect()
}

/// SHA-256 of what the choice of packages depends on: architecture, archives, packages, the
/// kernel's package and what the board takes by hash.
#[must_use]
pub fn profile_hash(profile: &Profile) -> Sha256 {
    #[derive(Serialize)]
    struct Part<'a> {
        arch: crate::arch::Arch,
        archives: Vec<ArchiveSource>,
        packages: &'a Packages,
        kernel: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        artefacts: Vec<LockedArtefact>,
    }
    let part = Part {
        arch: profile.arch,
        // Where superseded versions are fetched from does not change which are chosen.
        archives: profile
            .archives
            .iter()
            .map(|archive| ArchiveSource {
                snapshot: None,
                ..archive.clone()
            })
            .collect(),
        packages: &profile.packages,
        kernel: &profile.kernel.package,
        artefacts: artefacts(profile),
    };
    // Structs of strings and numbers always serialise; their fields come in the order written here.
    Sha256::of(&serde_json::to_vec(&part).unwrap_or_default())
}
