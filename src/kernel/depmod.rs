//! Writes what `depmod` writes, byte for byte as kmod 34 does.
//!
//! Text files and their `.bin` twins hold the same; at run time kmod reads the `.bin` files, people
//! and other tools the text.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::index::Builder;
use super::modules::{directory, scan};
use super::names::{module_name, normal_alias, symbol_order};
use super::order::{ModuleIndex, Sources, builtin_aliases, lines};
use crate::tree::{Kind, Meta, Node, Origin, Tree, TreePath};

/// Scans the modules of kernel `version`, puts all of depmod's files beside them, and returns the
/// index for closures.
///
/// # Errors
/// A module that cannot be read, or modules that depend on each other in a circle.
pub fn write(tree: &mut Tree, version: &str) -> Result<ModuleIndex> {
    let index = load(tree, version)?;
    insert(&index, tree, |_| true)?;
    Ok(index)
}

/// Scans the modules of kernel `version` and changes nothing.
///
/// # Errors
/// As [`write`].
pub fn load(tree: &Tree, version: &str) -> Result<ModuleIndex> {
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
    ModuleIndex::new(version, scan(tree, version)?, sources)
}

/// Puts those of depmod's files that `wanted` names into `tree`.
///
/// # Errors
/// As [`files`].
pub fn insert(index: &ModuleIndex, tree: &mut Tree, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let dir: TreePath = directory(index.version())?;
    for (name, bytes) in files(index)?.into_iter().filter(|(name, _)| wanted(name)) {
        tree.insert(
            dir.join(name)?,
            Node {
                meta: Meta::root(0o644),
                kind: Kind::File {
                    content: bytes.into(),
                    link: None,
                },
                origin: Origin::Generated("depmod".into()),
            },
        );
    }
    Ok(())
}

/// All files that depmod writes, by name.
///
/// # Errors
/// Names that the binary index cannot hold.
pub fn files(index: &ModuleIndex) -> Result<Vec<(&'static str, Vec<u8>)>> {
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
    Ok(files.into())
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
            let (_, bytes) = files.iter().find(|(own, _)| *own == name).unwrap();
            String::from_utf8(bytes.clone()).unwrap()
        };
        assert_eq!(text("modules.dep"), "kernel/tun.ko.xz:\n");
        assert!(text("modules.devname").ends_with("\ntun net/tun c10:200\n"));
        assert!(text("modules.softdep").ends_with("\nsoftdep tun pre: x\n"));
        assert!(text("modules.symbols").ends_with("\nalias symbol:tun_fn tun\n"));
        assert!(text("modules.alias").contains("\nalias devname:net/tun tun\n"));
        assert_eq!(text("modules.builtin.bin"), "");
    }
}
