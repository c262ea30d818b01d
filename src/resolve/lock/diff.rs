//! What changed between two locks.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Lock, LockedPackage};
use crate::report::human_size;
use crate::resolve::table::columns;
use crate::resolve::version;

/// One package that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Change {
    /// New in the set.
    Added {
        /// The package.
        new: LockedPackage,
    },
    /// Gone from the set.
    Removed {
        /// The package.
        old: LockedPackage,
    },
    /// A later version.
    Upgraded {
        /// Before.
        old: LockedPackage,
        /// After.
        new: LockedPackage,
    },
    /// An earlier version.
    Downgraded {
        /// Before.
        old: LockedPackage,
        /// After.
        new: LockedPackage,
    },
    /// The same version with other bytes.
    Replaced {
        /// Before.
        old: LockedPackage,
        /// After.
        new: LockedPackage,
    },
}

/// The differences, by package name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// What changed.
    pub changes: Vec<Change>,
    /// Bytes of all packages before.
    pub size_before: u64,
    /// Bytes of all packages after.
    pub size_after: u64,
}

impl Change {
    const fn sides(&self) -> (&'static str, Option<&LockedPackage>, Option<&LockedPackage>) {
        match self {
            Self::Added { new } => ("added", None, Some(new)),
            Self::Removed { old } => ("removed", Some(old), None),
            Self::Upgraded { old, new } => ("upgraded", Some(old), Some(new)),
            Self::Downgraded { old, new } => ("downgraded", Some(old), Some(new)),
            Self::Replaced { old, new } => ("replaced", Some(old), Some(new)),
        }
    }
}

/// Compares two locks; without an old one everything is added.
#[must_use]
pub fn diff(old: Option<&Lock>, new: &Lock) -> Diff {
    let before = old.map_or(&[][..], |lock| &lock.packages);
    let mut pairs: BTreeMap<&str, (Option<&LockedPackage>, Option<&LockedPackage>)> =
        BTreeMap::new();
    for package in before {
        pairs.entry(&package.name).or_default().0 = Some(package);
    }
    for package in &new.packages {
        pairs.entry(&package.name).or_default().1 = Some(package);
    }
    let total = |packages: &[LockedPackage]| packages.iter().map(|p| p.size).sum();
    Diff {
        changes: pairs.into_values().filter_map(change).collect(),
        size_before: total(before),
        size_after: total(&new.packages),
    }
}

fn change(pair: (Option<&LockedPackage>, Option<&LockedPackage>)) -> Option<Change> {
    Some(match pair {
        (None, None) => return None,
        (None, Some(new)) => Change::Added { new: new.clone() },
        (Some(old), None) => Change::Removed { old: old.clone() },
        (Some(old), Some(new)) if old.same_bytes(new) => return None,
        (Some(old), Some(new)) => {
            let (old, new) = (old.clone(), new.clone());
            match version::compare(&old.version, &new.version) {
                Ordering::Less => Change::Upgraded { old, new },
                Ordering::Greater => Change::Downgraded { old, new },
                Ordering::Equal => Change::Replaced { old, new },
            }
        }
    })
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return writeln!(f, "no package changed");
        }
        let rows = self.changes.iter().map(|change| {
            let (word, old, new) = change.sides();
            let name = old.or(new).map_or("", |p| &p.name);
            let version = match (old, new) {
                (Some(old), Some(new)) => format!("{} → {}", old.version, new.version),
                (old, new) => old.or(new).map_or_else(String::new, |p| p.version.clone()),
            };
            let size = match (old, new) {
                (Some(old), Some(new)) if old.size != new.size => {
                    format!("{} → {}", human_size(old.size), human_size(new.size))
                }
                (old, new) => new.or(old).map_or_else(String::new, |p| human_size(p.size)),
            };
            vec![word.to_owned(), name.to_owned(), version, size]
        });
        f.write_str(&columns(rows.collect()))?;
        writeln!(
            f,
            "{} of packages, before {}",
            human_size(self.size_after),
            human_size(self.size_before)
        )
    }
}

impl fmt::Display for Lock {
    /// The set as a table with sizes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.packages.iter().map(|p| {
            let origin = if p.suite.is_empty() {
                "local"
            } else {
                &p.suite
            };
            vec![
                p.name.clone(),
                p.version.clone(),
                origin.to_owned(),
                human_size(p.size),
            ]
        });
        f.write_str(&columns(rows.collect()))?;
        let total = self.packages.iter().map(|p| p.size).sum();
        writeln!(f, "{} packages, {}", self.packages.len(), human_size(total))
    }
}
