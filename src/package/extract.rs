//! Single files out of a `.deb` that is not installed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::ar;
use super::compile::{open, place, read_file};
use super::limits::LIMITS;
use super::tarball::{self, Data, Member, MemberKind, Stop};
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::tree::TreePath;
use crate::words::nearest;

/// Symbolic links in a row that are followed.
const MOST_LINKS: usize = 8;

/// A package that is not installed, and what stands in it.
#[derive(Debug)]
pub struct Archive {
    file: Arc<Vec<u8>>,
    what: String,
    files: BTreeSet<TreePath>,
    links: BTreeMap<TreePath, TreePath>,
}

impl Archive {
    /// Lists the package at `path`, which must have the hash `sha256`; `what` names it in messages.
    ///
    /// # Errors
    /// A file that can't be read, has changed, or is no package.
    pub fn open(path: &Path, sha256: &Sha256, what: &str) -> Result<Self> {
        let file =
            read_file(path).with_context(|| format!("reading {} of {what}", path.display()))?;
        let found = Sha256::of(&file);
        if found != *sha256 {
            return Err(Failure::new(
                Kind::Archive,
                format!(
                    "{what} in {} has the SHA-256 {found}, and {sha256} is wanted: it has changed \
                     since it was verified",
                    path.display()
                ),
            )
            .hint("delete that file; the next run gets it again")
            .into());
        }
        let mut archive = Self {
            file: Arc::new(file),
            what: what.to_owned(),
            files: BTreeSet::new(),
            links: BTreeMap::new(),
        };
        let (mut files, mut links) = (BTreeSet::new(), BTreeMap::new());
        archive.walk(|member, _| {
            match member.kind {
                MemberKind::File(_) => {
                    files.insert(member.path);
                }
                MemberKind::HardLink(target) => {
                    links.insert(member.path, target);
                }
                MemberKind::Symlink(target) => {
                    if let Some(target) = beside(&member.path, &target) {
                        links.insert(member.path, target);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        (archive.files, archive.links) = (files, links);
        Ok(archive)
    }

    /// The regular file that `name` means, if there is one; symbolic and hard links inside the package
    /// are followed.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TreePath> {
        let start = TreePath::parse(name).ok()?;
        let mut at = &start;
        for _ in 0..MOST_LINKS {
            if self.files.contains(at) {
                return Some(at.clone());
            }
            at = self.links.get(at)?;
        }
        None
    }

    /// The bytes of `wanted`, which [`Self::find`] gave.
    ///
    /// # Errors
    /// Data that can't be decompressed.
    pub fn read(&self, wanted: &BTreeSet<TreePath>) -> Result<BTreeMap<TreePath, Arc<Vec<u8>>>> {
        let mut out = BTreeMap::new();
        self.walk(|member, data| {
            if wanted.contains(&member.path) && matches!(member.kind, MemberKind::File(_)) {
                out.insert(member.path, data.read()?.into());
            }
            Ok(())
        })?;
        Ok(out)
    }

    fn walk(&self, visit: impl FnMut(Member, &mut Data<'_>) -> Result<(), Stop>) -> Result<()> {
        let bad = |error: &dyn std::fmt::Display| {
            Failure::new(Kind::Archive, format!("{}: {error}", self.what))
                .hint("its hash is the one that was asked for, so it was made like this")
        };
        let deb = ar::parse(&self.file).map_err(|error| bad(&error))?;
        let reader = open(&self.file, place(&deb.data), "data.tar", LIMITS.data_tar)
            .map_err(|error| bad(&error))?;
        tarball::walk(reader, &LIMITS, visit).map_err(|error| bad(&error))?;
        Ok(())
    }

    /// Says that there is no file `name`, and what may be meant.
    #[must_use]
    pub fn missing(&self, name: &str) -> Failure {
        let failure = Failure::new(Kind::Usage, format!("{} has no file `{name}`", self.what));
        let all: Vec<String> = self
            .files
            .iter()
            .chain(self.links.keys())
            .map(ToString::to_string)
            .collect();
        let plain = || all.iter().map(|path| path.trim_start_matches('/'));
        let base = |path: &str| path.rsplit('/').next().map(str::to_owned);
        let near = nearest(name, plain()).or_else(|| plain().find(|path| base(path) == base(name)));
        match near {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint("`dpkg-deb --contents` lists the files of a package"),
        }
    }
}

/// The path that a symbolic link at `link` means.
fn beside(link: &TreePath, target: &[u8]) -> Option<TreePath> {
    let target = String::from_utf8(target.to_vec()).ok()?;
    let mut parts: Vec<Vec<u8>> = match target.starts_with('/') {
        true => Vec::new(),
        false => link.parent()?.components().map(<[u8]>::to_vec).collect(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part.as_bytes().to_vec()),
        }
    }
    TreePath::parse(parts.join(&b'/')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_from_where_they_stand() {
        let link = TreePath::parse("usr/lib/u-boot/rpi/u-boot.bin").unwrap();
        for (target, wanted) in [
            (
                "../rpi_4/u-boot.bin",
                Some("/usr/lib/u-boot/rpi_4/u-boot.bin"),
            ),
            ("/usr/x", Some("/usr/x")),
            ("x", Some("/usr/lib/u-boot/rpi/x")),
            ("../../../../../x", None),
        ] {
            let found = beside(&link, target.as_bytes()).map(|path| path.to_string());
            assert_eq!(found.as_deref(), wanted, "{target}");
        }
    }

    #[test]
    fn files_are_found_through_links_and_what_is_missing_is_named() {
        use crate::package::testing::{deb, file, hardlink, symlink};
        let bytes = deb(
            "fw",
            "1",
            "",
            &[
                symlink("./usr/a.bin", "b.bin"),
                file("./usr/b.bin", b"content"),
                hardlink("./usr/c.bin", "./usr/b.bin"),
                symlink("./usr/loop", "loop"),
            ],
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fw.deb");
        std::fs::write(&path, &bytes).unwrap();
        let archive = Archive::open(&path, &Sha256::of(&bytes), "fw 1").unwrap();
        let wanted: BTreeSet<_> = ["usr/a.bin", "usr/b.bin", "usr/c.bin"]
            .iter()
            .map(|name| archive.find(name).unwrap())
            .collect();
        assert_eq!(wanted.len(), 1);
        let found = archive.read(&wanted).unwrap();
        assert_eq!(&**found.values().next().unwrap(), b"content");
        for (name, hint) in [
            ("usr/d.bin", "did you mean `usr/"),
            ("lib/b.bin", "did you mean `usr/b.bin`?"),
            ("usr/loop", "did you mean"),
            ("else", "dpkg-deb --contents"),
        ] {
            assert_eq!(archive.find(name), None);
            let failure = archive.missing(name);
            assert!(
                failure.to_string().contains("fw 1 has no file"),
                "{failure}"
            );
            assert!(failure.hints.concat().contains(hint), "{name}: {failure:?}");
        }
        let error = Archive::open(&path, &Sha256([0; 32]), "fw 1").unwrap_err();
        assert!(error.to_string().contains("has changed"), "{error:#}");
    }
}
