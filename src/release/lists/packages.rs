//! `packages.json`: each package with where it came from and its licences.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::copyright::{self, Said};
use crate::arch::Arch;
use crate::build::Built;
use crate::digest::Sha256;
use crate::release::facts::Facts;
use crate::tree::{Tree, TreePath};

/// Version of this format.
const VERSION: u32 = 1;

/// All packages of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// Version of this format: 1.
    pub format: u32,
    /// `os.id`.
    pub id: String,
    /// `os.version`.
    pub version: String,
    /// Architecture.
    pub arch: Arch,
    /// By name.
    pub packages: Vec<Package>,
    /// What the board took by hash for the EFI system partition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub firmware: Vec<Firmware>,
}

/// What files on the EFI system partition were taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// What the board calls it.
    pub name: String,
    /// Version.
    pub version: String,
    /// SHA-256 of the whole.
    pub sha256: Sha256,
    /// Its licence notices on the EFI system partition.
    pub notices: Vec<Copyright>,
}

/// Where boards put licence notices.
const NOTICES: &str = "licences/";

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian architecture.
    pub architecture: String,
    /// Source package, where the archive's path tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Suite; empty for a local file.
    pub suite: String,
    /// Path below the archive's base URL, or the local file's as the profile writes it.
    pub path: String,
    /// SHA-256 of the `.deb`.
    pub sha256: Sha256,
    /// Why it is in the image.
    pub why: String,
    /// Files that are in the image.
    pub files: u64,
    /// Their bytes before compression.
    pub bytes: u64,
    /// Licences by short name, where the copyright file is machine-readable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licences: Vec<String>,
    /// Files of `/usr/share/common-licenses` that a copyright file in prose points to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub points_to: Vec<String>,
    /// The copyright file, where the image has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copyright: Option<Copyright>,
}

/// A copyright file in the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Copyright {
    /// Its path.
    pub path: String,
    /// Hash of its text.
    pub sha256: Sha256,
}

impl Packages {
    /// The text of the file.
    pub fn to_json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).context("writing packages.json")?;
        text.push('\n');
        Ok(text)
    }
}

fn firmware(built: &Built) -> Vec<Firmware> {
    let Some(board) = &built.manifest.board else {
        return Vec::new();
    };
    let notices = |name: &str| -> Vec<Copyright> {
        board
            .files
            .iter()
            .filter(|file| file.from == name && file.path.starts_with(NOTICES))
            .map(|file| Copyright {
                path: format!("esp:/{}", file.path),
                sha256: file.sha256,
            })
            .collect()
    };
    board
        .artefacts
        .iter()
        .map(|artefact| Firmware {
            name: artefact.name.clone(),
            version: artefact.version.clone(),
            sha256: artefact.sha256,
            notices: notices(&artefact.name),
        })
        .collect()
}

/// The packages of `built`.
pub fn of(built: &Built, facts: &Facts) -> Result<Packages> {
    let summary = &facts.summary;
    let sources = by_source(facts);
    let mut packages = Vec::new();
    for package in &summary.packages {
        let found = copyright_of(
            &built.tree,
            &package.name,
            package.source.as_deref(),
            &sources,
        )?;
        let (mut licences, mut points_to, mut copyright) = (Vec::new(), Vec::new(), None);
        if let Some((path, text)) = found {
            match copyright::read(&String::from_utf8_lossy(&text)) {
                Said::Names(names) => licences = names,
                Said::Prose(names) => points_to = names,
            }
            copyright = Some(Copyright {
                path: path.to_string(),
                sha256: Sha256::of(&text),
            });
        }
        let locked = built.lock.package(&package.name);
        let locked = locked.with_context(|| format!("the lock has no {}", package.name))?;
        packages.push(Package {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            source: package.source.clone(),
            suite: locked.suite.clone(),
            path: locked.path.clone(),
            sha256: locked.sha256,
            why: locked.why.clone(),
            files: package.files,
            bytes: package.bytes,
            licences,
            points_to,
            copyright,
        });
    }
    Ok(Packages {
        format: VERSION,
        id: summary.id.clone(),
        version: summary.version.clone(),
        arch: summary.arch,
        packages,
        firmware: firmware(built),
    })
}

/// Names of packages by their source.
fn by_source(facts: &Facts) -> BTreeMap<&str, Vec<&str>> {
    let mut out: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &facts.summary.packages {
        if let Some(source) = &package.source {
            out.entry(source).or_default().push(&package.name);
        }
    }
    out
}

/// The copyright file of a package with its text: its own, else that of another package of the same
/// source, to whose folder Debian's packages link (Debian Policy 12.5).
fn copyright_of(
    tree: &Tree,
    name: &str,
    source: Option<&str>,
    sources: &BTreeMap<&str, Vec<&str>>,
) -> Result<Option<(TreePath, Vec<u8>)>> {
    let siblings = source.and_then(|source| sources.get(source));
    let siblings = siblings.into_iter().flatten().copied();
    for name in std::iter::once(name).chain(siblings) {
        let path = TreePath::parse(format!("usr/share/doc/{name}/copyright"))?;
        let Some(path) = tree.resolve(&path) else {
            continue;
        };
        if let Some(content) = tree.get(&path).and_then(crate::tree::Node::content) {
            let text = content.read().with_context(|| format!("reading {path}"))?;
            return Ok(Some((path, text.into_owned())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Kind, Meta, Node, Origin};

    #[test]
    fn a_package_without_a_copyright_file_has_its_source_s() {
        let mut tree = Tree::new();
        let mut put = |path: &str, kind: Kind| {
            let node = Node {
                meta: Meta::root(0o644),
                kind,
                origin: Origin::Package("p".into()),
            };
            tree.insert(TreePath::parse(path).unwrap(), node);
        };
        let file = |text: &str| Kind::File {
            content: text.into(),
            link: None,
        };
        put("usr/share/doc/libkmod2/copyright", file("LGPL"));
        put("usr/share/doc/own/copyright", file("own"));
        put("usr/share/doc/linked", Kind::Symlink(b"own".to_vec()));
        let sources = [("kmod", vec!["kmod", "libkmod2"])].into();
        let of = |name: &str, source| {
            let found = copyright_of(&tree, name, source, &sources).unwrap();
            found.map(|(path, text)| (path.to_string(), String::from_utf8(text).unwrap()))
        };
        let path = |name: &str| format!("/usr/share/doc/{name}/copyright");
        assert_eq!(
            of("kmod", Some("kmod")),
            Some((path("libkmod2"), "LGPL".into()))
        );
        assert_eq!(of("own", None), Some((path("own"), "own".into())));
        assert_eq!(of("linked", None), Some((path("own"), "own".into())));
        assert_eq!(of("none", Some("none")), None);
    }
}
