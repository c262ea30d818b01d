//! What a list of module names drags in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::names::{module_name, normal_alias};
use super::order::ModuleIndex;
use crate::words::nearest_few;

/// The answer to a list of module names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Closure {
    /// Files of modules, relative to `usr/lib/modules/VERSION`, sorted.
    pub modules: Vec<String>,
    /// Names that are part of the kernel itself, as asked for.
    pub builtin: Vec<String>,
    /// Names that this kernel does not have. Lists of a profile span several kernels, so it is the
    /// caller who judges.
    pub missing: Vec<Missing>,
}

/// A name that this kernel does not have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Missing {
    /// The name, as asked for.
    pub name: String,
    /// Names that it has and that look alike, nearest first.
    pub nearest: Vec<String>,
}

impl ModuleIndex {
    /// The modules named, all that they depend on, and what these ask for softly or weakly as far
    /// as this kernel has it. `-` and `_` are equal; an alias without wildcards works as a name.
    #[must_use]
    pub fn closure<S: AsRef<str>>(&self, names: &[S]) -> Closure {
        let mut out = Closure::default();
        let mut todo = Vec::new();
        for name in names.iter().map(AsRef::as_ref) {
            let (found, builtin) = self.find(name);
            if builtin {
                out.builtin.push(name.to_owned());
            } else if found.is_empty() {
                out.missing.push(self.missing(name, []));
            }
            todo.extend(found);
        }
        let taken = self.close(todo);
        out.modules = taken
            .iter()
            .map(|&at| self.modules[at].path.clone())
            .collect();
        out.modules.sort_unstable();
        out
    }

    /// A name that means nothing here, with those of modules and of `others` that may be meant.
    pub(super) fn missing<'a>(
        &'a self,
        name: &str,
        others: impl IntoIterator<Item = &'a str>,
    ) -> Missing {
        let known = self.by_name.keys().chain(&self.builtin).map(String::as_str);
        let known: BTreeSet<&str> = known.chain(others).collect();
        Missing {
            name: name.to_owned(),
            nearest: nearest_few(&module_name(name), known, 3)
                .into_iter()
                .map(str::to_owned)
                .collect(),
        }
    }

    /// The modules `todo`, all that they depend on, and what these ask for softly or weakly as far as
    /// this kernel has it.
    pub(super) fn close(&self, mut todo: Vec<usize>) -> BTreeSet<usize> {
        let mut taken = BTreeSet::new();
        while let Some(at) = todo.pop() {
            if !taken.insert(at) {
                continue;
            }
            todo.extend_from_slice(&self.deps[at]);
            let module = &self.modules[at];
            let soft = module.softdeps.iter().flat_map(|line| soft_names(line));
            let weak = module
                .weakdeps
                .iter()
                .flat_map(|line| line.split_ascii_whitespace());
            for name in soft.chain(weak) {
                todo.extend(self.find(name).0);
            }
        }
        taken
    }

    /// The modules that `name` means, and whether it means something built in. A module's own name
    /// comes first, as in modprobe; an alias may stand for several modules and for built-in ones.
    pub(super) fn find(&self, name: &str) -> (Vec<usize>, bool) {
        let Some(name) = normal_alias(name) else {
            return (Vec::new(), false);
        };
        if let Some(&at) = self.by_name.get(&name) {
            return (vec![at], false);
        }
        if self.builtin.contains(&name) {
            return (Vec::new(), true);
        }
        let modules = self.by_alias.get(&name).cloned().unwrap_or_default();
        (modules, self.builtin_aliases.contains(&name))
    }
}

/// The names of a `softdep` line: those behind `pre:` or `post:`; kmod ignores others.
pub(super) fn soft_names(line: &str) -> impl Iterator<Item = &str> {
    line.split_ascii_whitespace()
        .skip_while(|word| !is_mode(word))
        .filter(|word| !is_mode(word))
}

fn is_mode(word: &str) -> bool {
    word == "pre:" || word == "post:"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Module, Sources};

    fn index() -> ModuleIndex {
        let module = |path: &str| Module {
            path: path.to_owned(),
            name: module_name(path),
            ..Module::default()
        };
        let modules = vec![
            Module {
                softdeps: vec!["pre: crypto-crc32c not-here post: late".into()],
                needs: vec!["lib_fn".into()],
                ..module("kernel/fs/disk-fs.ko.xz")
            },
            Module {
                exports: vec!["lib_fn".into()],
                ..module("kernel/lib/libfs.ko.xz")
            },
            Module {
                aliases: vec!["crypto-crc32c".into()],
                ..module("kernel/crypto/crc32c_generic.ko.xz")
            },
            Module {
                weakdeps: vec!["libfs".into()],
                ..module("kernel/late.ko.xz")
            },
        ];
        let sources = Sources {
            builtin: b"kernel/drivers/nvme/host/nvme-core.ko\n".to_vec(),
            builtin_modinfo: b"sha2.alias=crypto-sha256\0sha2.license=GPL\0".to_vec(),
            ..Sources::default()
        };
        ModuleIndex::new("6.12", modules, sources).unwrap()
    }

    #[test]
    fn a_name_drags_in_hard_soft_and_weak_dependencies() {
        let closure = index().closure(&["disk_fs", "nvme-core", "crypto-sha256"]);
        assert_eq!(
            closure.modules,
            [
                "kernel/crypto/crc32c_generic.ko.xz",
                "kernel/fs/disk-fs.ko.xz",
                "kernel/late.ko.xz",
                "kernel/lib/libfs.ko.xz",
            ]
        );
        assert_eq!(closure.builtin, ["nvme-core", "crypto-sha256"]);
        assert_eq!(closure.missing, []);
    }

    #[test]
    fn an_unknown_name_is_reported_with_its_neighbours() {
        let closure = index().closure(&["disk-f", "nvme_cor"]);
        let shown: Vec<_> = closure
            .missing
            .iter()
            .map(|m| (m.name.as_str(), m.nearest.join(",")))
            .collect();
        assert_eq!(
            shown,
            [
                ("disk-f", "disk_fs".to_owned()),
                ("nvme_cor", "nvme_core".to_owned())
            ]
        );
    }

    #[test]
    fn words_of_a_softdep_line_count_behind_pre_and_post_only() {
        for (line, wanted) in [
            ("pre: a b post: c", vec!["a", "b", "c"]),
            ("gcm", vec![]),
            ("x pre:  y", vec!["y"]),
            ("", vec![]),
        ] {
            assert_eq!(soft_names(line).collect::<Vec<_>>(), wanted, "{line}");
        }
    }
}
