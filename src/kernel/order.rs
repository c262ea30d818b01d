//! depmod's order: which file wins a name, the numbers of modules, and their dependencies.
//!
//! Modules are numbered by `modules.order`, those that it does not list follow by path. A module
//! depends on the owners of the symbols that it needs. Dependencies are listed users first, by a
//! topological sort that takes the most recently freed module next, as depmod does: the order of
//! lines and of words in `modules.dep` follows from that.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::modules::Module;
use super::names::{module_name, normal_alias};
use super::unpack::plain_path;
use crate::failure::{Failure, Kind};

/// The files that the kernel's build leaves beside the modules; empty where there is none.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `modules.order`.
    pub order: Vec<u8>,
    /// `modules.builtin`.
    pub builtin: Vec<u8>,
    /// `modules.builtin.modinfo`.
    pub builtin_modinfo: Vec<u8>,
}

/// All modules of one kernel, numbered, with their dependencies.
#[derive(Debug, Clone)]
pub struct ModuleIndex {
    pub(super) version: String,
    pub(super) modules: Vec<Module>,
    /// For each module all that it depends on, in depmod's order.
    pub(super) deps: Vec<Vec<usize>>,
    pub(super) by_name: BTreeMap<String, usize>,
    pub(super) by_alias: BTreeMap<String, Vec<usize>>,
    pub(super) builtin: BTreeSet<String>,
    pub(super) builtin_aliases: BTreeSet<String>,
    pub(super) symbols: BTreeMap<String, usize>,
    pub(super) sources: Sources,
}

impl ModuleIndex {
    /// Numbers `modules` and resolves their symbols.
    ///
    /// # Errors
    /// Modules that depend on each other in a circle.
    pub fn new(version: &str, modules: Vec<Module>, sources: Sources) -> Result<Self> {
        let modules = number(one_of_each_name(modules), &sources.order);
        let mut symbols = BTreeMap::new();
        let mut by_name = BTreeMap::new();
        let mut by_alias: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, module) in modules.iter().enumerate() {
            by_name.insert(module.name.clone(), at);
            for symbol in &module.exports {
                symbols.insert(symbol.clone(), at);
            }
            for alias in module
                .aliases
                .iter()
                .filter_map(|alias| normal_alias(alias))
            {
                let users = by_alias.entry(alias).or_default();
                if users.last() != Some(&at) {
                    users.push(at);
                }
            }
        }
        let deps = dependencies(version, &modules, &symbols)?;
        let builtin_aliases = builtin_aliases(&sources.builtin_modinfo)
            .map(|(_, alias)| alias)
            .collect();
        Ok(Self {
            version: version.to_owned(),
            deps,
            by_name,
            by_alias,
            builtin: lines(&sources.builtin)
                .map(|line| module_name(&line))
                .collect(),
            builtin_aliases,
            symbols,
            modules,
            sources,
        })
    }

    /// The kernel's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// All modules, in depmod's order.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// An index over only the modules with these paths, which lie uncompressed: an initrd's.
    ///
    /// # Errors
    /// None that the whole index has not.
    pub fn subset(&self, paths: &[String]) -> Result<Self> {
        let paths: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
        let modules = self
            .modules
            .iter()
            .filter(|module| paths.contains(module.path.as_str()))
            .map(|module| Module {
                path: plain_path(&module.path).to_owned(),
                ..module.clone()
            })
            .collect();
        Self::new(&self.version, modules, self.sources.clone())
    }
}

/// Text lines of a file of ASCII paths; what is not text is left out.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .filter_map(|line| std::str::from_utf8(line).ok().map(str::to_owned))
}

/// `(module, normalised alias)` of `modules.builtin.modinfo`, whose entries are
/// `module.key=value` and a NUL.
pub(super) fn builtin_aliases(modinfo: &[u8]) -> impl Iterator<Item = (String, String)> {
    builtin_values(modinfo, "alias")
        .filter_map(|(module, value)| Some((module.to_owned(), normal_alias(value)?)))
}

/// `(module, value)` of the entries of `modules.builtin.modinfo` with this key.
pub(super) fn builtin_values<'a>(
    modinfo: &'a [u8],
    wanted: &'a str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    modinfo.split(|&byte| byte == 0).filter_map(move |entry| {
        let entry = std::str::from_utf8(entry).ok()?;
        let (module, rest) = entry.split_once('.')?;
        let (key, value) = rest.split_once('=')?;
        (key == wanted && !module.is_empty() && !value.is_empty()).then_some((module, value))
    })
}

/// Where two files have one name, depmod's built-in `search` line decides: `updates` before all
/// else; between equals the first by path stays.
fn one_of_each_name(modules: Vec<Module>) -> Vec<Module> {
    let updates = |module: &Module| module.path.starts_with("updates/");
    let mut kept: BTreeMap<String, Module> = BTreeMap::new();
    for module in modules {
        match kept.get(&module.name) {
            Some(old) if updates(old) || !updates(&module) => {}
            _ => {
                kept.insert(module.name.clone(), module);
            }
        }
    }
    kept.into_values().collect()
}

fn number(mut modules: Vec<Module>, order: &[u8]) -> Vec<Module> {
    let mut position = BTreeMap::new();
    for (at, line) in lines(order).enumerate() {
        position.entry(line).or_insert(at);
    }
    modules.sort_by_cached_key(|module| {
        let place = position.get(plain_path(&module.path)).copied();
        (place.unwrap_or(usize::MAX), module.path.clone())
    });
    modules
}

fn dependencies(
    version: &str,
    modules: &[Module],
    symbols: &BTreeMap<String, usize>,
) -> Result<Vec<Vec<usize>>> {
    let mut direct: Vec<Vec<usize>> = Vec::with_capacity(modules.len());
    let mut users = vec![0_usize; modules.len()];
    for module in modules {
        let mut seen = BTreeSet::new();
        let mut list = Vec::new();
        for name in &module.needs {
            // PowerPC writes functions with a dot in front.
            let name = name.strip_prefix('.').unwrap_or(name);
            if let Some(&owner) = symbols.get(name)
                && seen.insert(owner)
            {
                users[owner] += 1;
                list.push(owner);
            }
        }
        direct.push(list);
    }

    let mut place = vec![0_usize; modules.len()];
    let mut sorted = Vec::with_capacity(modules.len());
    let mut free: Vec<usize> = (0..modules.len()).filter(|&at| users[at] == 0).collect();
    while let Some(at) = free.pop() {
        place[at] = sorted.len();
        sorted.push(at);
        for &dep in &direct[at] {
            users[dep] -= 1;
            if users[dep] == 0 {
                free.push(dep);
            }
        }
    }
    if sorted.len() < modules.len() {
        let circle: Vec<&str> = (0..modules.len())
            .filter(|&at| users[at] > 0)
            .map(|at| modules[at].path.as_str())
            .take(8)
            .collect();
        return Err(Failure::new(
            Kind::Audit,
            format!(
                "modules of kernel {version} depend on each other in a circle: {}",
                circle.join(", ")
            ),
        )
        .hint("a module built apart from this kernel is the usual cause; leave it out")
        .into());
    }

    // Providers come last in `sorted`, so going backwards each dependency's own list is complete.
    let mut all: Vec<BTreeSet<(usize, usize)>> = vec![BTreeSet::new(); modules.len()];
    for &at in sorted.iter().rev() {
        let mut set = BTreeSet::new();
        for &dep in &direct[at] {
            set.insert((place[dep], dep));
            set.extend(all[dep].iter().copied());
        }
        all[at] = set;
    }
    Ok(all
        .into_iter()
        .map(|set| set.into_iter().map(|(_, dep)| dep).collect())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, exports: &[&str], needs: &[&str]) -> Module {
        Module {
            path: path.to_owned(),
            name: module_name(path),
            exports: exports.iter().map(ToString::to_string).collect(),
            needs: needs.iter().map(ToString::to_string).collect(),
            ..Module::default()
        }
    }

    #[test]
    fn modules_are_numbered_by_the_order_file_and_then_by_path() {
        let modules = ["z.ko.xz", "b.ko", "y-x.ko.zst", "a.ko"].map(|p| module(p, &[], &[]));
        let sources = Sources {
            order: b"y-x.ko\nz.ko\ny-x.ko\nnot-here.ko\n".to_vec(),
            ..Sources::default()
        };
        let index = ModuleIndex::new("6", modules.into(), sources).unwrap();
        let paths: Vec<_> = index.modules().iter().map(|m| m.path.as_str()).collect();
        assert_eq!(paths, ["y-x.ko.zst", "z.ko.xz", "a.ko", "b.ko"]);
    }

    #[test]
    fn an_update_takes_the_place_of_the_module_that_came_with_the_kernel() {
        let modules = vec![
            module("kernel/a.ko", &[], &[]),
            module("updates/a.ko", &[], &[]),
        ];
        let index = ModuleIndex::new("6", modules, Sources::default()).unwrap();
        assert_eq!(index.modules()[0].path, "updates/a.ko");
        assert_eq!(index.modules().len(), 1);
    }

    #[test]
    fn dependencies_are_complete_with_users_before_providers() {
        let modules = vec![
            module("a.ko", &[], &["b_fn", "printk"]),
            module("b.ko", &["b_fn"], &[".c_fn"]),
            module("c.ko", &["c_fn"], &[]),
        ];
        let index = ModuleIndex::new("6", modules, Sources::default()).unwrap();
        assert_eq!(index.deps, [vec![1, 2], vec![2], vec![]]);
    }

    #[test]
    fn a_circle_is_an_error_that_names_its_modules() {
        let modules = vec![
            module("a.ko", &["a_fn"], &["b_fn"]),
            module("b.ko", &["b_fn"], &["a_fn"]),
        ];
        let error = ModuleIndex::new("6", modules, Sources::default()).unwrap_err();
        assert!(error.to_string().contains("a.ko, b.ko"), "{error}");
    }
}
