//! What a module file says about itself: `.modinfo`, exported and wanted symbols.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use object::LittleEndian as Le;
use object::elf::{FileHeader64, SHN_UNDEF, SHT_SYMTAB};
use object::read::elf::{FileHeader, SectionHeader, Sym};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::names::module_name;
use super::unpack::{decompress, is_module};
use crate::tree::{Content, Kind, Node, Tree, TreePath};

/// Prefix of the symbol that holds an exported symbol's checksum (`CONFIG_MODVERSIONS`).
const CRC_PREFIX: &[u8] = b"__crc_";
/// Size of an entry of `__versions` (`struct modversion_info` on 64-bit kernels).
const VERSION_ENTRY: usize = 64;
/// Bytes of the checksum in front of the name in such an entry.
const VERSION_CRC: usize = 8;

/// What one module offers and needs. It follows from the file alone, so it may be stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Module {
    /// Its file, relative to `usr/lib/modules/VERSION`.
    pub path: String,
    /// BLAKE3 of its file, as it lies there.
    pub file: [u8; 32],
    /// Its name, with `_` for `-`.
    pub name: String,
    /// Names of the modules that it needs, as the kernel's build found them (`depends=`).
    pub depends: Vec<String>,
    /// `alias=` values, as written.
    pub aliases: Vec<String>,
    /// `softdep=` values, as written (`pre: a b post: c`).
    pub softdeps: Vec<String>,
    /// `weakdep=` values, as written.
    pub weakdeps: Vec<String>,
    /// `firmware=` values: files below `/usr/lib/firmware` that it may ask for.
    pub firmware: Vec<String>,
    /// Symbols that it exports, in the order of its symbol table.
    pub exports: Vec<String>,
    /// Symbols that it wants from elsewhere, in the order in which depmod looks at them.
    pub needs: Vec<String>,
}

/// The paths of all modules of kernel `version`, by their names.
///
/// # Errors
/// A version that is no file name.
pub fn paths(tree: &Tree, version: &str) -> Result<BTreeMap<String, TreePath>> {
    let dir = directory(version)?;
    Ok(files(tree, &dir)
        .map(|(relative, path, _)| (module_name(relative), path.clone()))
        .collect())
}

/// The module files below `dir`: their paths from there, and in the tree. depmod does not enter
/// `build` and `source`, which lead to the kernel's sources.
pub(super) fn files<'a>(
    tree: &'a Tree,
    dir: &'a TreePath,
) -> impl Iterator<Item = (&'a str, &'a TreePath, &'a Node)> {
    tree.below(dir).filter_map(move |(path, node)| {
        let relative = path.as_bytes().get(dir.as_bytes().len() + 1..)?;
        let relative = std::str::from_utf8(relative).ok()?;
        let sources = |part| part == "build" || part == "source";
        (!node.is_dir() && is_module(relative) && !relative.split('/').any(sources))
            .then_some((relative, path, node))
    })
}

/// The directory of modules of kernel `version`.
///
/// # Errors
/// A version that is no file name.
pub fn directory(version: &str) -> Result<TreePath> {
    if version.is_empty() || version.contains('/') {
        return Err(anyhow!("`{version}` is not a kernel version"));
    }
    Ok(TreePath::parse(format!("usr/lib/modules/{version}"))?)
}

/// Reads all modules of kernel `version`, in path order. Each is decompressed on its own and
/// dropped once it is read; what is among `known` already is not read at all.
///
/// # Errors
/// A module that does not decompress or is no 64-bit little-endian ELF file.
pub fn scan(tree: &Tree, version: &str, known: &[Module]) -> Result<Vec<Module>> {
    let dir = directory(version)?;
    let mut found: Vec<(String, &Content)> = Vec::new();
    for (name, path, node) in files(tree, &dir) {
        let content = match &node.kind {
            Kind::File { content, .. } => Some(content),
            Kind::Symlink(_) => tree
                .resolve(path)
                .and_then(|target| tree.get(&target)?.content()),
            _ => None,
        };
        if let Some(content) = content {
            found.push((name.to_owned(), content));
        }
    }
    let known: BTreeMap<&str, &Module> = known
        .iter()
        .map(|module| (module.path.as_str(), module))
        .collect();
    found
        .par_iter()
        .map(|(path, content)| {
            let file = *content.id().as_bytes();
            if let Some(module) = known.get(path.as_str()).filter(|known| known.file == file) {
                return Ok((*module).clone());
            }
            let bytes = content.read()?;
            let module = parse(path, &decompress(path, &bytes)?)?;
            Ok(Module { file, ..module })
        })
        .collect::<Result<_>>()
        .with_context(|| format!("reading the modules of kernel {version}"))
}

/// Reads one module, already decompressed.
///
/// # Errors
/// Bytes that are no 64-bit little-endian ELF file, or whose tables lie outside of it.
pub fn parse(path: &str, elf: &[u8]) -> Result<Module> {
    read(path, elf).with_context(|| format!("reading the module {path}"))
}

fn read(path: &str, data: &[u8]) -> Result<Module> {
    let header = FileHeader64::<Le>::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let section = |name: &[u8]| -> Result<&[u8]> {
        Ok(match sections.section_by_name(endian, name) {
            Some((_, section)) => section.data(endian, data)?,
            None => &[],
        })
    };
    let mut module = Module {
        path: path.to_owned(),
        name: module_name(path),
        ..Module::default()
    };
    for (key, value) in modinfo(section(b".modinfo")?) {
        let list = match key {
            b"alias" => &mut module.aliases,
            b"softdep" => &mut module.softdeps,
            b"weakdep" => &mut module.weakdeps,
            b"firmware" => &mut module.firmware,
            b"depends" => {
                let names = value.split(|&byte| byte == b',');
                for name in names.filter(|name| !name.is_empty()) {
                    module.depends.push(module_name(&ascii(name)?));
                }
                continue;
            }
            _ => continue,
        };
        list.push(ascii(value)?);
    }
    let versions = versions(section(b"__versions")?);
    let mut unseen: Vec<bool> = vec![true; versions.len()];
    let symbols = sections.symbols(endian, data, SHT_SYMTAB)?;
    for symbol in symbols.iter().skip(1) {
        let name = symbols.symbol_name(endian, symbol)?;
        if let Some(exported) = name.strip_prefix(CRC_PREFIX) {
            module.exports.push(ascii(exported)?);
        }
        if symbol.st_shndx(endian) == SHN_UNDEF && !name.is_empty() {
            module.needs.push(ascii(name)?);
            if let Some(at) = versions.iter().position(|version| *version == name) {
                unseen[at] = false;
            }
        }
    }
    if module.exports.is_empty() {
        for name in strings(section(b"__ksymtab_strings")?) {
            module.exports.push(ascii(name)?);
        }
    }
    // What has a checksum without being referred to (`module_layout`) is wanted all the same.
    for (name, _) in versions.iter().zip(unseen).filter(|(_, unseen)| *unseen) {
        module.needs.push(ascii(name)?);
    }
    Ok(module)
}

/// The NUL-terminated strings of a section, without the empty ones that pad it.
fn strings(section: &[u8]) -> impl Iterator<Item = &[u8]> {
    section.split(|&byte| byte == 0).filter(|s| !s.is_empty())
}

/// The `key=value` pairs of a `.modinfo` section.
fn modinfo(section: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    strings(section).filter_map(|line| {
        let cut = line.iter().position(|&byte| byte == b'=')?;
        Some((&line[..cut], &line[cut + 1..]))
    })
}

/// The names of a `__versions` section; depmod leaves out the dot in front of PowerPC names.
fn versions(section: &[u8]) -> Vec<&[u8]> {
    section
        .chunks_exact(VERSION_ENTRY)
        .filter_map(|entry| strings(entry.get(VERSION_CRC..)?).next())
        .collect()
}

/// kmod's index holds 7-bit characters only, and so does everything that goes into it.
fn ascii(bytes: &[u8]) -> Result<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Ok(text.to_owned()),
        _ => Err(anyhow!(
            "`{}` is not ASCII, which module indices cannot hold",
            bytes.escape_ascii()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn modinfo_is_split_at_nul_and_at_the_first_equals_sign() {
        let section = b"\0\0alias=pci:v=1\0\0license=GPL\0novalue\0softdep=pre: a b\0tail=x";
        let pairs: Vec<_> = modinfo(section).collect();
        assert_eq!(
            pairs,
            [
                (&b"alias"[..], &b"pci:v=1"[..]),
                (b"license", b"GPL"),
                (b"softdep", b"pre: a b"),
                (b"tail", b"x"),
            ]
        );
    }

    #[test]
    fn what_is_no_module_is_an_error_that_names_the_file() {
        for bytes in [&b""[..], b"\x7fELF", &[0x7f; 200]] {
            let error = parse("kernel/x.ko", bytes).unwrap_err();
            assert!(format!("{error:#}").contains("kernel/x.ko"));
        }
    }

    proptest! {
        #[test]
        fn damaged_modules_never_panic(mut tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0\x01\0\0\0".to_vec();
            elf.append(&mut tail);
            let _ = parse("x.ko", &elf);
        }
    }
}
