//! What changed from one release to the next.
//!
//! `text` tells it to people; as JSON it is complete, and an empty list or absent key means that
//! nothing changed there.

mod files;
mod packages;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::facts::{Facts, Partition, Privileged, Summary, Unit};
use crate::arch::Arch;
use crate::digest::Sha256;

pub use files::{FileChanges, Permissions};
pub use packages::{PackageChange, PackageChanges, PackageName};

/// Version of this format.
const VERSION: u32 = 1;

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Version of this format: 1.
    pub diff: u32,
    /// `os.id`.
    pub id: String,
    /// Architecture.
    pub arch: Arch,
    /// The older release.
    pub from: Release,
    /// The newer one.
    pub to: Release,
    /// Packages.
    pub packages: PackageChanges,
    /// Bytes, by what they are of.
    pub sizes: Vec<SizeChange>,
    /// Kernel version and options.
    pub kernel: KernelChanges,
    /// Words of the command line, but the root hash's.
    pub cmdline: WordChanges,
    /// Units of PID 1.
    pub units: UnitChanges,
    /// Users, by name: numbers are user IDs.
    pub users: AccountChanges,
    /// Groups, by name.
    pub groups: AccountChanges,
    /// Files with setuid or setgid bit or capabilities.
    pub privileged: PrivilegedChanges,
    /// Partitions of new disks.
    pub layout: Vec<PartitionChange>,
    /// Files of `/usr`.
    pub files: FileChanges,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// `os.version`.
    pub version: String,
    /// Time of everything in it, seconds since the epoch.
    pub stamp: u64,
    /// Root hash of `/usr`.
    pub root_hash: Sha256,
}

/// A number of bytes that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeChange {
    /// Of what.
    pub what: String,
    /// Before.
    pub from: u64,
    /// Now.
    pub to: u64,
}

/// Changes of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KernelChanges {
    /// Version before and now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<(String, String)>,
    /// Options by name, without `CONFIG_`, before and now; absent is `n`.
    pub options: BTreeMap<String, (Option<String>, Option<String>)>,
}

/// Words that came and went, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WordChanges {
    /// Only in the newer one.
    pub added: Vec<String>,
    /// Only in the older one.
    pub removed: Vec<String>,
}

/// Names of units.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnitChanges {
    /// New and enabled.
    pub added_enabled: Vec<String>,
    /// New, not enabled.
    pub added: Vec<String>,
    /// Gone.
    pub removed: Vec<String>,
    /// Enabled from now on.
    pub enabled: Vec<String>,
    /// Not enabled any more.
    pub disabled: Vec<String>,
    /// Masked from now on.
    pub masked: Vec<String>,
    /// Not masked any more.
    pub unmasked: Vec<String>,
    /// With another content.
    pub changed: Vec<String>,
}

/// Changes of users or groups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AccountChanges {
    /// New ones with their numbers.
    pub added: BTreeMap<String, u32>,
    /// Those that are gone, with the numbers they had.
    pub removed: BTreeMap<String, u32>,
    /// Those with another number than before: files on nodes' disks have the old one.
    pub moved: BTreeMap<String, (u32, u32)>,
    /// What else changed, in words.
    pub changed: BTreeMap<String, Vec<String>>,
}

/// Changes of privileged files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PrivilegedChanges {
    /// New ones.
    pub added: Vec<Privileged>,
    /// Those that are gone, or without privilege now.
    pub removed: Vec<Privileged>,
    /// Those with other rights, before and now.
    pub changed: Vec<(Privileged, Privileged)>,
}

/// A partition that is elsewhere, or of another size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionChange {
    /// What it is for; `disk` for the whole.
    pub role: String,
    /// Offset and size before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<(u64, u64)>,
    /// Offset and size now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<(u64, u64)>,
}

/// What changed from `old` to `new`.
#[must_use]
pub fn diff(old: &Facts, new: &Facts) -> Diff {
    let (a, b) = (&old.summary, &new.summary);
    Diff {
        diff: VERSION,
        id: b.id.clone(),
        arch: b.arch,
        from: release(a),
        to: release(b),
        packages: packages::changes(&a.packages, &b.packages),
        sizes: sizes(a, b),
        kernel: kernel(old, new),
        cmdline: cmdline(&a.cmdline, &b.cmdline),
        units: units(&a.units, &b.units),
        users: users(a, b),
        groups: groups(a, b),
        privileged: privileged(&a.privileged, &b.privileged),
        layout: layout(a, b),
        files: files::changes(old, new),
    }
}

fn release(summary: &Summary) -> Release {
    Release {
        version: summary.version.clone(),
        stamp: summary.stamp,
        root_hash: summary.root_hash,
    }
}

fn sizes(a: &Summary, b: &Summary) -> Vec<SizeChange> {
    let of = |summary: &Summary| {
        let sizes = summary.sizes;
        [
            ("usr", sizes.usr),
            ("usr-verity", sizes.verity),
            ("uki", sizes.uki),
            ("kernel", sizes.kernel),
            ("initrd", sizes.initrd),
            ("files", sizes.files),
        ]
    };
    of(a)
        .into_iter()
        .zip(of(b))
        .filter(|((_, from), (_, to))| from != to)
        .map(|((what, from), (_, to))| SizeChange {
            what: what.into(),
            from,
            to,
        })
        .collect()
}

fn kernel(old: &Facts, new: &Facts) -> KernelChanges {
    let version = |facts: &Facts| facts.summary.kernel.clone();
    let (before, now) = (old.kernel_options(), new.kernel_options());
    let mut options = BTreeMap::new();
    // Where only one of two kernels tells its options, all of them would seem to come or go.
    if old.kernel_config.is_some() && new.kernel_config.is_some() {
        for name in before.keys().chain(now.keys()) {
            let value = |of: &BTreeMap<&str, &str>| of.get(name).map(|value| (*value).to_owned());
            let (from, to) = (value(&before), value(&now));
            if from != to {
                options.insert((*name).to_owned(), (from, to));
            }
        }
    }
    KernelChanges {
        version: Some((version(old), version(new))).filter(|(from, to)| from != to),
        options,
    }
}

fn cmdline(old: &str, new: &str) -> WordChanges {
    // It differs with every build, and stands at the head of the diff.
    let of = |line| -> Vec<&str> {
        let words = crate::profile::cmdline::split(line).into_iter();
        words.filter(|word| !word.starts_with("usrhash=")).collect()
    };
    let (old, new) = (of(old), of(new));
    // A word may stand there more than once (`console=`), so each one stands against one only.
    let without = |words: &[&str], others: &[&str]| {
        let mut others = others.to_vec();
        let mut out = Vec::new();
        for word in words {
            match others.iter().position(|other| other == word) {
                Some(at) => {
                    others.remove(at);
                }
                None => out.push((*word).to_owned()),
            }
        }
        out
    };
    WordChanges {
        added: without(&new, &old),
        removed: without(&old, &new),
    }
}

fn units(old: &[Unit], new: &[Unit]) -> UnitChanges {
    let of = |units: &[Unit]| -> BTreeMap<String, Unit> {
        let pairs = units.iter().map(|unit| (unit.name.clone(), unit.clone()));
        pairs.collect()
    };
    let (old, new) = (of(old), of(new));
    let mut out = UnitChanges::default();
    for (name, unit) in &new {
        let mut put = |list: fn(&mut UnitChanges) -> &mut Vec<String>| {
            list(&mut out).push(name.clone());
        };
        match old.get(name) {
            None if unit.enabled => put(|out| &mut out.added_enabled),
            None => put(|out| &mut out.added),
            Some(before) => {
                match (before.enabled, unit.enabled) {
                    (false, true) => put(|out| &mut out.enabled),
                    (true, false) => put(|out| &mut out.disabled),
                    _ => {}
                }
                match (before.masked, unit.masked) {
                    (false, true) => put(|out| &mut out.masked),
                    (true, false) => put(|out| &mut out.unmasked),
                    _ if before.sha256 != unit.sha256 => put(|out| &mut out.changed),
                    _ => {}
                }
            }
        }
    }
    let gone = old.into_keys().filter(|name| !new.contains_key(name));
    out.removed = gone.collect();
    out
}

/// Changes of a map of accounts, whose numbers are `number`; `details` tells what else differs.
fn accounts<T>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    number: impl Fn(&T) -> u32,
    details: impl Fn(&T, &T) -> Vec<String>,
) -> AccountChanges {
    let mut out = AccountChanges::default();
    for (name, account) in new {
        let Some(before) = old.get(name) else {
            out.added.insert(name.clone(), number(account));
            continue;
        };
        if number(before) != number(account) {
            let numbers = (number(before), number(account));
            out.moved.insert(name.clone(), numbers);
        }
        let details = details(before, account);
        if !details.is_empty() {
            out.changed.insert(name.clone(), details);
        }
    }
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    out.removed = gone
        .map(|(name, account)| (name.clone(), number(account)))
        .collect();
    out
}

fn users(a: &Summary, b: &Summary) -> AccountChanges {
    let (old, new) = (&a.accounts.users, &b.accounts.users);
    accounts(
        old,
        new,
        |user| user.uid,
        |from, to| {
            let mut out = Vec::new();
            if from.gid != to.gid {
                out.push(format!("primary group {} → {}", from.gid, to.gid));
            }
            if from.home != to.home {
                out.push(format!("home {} → {}", from.home, to.home));
            }
            if from.shell != to.shell {
                out.push(format!("shell {} → {}", from.shell, to.shell));
            }
            out
        },
    )
}

fn groups(a: &Summary, b: &Summary) -> AccountChanges {
    let (old, new) = (&a.accounts.groups, &b.accounts.groups);
    accounts(
        old,
        new,
        |group| group.gid,
        |from, to| {
            let missing = |of: &BTreeSet<String>, other: &BTreeSet<String>, sign: char| {
                let names = of.difference(other);
                names
                    .map(|name| format!("{sign}{name}"))
                    .collect::<Vec<_>>()
            };
            let mut out = missing(&to.members, &from.members, '+');
            out.extend(missing(&from.members, &to.members, '-'));
            out
        },
    )
}

fn privileged(old: &[Privileged], new: &[Privileged]) -> PrivilegedChanges {
    let find = |list: &[Privileged], path: &str| list.iter().find(|p| p.path == path).cloned();
    let mut out = PrivilegedChanges::default();
    for now in new {
        match find(old, &now.path) {
            None => out.added.push(now.clone()),
            Some(before) => {
                let rights =
                    |p: &Privileged| (p.mode.clone(), p.owner.clone(), p.capabilities.clone());
                if rights(&before) != rights(now) {
                    out.changed.push((before, now.clone()));
                }
            }
        }
    }
    let gone = old.iter().filter(|p| find(new, &p.path).is_none());
    out.removed = gone.cloned().collect();
    out
}

fn layout(a: &Summary, b: &Summary) -> Vec<PartitionChange> {
    let of = |summary: &Summary| -> Vec<Partition> {
        let mut out = vec![Partition {
            role: "disk".into(),
            offset: 0,
            size: summary.disk,
        }];
        out.extend(summary.layout.iter().cloned());
        out
    };
    let (old, new) = (of(a), of(b));
    let find = |list: &[Partition], role: &str| {
        let found = list.iter().find(|partition| partition.role == role);
        found.map(|partition| (partition.offset, partition.size))
    };
    let mut roles: Vec<&str> = new
        .iter()
        .map(|partition| partition.role.as_str())
        .collect();
    for partition in &old {
        if !roles.contains(&partition.role.as_str()) {
            roles.push(&partition.role);
        }
    }
    roles
        .into_iter()
        .map(|role| PartitionChange {
            role: role.to_owned(),
            from: find(&old, role),
            to: find(&new, role),
        })
        .filter(|change| change.from != change.to)
        .collect()
}

impl Diff {
    /// Whether an update leaves files on a node's disk with somebody else as their owner.
    #[must_use]
    pub fn moves_ids(&self) -> bool {
        !self.users.moved.is_empty() || !self.groups.moved.is_empty()
    }
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
