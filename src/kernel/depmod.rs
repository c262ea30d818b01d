//! Writes what `depmod` writes, byte for byte as kmod 34 does.
//!
//! Text files and their `.bin` twins hold the same; at run time kmod reads the `.bin` files, people
//! and other tools the text.

use std::fmt::Write;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use blake3::Hash;
use serde::{Deserialize, Serialize};

use super::index::Builder;
use super::modules::{Module, directory, scan};
use super::names::{module_name, normal_alias, symbol_order};
use super::needs::{CutOff, Needs};
use super::order::{ModuleIndex, Sources, builtin_aliases, lines};
use crate::store::{Memo, remember};
use crate::tree::{Kind, Meta, Node, Origin, Tree, fingerprint};

/// The origin of the files that are made here.
const OWN: &str = "depmod";

/// The modules of an image whose indices are written. What they say of themselves is read where
/// somebody asks, and not where all answers are kept.
#[derive(Debug)]
pub struct Modules {
    version: String,
    key: Hash,
    index: OnceLock<ModuleIndex>,
}

impl Modules {
    /// The kernel's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The hash of all module files and of what lies beside them.
    #[must_use]
    pub const fn key(&self) -> &Hash {
        &self.key
    }

    /// The modules of kernel `version` in `tree`, of which nothing is read yet.
    ///
    /// # Errors
    /// A version that is no file name.
    pub fn of(tree: &Tree, version: &str) -> Result<Self> {
        Ok(Self {
            version: version.to_owned(),
            key: key(tree, version)?,
            index: OnceLock::new(),
        })
    }

    /// The index, from the modules of `tree`, which must be the one that these are of.
    ///
    /// # Errors
    /// A module that cannot be read, or modules that depend on each other in a circle.
    pub fn index(&self, tree: &Tree, memo: &dyn Memo) -> Result<&ModuleIndex> {
        self.index_knowing(tree, memo, None)
    }

    fn index_knowing(
        &self,
        tree: &Tree,
        memo: &dyn Memo,
        whole: Option<&Self>,
    ) -> Result<&ModuleIndex> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let whole = whole.and_then(|whole| whole.index.get());
        let known = whole.map_or(&[][..], ModuleIndex::modules);
        let index = load(tree, &self.version, &self.key, memo, known)?;
        Ok(self.index.get_or_init(|| index))
    }
}

impl From<ModuleIndex> for Modules {
    /// Of an index that was made elsewhere; its key is none that a tree has.
    fn from(index: ModuleIndex) -> Self {
        Self {
            version: index.version.clone(),
            key: blake3::hash(b""),
            index: index.into(),
        }
    }
}

/// The hash of the module files of kernel `version`, with those that links lead to. The files that
/// [`write`] makes of them do not count.
fn key(tree: &Tree, version: &str) -> Result<Hash> {
    let dir = directory(version)?;
    let own = Origin::Generated(OWN.into());
    let linked = tree.below(&dir).filter_map(|(path, node)| match node.kind {
        Kind::Symlink(_) => {
            let target = tree.resolve(path)?;
            Some((path, tree.get(&target)?))
        }
        _ => None,
    });
    let shipped = tree.below(&dir).filter(|(_, node)| node.origin != own);
    Ok(fingerprint("modules", shipped.chain(linked)))
}

/// Puts depmod's files beside the modules of kernel `version`. `whole` are the modules before some
/// were taken out, whose files need not be read again.
///
/// # Errors
/// A module that cannot be read, or that needs one which is not there ([`CutOff`]); modules that
/// depend on each other in a circle.
pub fn write(
    tree: &mut Tree,
    version: &str,
    memo: &dyn Memo,
    whole: Option<&Modules>,
) -> Result<Modules> {
    let modules = Modules::of(tree, version)?;
    let files = remember(memo, "depmod-2", &modules.key, || {
        let index = modules.index_knowing(tree, memo, whole)?;
        let cut_off = Needs::from(index).cut_off();
        if !cut_off.is_empty() {
            return Err(CutOff(cut_off).into());
        }
        files(index)
    })?;
    put(files, tree, version)?;
    Ok(modules)
}

/// Scans the modules of kernel `version` and changes nothing.
fn load(
    tree: &Tree,
    version: &str,
    key: &Hash,
    memo: &dyn Memo,
    known: &[Module],
) -> Result<ModuleIndex> {
    let dir = directory(version)?;
    let source = |name: &str| -> Result<Vec<u8>> {
        match tree.get(&dir.join(name)?).and_then(Node::content) {
            Some(content) => Ok(content.read()?.into_owned()),
            None => Ok(Vec::new()),
        }
    };
    let sources = Sources {
        order: source("modules.order")?,
        builtin: source("modules.builtin")?,
        builtin_modinfo: source("modules.builtin.modinfo")?,
    };
    let modules = remember(memo, "modules-2", key, || scan(tree, version, known))?;
    ModuleIndex::new(version, modules, sources)
}

/// Puts those of depmod's files that `wanted` names into `tree`.
///
/// # Errors
/// As [`files`].
pub fn insert(index: &ModuleIndex, tree: &mut Tree, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let mut files = files(index)?;
    files.retain(|file| wanted(&file.name));
    put(files, tree, index.version())
}

fn put(files: Vec<IndexFile>, tree: &mut Tree, version: &str) -> Result<()> {
    let dir = directory(version)?;
    for IndexFile { name, bytes } in files {
        tree.insert(
            dir.join(name)?,
            Node {
                meta: Meta::root(0o644),
                kind: Kind::File {
                    content: bytes.into(),
                    link: None,
                },
                origin: Origin::Generated(OWN.into()),
            },
        );
    }
    Ok(())
}

/// One of depmod's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFile {
    /// Its name, below the directory of modules.
    pub name: String,
    /// Its bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// All files that depmod writes.
///
/// # Errors
/// Names that the binary index cannot hold.
pub fn files(index: &ModuleIndex) -> Result<Vec<IndexFile>> {
    let files = [
        ("modules.dep", deps(index).into_bytes()),
        ("modules.dep.bin", deps_bin(index)?),
        ("modules.alias", aliases(index).into_bytes()),
        ("modules.alias.bin", aliases_bin(index)?),
        ("modules.softdep", softdeps(index).into_bytes()),
        ("modules.weakdep", weakdeps(index).into_bytes()),
        ("modules.symbols", symbols(index).into_bytes()),
        ("modules.symbols.bin", symbols_bin(index)?),
        ("modules.builtin.bin", builtin_bin(index)?),
        ("modules.builtin.alias.bin", builtin_alias_bin(index)?),
        ("modules.devname", devnames(index).into_bytes()),
    ];
    Ok(files
        .into_iter()
        .map(|(name, bytes)| IndexFile {
            name: name.to_owned(),
            bytes,
        })
        .collect())
}

fn dep_line(index: &ModuleIndex, at: usize) -> String {
    let mut line = format!("{}:", index.modules[at].path);
    for &dep in &index.deps[at] {
        line.push(' ');
        line.push_str(&index.modules[dep].path);
    }
    line
}

fn priority(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn deps(index: &ModuleIndex) -> String {
    (0..index.modules.len())
        .map(|at| dep_line(index, at) + "\n")
        .collect()
}

fn deps_bin(index: &ModuleIndex) -> Result<Vec<u8>> {
    let mut out = Builder::new();
    for (at, module) in index.modules.iter().enumerate() {
        let line = dep_line(index, at);
        out.insert(module.name.as_bytes(), line.as_bytes(), priority(at))?;
    }
    out.finish().context("writing modules.dep.bin")
}

fn aliases(index: &ModuleIndex) -> String {
    let mut out = "# Aliases extracted from modules themselves.\n".to_owned();
    for module in &index.modules {
        for alias in &module.aliases {
            let _ = writeln!(out, "alias {alias} {}", module.name);
        }
    }
    out
}

fn aliases_bin(index: &ModuleIndex) -> Result<Vec<u8>> {
    let mut out = Builder::new();
    for (at, module) in index.modules.iter().enumerate() {
        for alias in &module.aliases {
            match normal_alias(alias) {
                Some(alias) => {
                    out.insert(alias.as_bytes(), module.name.as_bytes(), priority(at))?;
                }
                None => tracing::warn!(module.path, alias, "alias with an unmatched bracket"),
            }
        }
    }
    out.finish().context("writing modules.alias.bin")
}

fn softdeps(index: &ModuleIndex) -> String {
    let mut out = "# Soft dependencies extracted from modules themselves.\n".to_owned();
    for module in &index.modules {
        for line in &module.softdeps {
            let _ = writeln!(out, "softdep {} {line}", module.name);
        }
    }
    out
}

fn weakdeps(index: &ModuleIndex) -> String {
    let mut out = "# Weak dependencies extracted from modules themselves.\n".to_owned();
    for module in &index.modules {
        for line in &module.weakdeps {
            let _ = writeln!(out, "weakdep {} {line}", module.name);
        }
    }
    out
}

fn symbols(index: &ModuleIndex) -> String {
    let mut sorted: Vec<_> = index.symbols.iter().collect();
    sorted.sort_by_cached_key(|(symbol, _)| symbol_order(symbol));
    let mut out = "# Aliases for symbols, used by symbol_request().\n".to_owned();
    for (symbol, &owner) in sorted {
        let _ = writeln!(out, "alias symbol:{symbol} {}", index.modules[owner].name);
    }
    out
}

fn symbols_bin(index: &ModuleIndex) -> Result<Vec<u8>> {
    let mut out = Builder::new();
    for (symbol, &owner) in &index.symbols {
        let key = format!("symbol:{symbol}");
        let name = &index.modules[owner].name;
        out.insert(key.as_bytes(), name.as_bytes(), priority(owner))?;
    }
    out.finish().context("writing modules.symbols.bin")
}

fn builtin_bin(index: &ModuleIndex) -> Result<Vec<u8>> {
    // Where the kernel ships no list, depmod leaves an empty file.
    if index.sources.builtin.is_empty() {
        return Ok(Vec::new());
    }
    let mut out = Builder::new();
    for line in lines(&index.sources.builtin) {
        if line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            out.insert(module_name(&line).as_bytes(), b"", 0)?;
        }
    }
    out.finish().context("writing modules.builtin.bin")
}

fn builtin_alias_bin(index: &ModuleIndex) -> Result<Vec<u8>> {
    if index.sources.builtin_modinfo.is_empty() {
        return Ok(Vec::new());
    }
    let mut out = Builder::new();
    for (module, alias) in builtin_aliases(&index.sources.builtin_modinfo) {
        out.insert(alias.as_bytes(), module.as_bytes(), 0)?;
    }
    out.finish().context("writing modules.builtin.alias.bin")
}

fn devnames(index: &ModuleIndex) -> String {
    let mut out = String::new();
    for module in &index.modules {
        let mut name = None;
        let mut device = None;
        for alias in &module.aliases {
            if let Some(rest) = alias.strip_prefix("devname:") {
                name = Some(rest);
            } else if let Some(found) = device_number(alias) {
                device = Some(found);
            }
            if name.is_some() && device.is_some() {
                break;
            }
        }
        match (name, device) {
            (Some(name), Some((kind, major, minor))) => {
                if out.is_empty() {
                    out.push_str("# Device nodes to trigger on-demand module loading.\n");
                }
                let _ = writeln!(out, "{} {name} {kind}{major}:{minor}", module.name);
            }
            (Some(name), None) => {
                tracing::warn!(module.path, name, "devname without a device number");
            }
            (None, _) => {}
        }
    }
    out
}

/// Type, major and minor of an alias like `char-major-10-200`.
fn device_number(alias: &str) -> Option<(char, u32, u32)> {
    let (kind, rest) = match alias.strip_prefix("char-major-") {
        Some(rest) => ('c', rest),
        None => ('b', alias.strip_prefix("block-major-")?),
    };
    let (major, rest) = rest.split_once('-')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some((kind, major.parse().ok()?, rest[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Module;

    #[test]
    fn device_numbers_are_read_as_far_as_they_are_numbers() {
        for (alias, wanted) in [
            ("char-major-10-200", Some(('c', 10, 200))),
            ("block-major-7-*", None),
            ("block-major-7-1x", Some(('b', 7, 1))),
            ("char-major-108-", None),
            ("pci:v1", None),
        ] {
            assert_eq!(device_number(alias), wanted, "{alias}");
        }
    }

    #[test]
    fn text_files_say_what_the_modules_say() {
        let modules = vec![Module {
            path: "kernel/tun.ko.xz".into(),
            name: "tun".into(),
            aliases: vec!["devname:net/tun".into(), "char-major-10-200".into()],
            softdeps: vec!["pre: x".into()],
            exports: vec!["tun_fn".into()],
            ..Module::default()
        }];
        let index = ModuleIndex::new("6", modules, Sources::default()).unwrap();
        let files = files(&index).unwrap();
        let text = |name: &str| {
            let file = files.iter().find(|file| file.name == name).unwrap();
            String::from_utf8(file.bytes.clone()).unwrap()
        };
        assert_eq!(text("modules.dep"), "kernel/tun.ko.xz:\n");
        assert!(text("modules.devname").ends_with("\ntun net/tun c10:200\n"));
        assert!(text("modules.softdep").ends_with("\nsoftdep tun pre: x\n"));
        assert!(text("modules.symbols").ends_with("\nalias symbol:tun_fn tun\n"));
        assert!(text("modules.alias").contains("\nalias devname:net/tun tun\n"));
        assert_eq!(text("modules.builtin.bin"), "");
    }
}
