//! The files that a profile names: overlay directories, local packages, keyrings, keys.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::embedded;
use super::load::{Loaded, read_bounded, tidy};
use super::source::{Base, Problem, failure};
use super::yaml::Node;
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::sign::{Choice, openpgp};
use crate::tree::{Meta, TreePath};
use crate::words::nearest;

/// The largest file of an overlay.
const MOST_FILE: usize = 1 << 30;
/// The largest keyring.
const MOST_KEYRING: usize = 16 << 20;
/// The most entries of one overlay directory.
const MOST_ENTRIES: usize = 100_000;

/// One path of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayEntry {
    /// Where it goes.
    pub path: TreePath,
    /// `root:root`; 0755 for directories and executable files, 0644 for others.
    pub meta: Meta,
    /// What it is.
    pub kind: OverlayKind,
    /// The overlay directory as the profile writes it.
    pub from: String,
}

/// What a path of an overlay is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverlayKind {
    /// A directory.
    Dir,
    /// A regular file.
    File(Vec<u8>),
    /// A symbolic link, never followed.
    Symlink(Vec<u8>),
}

/// A local `.deb` of `packages.files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDebFile {
    /// As the profile writes it: its name in the lock.
    pub written: PathBuf,
    /// Where it is.
    pub path: PathBuf,
    /// The hash it must have, if the profile gives one.
    pub sha256: Option<Sha256>,
    /// `FILE:LINE` that names it.
    pub origin: String,
}

impl Loaded {
    /// The entries of all overlay directories, in the profile's order and each in the order of
    /// paths. Later entries replace earlier ones of the same path.
    ///
    /// # Errors
    /// A directory that is not there, a file that can't be read, a device, socket or pipe.
    pub fn overlay(&self) -> Result<Vec<OverlayEntry>> {
        let mut out = Vec::new();
        for node in self.list(&["root", "overlay"]) {
            let Some(written) = node.text() else { continue };
            match &node.origin.source.base {
                Base::Embedded => embedded_overlay(node, written, &mut out)?,
                Base::Folder(folder) => {
                    let root = tidy(&folder.join(written));
                    if !root.is_dir() {
                        return Err(missing(node, &root, "directory"));
                    }
                    let mut found = Vec::new();
                    read_dir(&root, &TreePath::root(), written, &mut found)?;
                    found.sort_by(|a, b| a.path.cmp(&b.path));
                    out.append(&mut found);
                }
            }
        }
        Ok(out)
    }

    /// The local packages.
    ///
    /// # Errors
    /// A file that is not there.
    pub fn local_debs(&self) -> Result<Vec<LocalDebFile>> {
        let mut out = Vec::new();
        let nodes = self.list(&["packages", "files"]);
        for (deb, node) in self.profile.packages.files.iter().zip(nodes) {
            let place = node.get("path").unwrap_or(node);
            let path = resolve(place, &deb.path.to_string_lossy())?;
            if !path.is_file() {
                return Err(missing(place, &path, "file"));
            }
            out.push(LocalDebFile {
                written: deb.path.clone(),
                path,
                sha256: deb.sha256,
                origin: place.origin.short(),
            });
        }
        Ok(out)
    }

    /// The keyring file of an archive; `None` where the profile names a built-in keyring.
    ///
    /// # Errors
    /// The profile has no such archive, or the file can't be read.
    pub fn keyring(&self, archive: &str) -> Result<Option<Vec<u8>>> {
        let index = self
            .profile
            .archives
            .iter()
            .position(|a| a.name == archive)
            .ok_or_else(|| Failure::new(Kind::Bug, format!("no archive `{archive}`")))?;
        let nodes = self.list(&["archives"]);
        let Some(node) = nodes.get(index).and_then(|item| item.get("keyring")) else {
            return Ok(None);
        };
        let written = node.text().unwrap_or_default();
        if !written.contains(['/', '.']) {
            return Ok(None);
        }
        let path = resolve(node, written)?;
        if !path.is_file() {
            return Err(missing(node, &path, "file"));
        }
        Ok(Some(read_bounded(&path, MOST_KEYRING)?))
    }

    /// The keyring files of all archives, by the text of `keyring:`; built-in ones are absent.
    ///
    /// # Errors
    /// As [`Self::keyring`].
    pub fn keyrings(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut out = BTreeMap::new();
        for archive in &self.profile.archives {
            let Some(bytes) = self.keyring(&archive.name)? else {
                continue;
            };
            if out
                .get(&archive.keyring)
                .is_some_and(|other| *other != bytes)
            {
                return Err(Failure::new(
                    Kind::Usage,
                    format!(
                        "two archives name the keyring `{}` but mean different files",
                        archive.keyring
                    ),
                )
                .hint("give one of the files another name")
                .into());
            }
            out.insert(archive.keyring.clone(), bytes);
        }
        Ok(out)
    }

    /// The keys of `update.keyring`, in OpenPGP's binary form, one after the other.
    ///
    /// # Errors
    /// The file is not there, or holds something else than public keys.
    pub fn update_keys(&self) -> Result<Vec<u8>> {
        let Some(node) = self.tree.at(&["update", "keyring"]) else {
            return Ok(Vec::new());
        };
        let Some(written) = node.text() else {
            return Ok(Vec::new());
        };
        let path = resolve(node, written)?;
        if !path.is_file() {
            return Err(missing(node, &path, "file"));
        }
        openpgp::keyring(&read_bounded(&path, MOST_KEYRING)?).map_err(|error| {
            failure(&[Problem::at(
                &node.origin,
                format!("{}: {error:#}", path.display()),
            )])
            .into()
        })
    }

    /// The folder of signing keys that the profile names, relative to the file that names it.
    ///
    /// # Errors
    /// An embedded profile names one, which it can't have.
    pub fn keys(&self) -> Result<Option<PathBuf>> {
        match self.tree.get("keys") {
            Some(node) => match node.text() {
                Some(written) => Ok(Some(resolve(node, written)?)),
                None => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// Who signs, as the profile says; a program is relative to the file that names it.
    ///
    /// # Errors
    /// An embedded profile names a relative program, which it can't have.
    pub fn signer(&self) -> Result<Choice> {
        let Some(node) = self.tree.get("signer") else {
            return Ok(Choice::File);
        };
        let Some(written) = node.text() else {
            return Ok(Choice::File);
        };
        let mut choice: Choice = written
            .parse()
            .map_err(|expected| Failure::new(Kind::Bug, format!("signer: expected {expected}")))?;
        if let Choice::Command(words) = &mut choice
            && let Some(program) = words.first_mut()
            && program.contains('/')
        {
            let path = resolve(node, program)?;
            // With nothing before it, it would be looked for in PATH.
            let path = Path::new(".").join(path);
            *program = path.to_string_lossy().into_owned();
        }
        Ok(choice)
    }

    /// Reads everything the profile names, as `check` does.
    ///
    /// # Errors
    /// The first file that is not there or not readable, or a local package with a wrong hash.
    pub fn check_files(&self) -> Result<()> {
        self.overlay()?;
        for deb in self.local_debs()? {
            let Some(wanted) = deb.sha256 else { continue };
            let found = Sha256::of(&read_bounded(&deb.path, MOST_FILE)?);
            if found != wanted {
                return Err(Failure::new(
                    Kind::Usage,
                    format!(
                        "{} has the SHA-256 {found}; {} says {wanted}",
                        deb.path.display(),
                        deb.origin
                    ),
                )
                .into());
            }
        }
        for container in self.container_files()? {
            container.check()?;
        }
        self.keyrings()?;
        self.update_keys()?;
        Ok(())
    }

    /// The `root.prune` rules that are written in files of the user's and on the command line, not
    /// in built-in profiles, each with its place. A pattern that matches nothing is a slip there; a
    /// built-in profile serves many sets of packages.
    #[must_use]
    pub fn own_prune_rules(&self) -> Vec<(&str, String)> {
        self.list(&["root", "prune"])
            .iter()
            .filter(|node| node.origin.source.base != Base::Embedded)
            .filter_map(|node| Some((node.text()?, node.origin.short())))
            .collect()
    }

    /// `FILE:LINE` of an entry of one of the board's lists.
    #[must_use]
    pub fn board_place(&self, path: &[&str], index: usize) -> String {
        let list = self.tree.get("board").and_then(|board| board.at(path));
        list.and_then(|list| list.items().get(index))
            .map_or_else(|| "the board".into(), |node| node.origin.short())
    }

    pub(super) fn list(&self, path: &[&str]) -> &[Node] {
        self.tree.at(path).map_or(&[], Node::items)
    }
}

/// The path of the machine that a value means.
pub(super) fn resolve(node: &Node, written: &str) -> Result<PathBuf> {
    match &node.origin.source.base {
        Base::Folder(folder) => Ok(tidy(&folder.join(written))),
        Base::Embedded => Err(failure(&[Problem::at(
            &node.origin,
            "a built-in profile can't name files of the machine",
        )])
        .into()),
    }
}

pub(super) fn missing(node: &Node, path: &Path, what: &str) -> anyhow::Error {
    let mut problem = Problem::at(&node.origin, format!("{} is not a {what}", path.display()))
        .label(format!("no such {what}"));
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    let mut names = Vec::new();
    if let Some(parent) = path.parent()
        && let Ok(entries) = std::fs::read_dir(parent)
    {
        names.extend(
            entries
                .filter_map(Result::ok)
                .map(|entry| entry.file_name().to_string_lossy().into_owned()),
        );
        names.sort();
    }
    if let Some(near) = nearest(&wanted, names.iter().map(String::as_str)) {
        problem = problem.hint(format!("did you mean `{near}`?"));
    }
    failure(&[problem.hint("paths are relative to the file that names them")]).into()
}

fn embedded_overlay(node: &Node, written: &str, out: &mut Vec<OverlayEntry>) -> Result<()> {
    let prefix = format!("{written}/");
    let mut entries = BTreeMap::new();
    for (path, bytes) in embedded::FILES {
        let Some(rest) = format!("files/{path}")
            .strip_prefix(&prefix)
            .map(String::from)
        else {
            continue;
        };
        let path = TreePath::parse(&rest)?;
        let mut parent = path.parent();
        while let Some(dir) = parent.filter(|dir| !dir.is_root()) {
            parent = dir.parent();
            entries.insert(dir, (0o755, OverlayKind::Dir));
        }
        entries.insert(path, (0o644, OverlayKind::File(bytes.to_vec())));
    }
    if entries.is_empty() {
        return Err(missing(node, Path::new(written), "built-in directory"));
    }
    out.extend(
        entries
            .into_iter()
            .map(|(path, (mode, kind))| OverlayEntry {
                path,
                meta: Meta::root(mode),
                kind,
                from: written.into(),
            }),
    );
    Ok(())
}

/// Reads a directory and what is below it, without following symbolic links.
fn read_dir(dir: &Path, below: &TreePath, from: &str, out: &mut Vec<OverlayEntry>) -> Result<()> {
    let context = || format!("reading the overlay directory {}", dir.display());
    for entry in std::fs::read_dir(dir).with_context(context)? {
        let entry = entry.with_context(context)?;
        let path = below
            .join(entry.file_name().as_bytes())
            .with_context(context)?;
        let on_disk = entry.path();
        let meta = std::fs::symlink_metadata(&on_disk).with_context(context)?;
        let kind = meta.file_type();
        let (mode, kind) = if kind.is_dir() {
            read_dir(&on_disk, &path, from, out)?;
            (0o755, OverlayKind::Dir)
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&on_disk).with_context(context)?;
            (
                0o777,
                OverlayKind::Symlink(target.as_os_str().as_bytes().to_vec()),
            )
        } else if kind.is_file() {
            let mode = if meta.permissions().mode() & 0o111 == 0 {
                0o644
            } else {
                0o755
            };
            (mode, OverlayKind::File(read_bounded(&on_disk, MOST_FILE)?))
        } else {
            return Err(Failure::new(
                Kind::Usage,
                format!(
                    "{} is a device, socket or pipe; an overlay has directories, files and symbolic links",
                    on_disk.display()
                ),
            )
            .into());
        };
        if out.len() >= MOST_ENTRIES {
            return Err(Failure::new(
                Kind::Usage,
                format!("the overlay {from} has more than {MOST_ENTRIES} entries"),
            )
            .into());
        }
        out.push(OverlayEntry {
            path,
            meta: Meta::root(mode),
            kind,
            from: from.into(),
        });
    }
    Ok(())
}
