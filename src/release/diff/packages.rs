//! Changes of packages, grouped by their source.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SizeChange;
use crate::release::facts::Package;
use crate::resolve::version;

/// What came, went and changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PackageChanges {
    /// New ones.
    pub added: Vec<PackageName>,
    /// Those that are gone.
    pub removed: Vec<PackageName>,
    /// With a higher version.
    pub upgraded: Vec<PackageChange>,
    /// With a lower version.
    pub downgraded: Vec<PackageChange>,
    /// Whose files take noticeably more or less space, the largest difference first. Packages that
    /// came or went are not among them.
    pub resized: Vec<SizeChange>,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageName {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Bytes of its files in the image.
    pub bytes: u64,
}

/// Packages of one source that went from one version to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageChange {
    /// The source, or the package where it has none that is known.
    pub source: String,
    /// Version before.
    pub from: String,
    /// Version now.
    pub to: String,
    /// The packages.
    pub packages: Vec<String>,
}

/// Differences below this are noise of compilers and dates.
const NOTICEABLE: u64 = 128 << 10;

pub(super) fn changes(old: &[Package], new: &[Package]) -> PackageChanges {
    let of = |list: &'_ [Package]| -> BTreeMap<String, Package> {
        list.iter().map(|p| (p.name.clone(), p.clone())).collect()
    };
    let named = |package: &Package| PackageName {
        name: package.name.clone(),
        version: package.version.clone(),
        bytes: package.bytes,
    };
    let (old, new) = (of(old), of(new));
    let mut out = PackageChanges::default();
    let mut groups: BTreeMap<(bool, String, String, String), Vec<String>> = BTreeMap::new();
    for (name, now) in &new {
        let Some(before) = old.get(name) else {
            out.added.push(named(now));
            continue;
        };
        if before.bytes.abs_diff(now.bytes) >= NOTICEABLE {
            out.resized.push(SizeChange {
                what: name.clone(),
                from: before.bytes,
                to: now.bytes,
            });
        }
        if before.version == now.version {
            continue;
        }
        let lower = version::compare(&now.version, &before.version) == Ordering::Less;
        let source = now.source.clone().unwrap_or_else(|| name.clone());
        let key = (lower, source, before.version.clone(), now.version.clone());
        groups.entry(key).or_default().push(name.clone());
    }
    for ((lower, source, from, to), packages) in groups {
        let list = if lower {
            &mut out.downgraded
        } else {
            &mut out.upgraded
        };
        list.push(PackageChange {
            source,
            from,
            to,
            packages,
        });
    }
    let gone = old
        .values()
        .filter(|package| !new.contains_key(&package.name));
    out.removed = gone.map(named).collect();
    out
}
