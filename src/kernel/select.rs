//! Which modules stay in `/usr`: what `kernel.modules` names, with its closure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::closure::Missing;
use super::names::{module_name, normal_alias};
use super::order::{ModuleIndex, lines};
use super::sets;
use super::unpack::plain_path;
use crate::tree::TreePath;
use crate::tree::glob::{Glob, GlobError};
use crate::words::glob;

/// The word for every module.
const ALL: &str = "all";

/// An entry of `kernel.modules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// All modules.
    All,
    /// Those of a set.
    Set(&'static sets::Set),
    /// The module of this name, or those of an alias.
    Name(String),
    /// Those whose name matches.
    Names(String),
    /// Those whose file, or a folder above it, matches.
    Path(Glob),
    /// Not these, unless others need them or a later entry names them.
    Not(Box<Self>),
}

/// Why a text is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Paths are relative.
    #[error("a path below /usr/lib/modules/VERSION, such as `kernel/drivers/net/ethernet/**`")]
    Absolute,
    /// A path that is no pattern.
    #[error("a path with wildcards as in `kernel/net/**`; {0}")]
    Glob(GlobError),
    /// Neither a name nor a glob of names.
    #[error(
        "`all`, a set such as `container-host`, a module's name without `.ko`, a glob of names \
         (`nft_*`), or a path (`kernel/net/**`); with `!` in front it goes"
    )]
    Name,
    /// The embedded sets cannot be read.
    #[error("sets that can be read: {0}")]
    Sets(String),
}

impl Entry {
    /// Reads an entry.
    ///
    /// # Errors
    /// A text that is none.
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        if let Some(rest) = text.strip_prefix('!') {
            return match Self::parse(rest)? {
                Self::All | Self::Set(_) | Self::Not(_) => Err(EntryError::Name),
                other => Ok(Self::Not(Box::new(other))),
            };
        }
        if text == ALL {
            return Ok(Self::All);
        }
        let set = sets::named(text).map_err(|error| EntryError::Sets(format!("{error:#}")))?;
        if let Some(set) = set {
            return Ok(Self::Set(set));
        }
        if text.starts_with('/') {
            return Err(EntryError::Absolute);
        }
        if text.contains('/') {
            return Ok(Self::Path(
                Glob::new(&format!("/{text}")).map_err(EntryError::Glob)?,
            ));
        }
        let name = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        let wild = |b: u8| b"*?[]!^".contains(&b);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(|b| name(b) || wild(b)) {
            return Err(EntryError::Name);
        }
        if !text.bytes().any(wild) {
            return Ok(Self::Name(text.to_owned()));
        }
        // Names are written with `_`, and `-` in a class is a range.
        let pattern = normal_alias(text).ok_or(EntryError::Name)?;
        if pattern.chars().all(|c| c == '*') {
            return Err(EntryError::Name);
        }
        Ok(Self::Names(pattern))
    }
}

impl Entry {
    /// Whether it means the module at `path`, which ends in its place below `usr/lib/modules/VERSION`, by
    /// that or by its name. Aliases stand in modules, which are not looked at, and sets name many.
    #[must_use]
    pub fn means(&self, path: &str) -> bool {
        let own = module_name(path);
        match self {
            Self::All => true,
            Self::Set(_) | Self::Not(_) => false,
            Self::Name(name) => module_name(name) == own,
            Self::Names(pattern) => glob::matches(pattern, &own),
            Self::Path(glob) => path
                .find("/kernel/")
                .and_then(|at| path.get(at + 1..))
                .is_some_and(|file| lies_in(glob, file)),
        }
    }
}

/// What an entry found.
#[derive(Debug, Default)]
struct Found {
    modules: Vec<usize>,
    /// Also, or only, something that is part of the kernel itself.
    builtin: bool,
}

/// The modules that stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Their files, relative to `usr/lib/modules/VERSION`, sorted.
    pub modules: Vec<String>,
    /// Entries that mean nothing to this kernel, with their places in the list.
    pub unknown: Vec<(usize, Missing)>,
}

impl ModuleIndex {
    /// The modules that `entries` name and those of the names `also`, with their closure. The last entry
    /// that speaks about a module decides whether it is named; where the first one takes away, that is
    /// from all. An entry of `entries` that means neither a module nor something built in is unknown;
    /// what a set or `also` names need not be there, because they span several kernels.
    #[must_use]
    pub fn select<S: AsRef<str>>(&self, entries: &[Entry], also: &[S]) -> Selection {
        let all = 0..self.modules.len();
        let mut chosen = BTreeSet::new();
        if matches!(entries.first(), Some(Entry::Not(_))) {
            chosen.extend(all.clone());
        }
        let mut unknown = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            let found = match entry {
                Entry::All => {
                    chosen.extend(all.clone());
                    continue;
                }
                Entry::Set(set) => {
                    for text in set.entries() {
                        if let Ok(entry) = Entry::parse(text) {
                            chosen.extend(self.named(&entry).modules);
                        }
                    }
                    continue;
                }
                Entry::Not(entry) => self.named(entry),
                Entry::Name(_) | Entry::Names(_) | Entry::Path(_) => self.named(entry),
            };
            if found.modules.is_empty() && !found.builtin {
                unknown.push((number, self.unknown(entry)));
            }
            if matches!(entry, Entry::Not(_)) {
                for module in found.modules {
                    chosen.remove(&module);
                }
            } else {
                chosen.extend(found.modules);
            }
        }
        for name in also {
            chosen.extend(self.find(name.as_ref()).0);
        }
        let mut modules: Vec<String> = self
            .close(chosen.into_iter().collect())
            .into_iter()
            .map(|at| self.modules[at].path.clone())
            .collect();
        modules.sort_unstable();
        Selection { modules, unknown }
    }

    fn unknown(&self, entry: &Entry) -> Missing {
        match entry {
            Entry::Name(name) => {
                let sets = sets::all().unwrap_or_default();
                self.missing(name, sets.iter().map(|set| set.name.as_str()))
            }
            Entry::Not(entry) => self.unknown(entry),
            // A pattern is like no name.
            _ => Missing::default(),
        }
    }

    fn named(&self, entry: &Entry) -> Found {
        match entry {
            Entry::All | Entry::Set(_) | Entry::Not(_) => Found::default(),
            Entry::Name(name) => {
                let (modules, builtin) = self.find(name);
                Found { modules, builtin }
            }
            Entry::Names(pattern) => Found {
                modules: self
                    .by_name
                    .iter()
                    .filter(|(name, _)| glob::matches(pattern, name))
                    .map(|(_, &at)| at)
                    .collect(),
                builtin: self.builtin.iter().any(|name| glob::matches(pattern, name)),
            },
            Entry::Path(glob) => Found {
                modules: (0..self.modules.len())
                    .filter(|&at| lies_in(glob, &self.modules[at].path))
                    .collect(),
                builtin: lines(&self.sources.builtin).any(|path| lies_in(glob, &path)),
            },
        }
    }
}

/// Whether a module's file, with or without its suffixes, or a folder above it matches.
fn lies_in(glob: &Glob, file: &str) -> bool {
    let plain = plain_path(file);
    let stem = plain.strip_suffix(".ko").unwrap_or(plain);
    [file, plain, stem].iter().any(|path| {
        let Ok(path) = TreePath::parse(path) else {
            return false;
        };
        let components: Vec<&[u8]> = path.components().collect();
        (1..=components.len())
            .any(|end| glob.matches_components(components.get(..end).unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Module, Sources};

    fn index() -> ModuleIndex {
        let module = |path: &str, exports: &[&str], needs: &[&str]| Module {
            path: path.to_owned(),
            name: module_name(path),
            exports: exports.iter().map(ToString::to_string).collect(),
            needs: needs.iter().map(ToString::to_string).collect(),
            ..Module::default()
        };
        let modules = vec![
            module("kernel/drivers/net/virtio_net.ko.xz", &[], &["failover"]),
            module("kernel/net/core/failover.ko.xz", &["failover"], &[]),
            module("kernel/net/nft/nft-ct.ko.xz", &[], &["nf"]),
            module("kernel/net/nft/nft_nat.ko.xz", &[], &["nf"]),
            module("kernel/net/nf.ko.xz", &["nf"], &[]),
            Module {
                softdeps: vec!["pre: nft_nat".into()],
                aliases: vec!["fs-x".into()],
                ..module("kernel/fs/x/x.ko.xz", &[], &[])
            },
        ];
        let sources = Sources {
            builtin: b"kernel/drivers/nvme/host/nvme-core.ko\n".to_vec(),
            ..Sources::default()
        };
        ModuleIndex::new("6.12", modules, sources).unwrap()
    }

    fn selected(texts: &[&str], also: &[&str]) -> (String, Vec<(usize, Missing)>) {
        let entries: Vec<_> = texts.iter().map(|t| Entry::parse(t).unwrap()).collect();
        let selection = index().select(&entries, also);
        let names: Vec<_> = selection.modules.iter().map(|p| module_name(p)).collect();
        (names.join(" "), selection.unknown)
    }

    #[test]
    fn entries_mean_modules_with_all_that_they_need() {
        for (entries, also, names) in [
            (&["virtio-net"][..], &[][..], "virtio_net failover"),
            (&["nft-*"], &[], "nf nft_ct nft_nat"),
            (&["nft_[bc]t"], &[], "nf nft_ct"),
            (&["kernel/net/nft/**"], &[], "nf nft_ct nft_nat"),
            (&["kernel/net/nft"], &[], "nf nft_ct nft_nat"),
            (&["kernel/**/nft_nat"], &[], "nf nft_nat"),
            (&["kernel/**/nft_nat.ko"], &[], "nf nft_nat"),
            // Softly needed ones, by an alias.
            (&["fs-x"], &[], "x nf nft_nat"),
            // What is built in is there already.
            (&["nvme_core", "nvme*", "kernel/drivers/nvme/**"], &[], ""),
            (&["failover"], &["nf", "not-here"], "failover nf"),
            // What is taken away stays where something needs it, and the last word decides.
            (&["nft_*", "!nft_nat", "!nf"], &[], "nf nft_ct"),
            (&["nft_*", "!nft_nat", "fs-x"], &[], "x nf nft_ct nft_nat"),
            (
                &["kernel/net/**", "!nft_*", "nft_ct"],
                &[],
                "failover nf nft_ct",
            ),
            (&["!kernel/net/**", "!x"], &[], "virtio_net failover"),
            (&["nft_ct", "!nft_ct"], &["nft_nat"], "nf nft_nat"),
        ] {
            let (found, unknown) = selected(entries, also);
            assert_eq!((found.as_str(), unknown), (names, vec![]), "{entries:?}");
        }
        assert_eq!(selected(&["all"], &[]).0.split(' ').count(), 6);
    }

    #[test]
    fn what_means_nothing_is_unknown_with_its_neighbours() {
        let (found, unknown) = selected(
            &[
                "failover",
                "virtio_nte",
                "kernel/fs/y/**",
                "zz*",
                "contaner-host",
            ],
            &[],
        );
        assert_eq!(found, "failover");
        let shown: Vec<_> = unknown
            .iter()
            .map(|(at, missing)| (*at, missing.nearest.join(" ")))
            .collect();
        assert_eq!(
            shown,
            [
                (1, "virtio_net".to_owned()),
                (2, String::new()),
                (3, String::new()),
                (4, "container-host".to_owned())
            ]
        );
    }

    #[test]
    fn entries_tell_whether_they_mean_a_file() {
        let path = "/usr/lib/modules/6.12/kernel/fs/nfs/nfs-v4.ko.xz";
        for (entry, means) in [
            ("nfs_v4", true),
            ("nfs*", true),
            ("kernel/fs/nfs/**", true),
            ("kernel/fs/nf", false),
            ("nfs", false),
        ] {
            assert_eq!(Entry::parse(entry).unwrap().means(path), means, "{entry}");
        }
    }

    #[test]
    fn texts_that_are_no_entries_are_refused() {
        for (text, error) in [
            ("/usr/lib/modules", EntryError::Absolute),
            ("kernel/a**", EntryError::Glob(GlobError::DoubleStar)),
            ("a.ko", EntryError::Name),
            ("a[b", EntryError::Name),
            ("", EntryError::Name),
            ("*", EntryError::Name),
            ("a b", EntryError::Name),
            ("!all", EntryError::Name),
            ("!!a", EntryError::Name),
        ] {
            assert_eq!(Entry::parse(text), Err(error), "{text}");
        }
    }
}
