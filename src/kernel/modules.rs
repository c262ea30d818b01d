//! What a module file says about itself: `.modinfo`, exported and wanted symbols.

use anyhow::{Context, Result, anyhow};
use object::LittleEndian as Le;
use object::elf::{FileHeader64, SHN_UNDEF, SHT_SYMTAB};
use object::read::elf::{FileHeader, SectionHeader, Sym};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::names::module_name;
use super::unpack::{decompress, is_module};
use crate::tree::{Content, Kind, Tree, TreePath};

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
    /// Its name, with `_` for `-`.
    pub name: String,
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
/// dropped once it is read.
///
/// # Errors
/// A module that does not decompress or is no 64-bit little-endian ELF file.
pub fn scan(tree: &Tree, version: &str) -> Result<Vec<Module>> {
    let dir = directory(version)?;
    let mut found: Vec<(String, &Content)> = Vec::new();
    for (path, node) in tree.below(&dir) {
        let Some(relative) = path.strip_prefix(&dir) else {
            continue;
        };
        // depmod does not enter these; they lead to the kernel's sources.
        if relative
            .components()
            .any(|part| part == b"build" || part == b"source")
        {
            continue;
        }
        let Ok(name) = std::str::from_utf8(relative.as_bytes()) else {
            continue;
        };
        if !is_module(name) {
            continue;
        }
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
    found
        .par_iter()
        .map(|(path, content)| {
            let bytes = content.read()?;
            parse(path, &decompress(path, &bytes)?)
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
