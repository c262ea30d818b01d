//! The closure of shared libraries: what the dynamic linker will look for, found in the image.
//!
//! There is no `ld.so.cache`; a library is found by the search path of who needs it, or in the
//! linker's own directories.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use blake3::{Hash, Hasher};
use rayon::prelude::*;

use super::collect::Collector;
use super::contents::Contents;
use crate::arch::Arch;
use crate::elf::{self, Elf, Priority};
use crate::failure::{Failure, Kind as FailureKind};
use crate::store::{self, Memo};
use crate::tree::{Content, TreePath};

/// How the results of [`close`] are called where they are kept.
const KIND: &str = "elf-2";

/// What is known of files by the hash of their bytes: of an ELF file what it needs, of others that
/// they are none.
type Known = BTreeMap<[u8; 32], Option<Elf>>;

/// Takes the interpreter and the libraries of all ELF files in `to`, and theirs in turn.
pub(super) fn close(
    to: &mut Collector<'_>,
    arch: Arch,
    contents: &Contents,
    memo: &dyn Memo,
) -> Result<()> {
    let mut files = to.new_files();
    let key = key(to, &files);
    let kept = memo.recall(KIND, &key);
    let mut known: Known = kept
        .and_then(|bytes| store::decode(&bytes).ok())
        .unwrap_or_default();
    let before = known.len();
    while !files.is_empty() {
        let ids: Vec<_> = files.par_iter().map(|path| id(to, path)).collect();
        let unread: Vec<_> = files
            .par_iter()
            .zip(&ids)
            .filter(|(_, id)| !known.contains_key(*id))
            .map(|(path, id)| {
                let bytes = match to.content(path) {
                    Some(content) => content.read()?.into_owned(),
                    None => Vec::new(),
                };
                let elf = elf::parse(&bytes).with_context(|| format!("reading {path}"))?;
                Ok((path.clone(), *id, bytes, elf))
            })
            .collect::<Result<_>>()?;
        for (path, id, bytes, elf) in unread {
            to.keep_bytes(&path, bytes);
            known.insert(id, elf);
        }
        for (path, id) in files.iter().zip(ids) {
            if let Some(Some(elf)) = known.get(&id) {
                take_needs(to, arch, &contents.dlopen_features, path, elf)?;
            }
        }
        files = to.new_files();
    }
    if known.len() > before
        && let Ok(bytes) = postcard::to_stdvec(&known)
    {
        memo.keep(KIND, &key, &bytes);
    }
    Ok(())
}

fn id(to: &Collector<'_>, path: &TreePath) -> [u8; 32] {
    to.content(path)
        .map_or([0; 32], |content| *content.id().as_bytes())
}

/// One for each set of packages: what a profile adds is read every time it changes, and no more.
fn key(to: &Collector<'_>, files: &[TreePath]) -> Hash {
    let mut hash = Hasher::new();
    for path in files {
        if let Some(Content::Blob(blob)) = to.content(path) {
            hash.update(blob.hash().as_bytes());
        }
    }
    hash.finalize()
}

fn take_needs(
    to: &mut Collector<'_>,
    arch: Arch,
    features: &[String],
    path: &TreePath,
    elf: &Elf,
) -> Result<()> {
    let by = path.to_string();
    if elf.machine != arch.traits().elf_machine {
        return Err(Failure::new(
            FailureKind::Audit,
            format!(
                "{by} is for ELF machine {}, but an image for {arch} runs {}",
                elf.machine,
                arch.traits().elf_machine
            ),
        )
        .into());
    }
    if let Some(interpreter) = &elf.interpreter {
        to.take(&TreePath::parse(interpreter)?, &by)?;
    }
    for name in &elf.needed {
        let found = find(to, arch, path, elf, name)?.ok_or_else(|| absent(name, &by, ""))?;
        to.take(&found, &by)?;
    }
    for note in &elf.dlopen {
        if note.priority != Priority::Required && !features.contains(&note.feature) {
            continue;
        }
        let mut found = None;
        for name in &note.soname {
            found = find(to, arch, path, elf, name)?;
            if found.is_some() {
                break;
            }
        }
        let found = found.ok_or_else(|| {
            let purpose = format!(" for `{}` ({})", note.feature, note.description);
            absent(&note.soname.join(" or "), &by, &purpose)
        })?;
        to.take(&found, &by)?;
    }
    Ok(())
}

/// Where the dynamic linker finds `name` for the file at `path`.
fn find(
    image: &Collector<'_>,
    arch: Arch,
    path: &TreePath,
    elf: &Elf,
    name: &str,
) -> Result<Option<TreePath>> {
    if name.contains('/') {
        let path = TreePath::parse(name)?;
        return Ok(image.is_file(&path).then_some(path));
    }
    let at = path.to_string();
    let own = [&elf.rpath, &elf.runpath].map(|list| elf::directories(list, &at, arch));
    // systemd's private libraries name each other without a search path of their own: who loads one
    // has loaded the others.
    let private = format!("/usr/lib/{}/systemd", arch.traits().triplet);
    let last = elf::last_directories(arch).into_iter().chain([private]);
    for dir in own.into_iter().flatten().chain(last) {
        let candidate = normal(&format!("{dir}/{name}"))?;
        if image.is_file(&candidate) {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// A search path may climb (`$ORIGIN/../lib`).
fn normal(path: &str) -> Result<TreePath> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    Ok(TreePath::parse(parts.join("/"))?)
}

fn absent(name: &str, by: &str, purpose: &str) -> anyhow::Error {
    Failure::new(
        FailureKind::Audit,
        format!("{by} in the initrd needs {name}{purpose}, which is not in the image"),
    )
    .hint("add the package that ships this library to packages.include")
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Kind, Meta, Node, Origin, Tree};

    #[test]
    fn libraries_are_found_as_the_dynamic_linker_would() {
        let mut image = Tree::new();
        for path in [
            "usr/lib/x86_64-linux-gnu/libc.so.6",
            "usr/lib/x86_64-linux-gnu/systemd/libsystemd-core-257.so",
            "usr/lib/tool/private/libtool.so.1",
            "usr/lib/tool/private/libc.so.6",
            "usr/lib/x86_64-linux-gnu/libtool.so.1",
        ] {
            let node = Node {
                meta: Meta::root(0o644),
                kind: Kind::File {
                    content: "".into(),
                    link: None,
                },
                origin: Origin::Generated("test".into()),
            };
            image.insert(TreePath::parse(path).unwrap(), node);
        }
        let to = Collector::new(&image);
        let path = TreePath::parse("usr/lib/tool/bin/tool").unwrap();
        for (search, name, wanted) in [
            ("", "libc.so.6", Some("/usr/lib/x86_64-linux-gnu/libc.so.6")),
            (
                "$ORIGIN/../private",
                "libtool.so.1",
                Some("/usr/lib/tool/private/libtool.so.1"),
            ),
            (
                "/none:${ORIGIN}/../private",
                "libc.so.6",
                Some("/usr/lib/tool/private/libc.so.6"),
            ),
            (
                "",
                "libtool.so.1",
                Some("/usr/lib/x86_64-linux-gnu/libtool.so.1"),
            ),
            (
                "",
                "/lib/tool/private/libtool.so.1",
                Some("/lib/tool/private/libtool.so.1"),
            ),
            (
                "",
                "libsystemd-core-257.so",
                Some("/usr/lib/x86_64-linux-gnu/systemd/libsystemd-core-257.so"),
            ),
            ("", "libnone.so", None),
        ] {
            let elf = Elf {
                runpath: search.split(':').map(str::to_owned).collect(),
                ..Elf::default()
            };
            let found = find(&to, Arch::X86_64, &path, &elf, name).unwrap();
            assert_eq!(
                found.map(|p| p.to_string()).as_deref(),
                wanted,
                "{search} {name}"
            );
        }
    }
}
