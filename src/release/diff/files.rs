//! Changes of files. All of them are in the releases' `files.txt`; here are their numbers, and those
//! that somebody may have to act upon.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::release::facts::{Entry, EntryKind, Facts, files};

const MODULES: &str = "/usr/lib/modules/";
const FACTORY: &str = "/usr/share/factory/etc/";
const PROGRAMS: [&str; 3] = ["/usr/bin/", "/usr/sbin/", "/usr/local/bin/"];

/// Changes of the files of `/usr`. Directories count only in `permissions`. Files of a kernel's
/// folder are told apart by their path in it, so that a new kernel version does not seem to replace
/// each of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileChanges {
    /// How many are new.
    pub added: u64,
    /// How many are gone.
    pub removed: u64,
    /// How many have other content, type, owner, mode or attributes.
    pub changed: u64,
    /// New programs in the search path.
    pub programs_added: Vec<String>,
    /// Programs of the search path that are gone.
    pub programs_removed: Vec<String>,
    /// Defaults of `/etc` that are new.
    pub etc_added: Vec<String>,
    /// Defaults of `/etc` that are gone.
    pub etc_removed: Vec<String>,
    /// Defaults of `/etc` that are others now; what a node has changed itself stays as it is there.
    pub etc_changed: Vec<String>,
    /// Kernel modules that are new, by name.
    pub modules_added: Vec<String>,
    /// Kernel modules that are gone.
    pub modules_removed: Vec<String>,
    /// Files of the profile's overlay that are new, gone or changed, but defaults of `/etc`.
    pub profile: Vec<String>,
    /// What has another type, owner or mode.
    pub permissions: Vec<Permissions>,
}

/// A path whose type, owner or mode changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// The path.
    pub path: String,
    /// Type, mode and owner before, as in `files.txt`.
    pub from: String,
    /// Type, mode and owner now.
    pub to: String,
}

/// Entries under names that do not change with the kernel's version.
fn by_name(facts: &Facts) -> BTreeMap<String, &Entry> {
    let modules = format!("{MODULES}{}/", facts.summary.kernel);
    facts
        .files
        .iter()
        .map(|entry| match entry.path.strip_prefix(&modules) {
            Some(rest) => (format!("{MODULES}*/{rest}"), entry),
            None => (entry.path.clone(), entry),
        })
        .collect()
}

/// The name of a kernel module, if `path` is of one.
fn module(path: &str) -> Option<&str> {
    let name = path.strip_prefix(MODULES)?.rsplit('/').next()?;
    [".ko", ".ko.xz", ".ko.zst", ".ko.gz"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
}

fn letter(kind: &EntryKind) -> char {
    match kind {
        EntryKind::Dir => 'd',
        EntryKind::File { .. } => 'f',
        EntryKind::Symlink(_) => 'l',
        EntryKind::Fifo => 'p',
        EntryKind::CharDevice(..) => 'c',
        EntryKind::BlockDevice(..) => 'b',
    }
}

fn permissions(entry: &Entry) -> String {
    let Entry {
        kind,
        mode,
        uid,
        gid,
        ..
    } = entry;
    format!("{} {mode:04o} {uid}:{gid}", letter(kind))
}

/// Whether two entries hold the same; a further name of an inode is as good as a file of its own.
fn same(a: &Entry, b: &Entry) -> bool {
    let content = match (&a.kind, &b.kind) {
        (EntryKind::File { sha256: a, .. }, EntryKind::File { sha256: b, .. }) => a == b,
        (a, b) => a == b,
    };
    content && permissions(a) == permissions(b) && a.xattrs == b.xattrs
}

enum Change {
    Added,
    Removed,
    Changed,
}

pub(super) fn changes(old: &Facts, new: &Facts) -> FileChanges {
    let (before, now) = (by_name(old), by_name(new));
    let mut out = FileChanges::default();
    let (mut modules_before, mut modules_now) = (BTreeSet::new(), BTreeSet::new());
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    for name in names {
        let (a, b) = (before.get(name), now.get(name));
        // Modules move between folders from one kernel to the next; their names count.
        if let Some(module) = module(name) {
            if a.is_some() {
                modules_before.insert(module.to_owned());
            }
            if b.is_some() {
                modules_now.insert(module.to_owned());
            }
        }
        let (change, entry) = match (a, b) {
            (Some(a), Some(b)) => {
                let (from, to) = (permissions(a), permissions(b));
                if from != to {
                    let path = b.path.clone();
                    out.permissions.push(Permissions { path, from, to });
                }
                if same(a, b) {
                    continue;
                }
                (Change::Changed, b)
            }
            (None, Some(b)) => (Change::Added, b),
            (Some(a), None) => (Change::Removed, a),
            (None, None) => continue,
        };
        let both_dirs = a.into_iter().chain(b).all(|e| e.kind == EntryKind::Dir);
        if !both_dirs {
            out.count(&change);
            out.note(&change, entry);
        }
    }
    let difference =
        |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect();
    out.modules_added = difference(&modules_now, &modules_before);
    out.modules_removed = difference(&modules_before, &modules_now);
    out
}

impl FileChanges {
    fn count(&mut self, change: &Change) {
        *match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Changed => &mut self.changed,
        } += 1;
    }

    /// Lists what is worth a line of its own.
    fn note(&mut self, change: &Change, entry: &Entry) {
        let path = entry.path.as_str();
        if let Some(rest) = path.strip_prefix(FACTORY) {
            let list = match change {
                Change::Added => &mut self.etc_added,
                Change::Removed => &mut self.etc_removed,
                Change::Changed => &mut self.etc_changed,
            };
            list.push(format!("/etc/{rest}"));
            return;
        }
        if entry.from == files::PROFILE {
            self.profile.push(path.to_owned());
        }
        if PROGRAMS.iter().any(|folder| path.starts_with(folder)) {
            match change {
                Change::Added => self.programs_added.push(path.to_owned()),
                Change::Removed => self.programs_removed.push(path.to_owned()),
                Change::Changed => {}
            }
        }
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
