//! Which modules stay in `/usr`: what `kernel.modules` names, with its closure.

use serde::{Deserialize, Serialize};

use super::closure::Missing;
use super::names::normal_alias;
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
         (`nft_*`), or a path (`kernel/net/**`)"
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
        let wild = |b: u8| b"*?[]!".contains(&b);
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
    /// The modules that `entries` name and those of the names `also`, with their closure. An entry of
    /// `entries` that means neither a module nor something built in is unknown; what a set or `also`
    /// names need not be there, because they span several kernels.
    #[must_use]
    pub fn select<S: AsRef<str>>(&self, entries: &[Entry], also: &[S]) -> Selection {
        let mut todo = Vec::new();
        let mut unknown = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            let found = match entry {
                Entry::All => {
                    todo.extend(0..self.modules.len());
                    continue;
                }
                Entry::Set(set) => {
                    for text in set.entries() {
                        if let Ok(entry) = Entry::parse(text) {
                            todo.extend(self.named(&entry).modules);
                        }
                    }
                    continue;
                }
                Entry::Name(_) | Entry::Names(_) | Entry::Path(_) => self.named(entry),
            };
            if found.modules.is_empty() && !found.builtin {
                let sets = sets::all().unwrap_or_default();
                let sets = sets.iter().map(|set| set.name.as_str());
                let missing = match entry {
                    Entry::Name(name) => self.missing(name, sets),
                    // A pattern is like no name.
                    _ => Missing::default(),
                };
                unknown.push((number, missing));
            }
            todo.extend(found.modules);
        }
        for name in also {
            todo.extend(self.find(name.as_ref()).0);
        }
        let mut modules: Vec<String> = self
            .close(todo)
            .into_iter()
            .map(|at| self.modules[at].path.clone())
            .collect();
        modules.sort_unstable();
        Selection { modules, unknown }
    }

    fn named(&self, entry: &Entry) -> Found {
        match entry {
            Entry::All | Entry::Set(_) => Found::default(),
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
    use crate::kernel::names::module_name;
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
    fn texts_that_are_no_entries_are_refused() {
        for (text, error) in [
            ("/usr/lib/modules", EntryError::Absolute),
            ("kernel/a**", EntryError::Glob(GlobError::DoubleStar)),
            ("a.ko", EntryError::Name),
            ("a[b", EntryError::Name),
            ("", EntryError::Name),
            ("*", EntryError::Name),
            ("a b", EntryError::Name),
        ] {
            assert_eq!(Entry::parse(text), Err(error), "{text}");
        }
    }
}
