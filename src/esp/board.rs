//! What a board adds to an image: files on the EFI system partition, and device trees in the UKI.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::EspFile;
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::package::extract::Archive;
use crate::profile::Loaded;
use crate::profile::board::{Board, KERNEL};
use crate::report::manifest::{BoardArtefact, BoardFile, BoardSummary};
use crate::resolve::Lock;
use crate::resolve::lock::LockedArtefact;
use crate::tree::{BootFiles, TreePath};
use crate::words::nearest;

/// What a board adds to an image.
#[derive(Debug, Default)]
pub struct Additions {
    /// Files on the EFI system partition, in the board's order.
    pub files: Vec<EspFile>,
    /// Device trees, in the board's order.
    pub devicetrees: Vec<Arc<Vec<u8>>>,
    /// For the manifest; nothing where there is no board.
    pub summary: Option<BoardSummary>,
}

/// One file that is to be taken from somewhere.
struct Wish<'a> {
    from: &'a str,
    path: Option<&'a str>,
    /// `FILE:LINE` that asks for it.
    place: String,
}

/// Collects what the board of a profile adds. `paths` are the artefacts, in the lock's order.
///
/// # Errors
/// A package or kernel without a file that the board names.
pub fn collect(
    loaded: &Loaded,
    lock: &Lock,
    paths: &[PathBuf],
    boot: &BootFiles,
) -> Result<Additions> {
    let Some(board) = &loaded.profile.board else {
        return Ok(Additions::default());
    };
    let wishes = wishes(loaded, board);
    let mut found: BTreeMap<(&str, Option<&str>), Arc<Vec<u8>>> = BTreeMap::new();
    for (artefact, path) in lock.artefacts.iter().zip(paths) {
        let mine: Vec<_> = wishes.iter().filter(|w| w.from == artefact.name).collect();
        take(artefact, path, &mine, &mut found)?;
    }
    for wish in wishes.iter().filter(|wish| wish.from == KERNEL) {
        let bytes = from_kernel(wish, boot)?;
        found.insert((KERNEL, wish.path), bytes);
    }
    let get = |from: &str, path: Option<&str>| {
        found
            .get(&(from, path))
            .cloned()
            .with_context(|| format!("nothing was taken from {from} for the board"))
    };
    let mut files = Vec::new();
    let mut summary = BoardSummary {
        name: board.name.clone(),
        artefacts: lock
            .artefacts
            .iter()
            .map(|artefact| BoardArtefact {
                name: artefact.name.clone(),
                version: artefact.version.clone(),
                sha256: artefact.sha256,
            })
            .collect(),
        files: Vec::new(),
        devicetrees: Vec::new(),
    };
    let listed = |path: &str, from: &str, data: &[u8]| BoardFile {
        path: path.to_owned(),
        from: from.to_owned(),
        size: data.len() as u64,
        sha256: Sha256::of(data),
    };
    for file in &board.esp.files {
        let (from, data) = match (&file.from, &file.text) {
            (Some(from), _) => (from.as_str(), get(from, file.path.as_deref())?),
            (None, text) => (
                "text",
                text.as_deref()
                    .unwrap_or_default()
                    .as_bytes()
                    .to_vec()
                    .into(),
            ),
        };
        summary.files.push(listed(&file.to, from, &data));
        files.push(EspFile {
            path: file.to.clone(),
            data,
        });
    }
    let mut devicetrees = Vec::new();
    for tree in &board.devicetrees {
        let data = get(&tree.from, Some(&tree.path))?;
        summary
            .devicetrees
            .push(listed(&tree.path, &tree.from, &data));
        devicetrees.push(data);
    }
    Ok(Additions {
        files,
        devicetrees,
        summary: Some(summary),
    })
}

fn wishes<'a>(loaded: &Loaded, board: &'a Board) -> Vec<Wish<'a>> {
    let files = board.esp.files.iter().enumerate();
    let files = files.filter_map(|(index, file)| {
        Some(Wish {
            from: file.from.as_deref()?,
            path: file.path.as_deref(),
            place: loaded.board_place(&["esp", "files"], index),
        })
    });
    let trees = board.devicetrees.iter().enumerate();
    let trees = trees.map(|(index, tree)| Wish {
        from: &tree.from,
        path: Some(&tree.path),
        place: loaded.board_place(&["devicetrees"], index),
    });
    files.chain(trees).collect()
}

/// Takes everything that is wanted of one artefact.
fn take<'a>(
    artefact: &LockedArtefact,
    path: &std::path::Path,
    wishes: &[&Wish<'a>],
    found: &mut BTreeMap<(&'a str, Option<&'a str>), Arc<Vec<u8>>>,
) -> Result<()> {
    let what = format!("{} {}", artefact.name, artefact.version);
    let mut targets: Vec<(&Wish<'a>, TreePath)> = Vec::new();
    let mut archive = None;
    for wish in wishes {
        let Some(name) = wish.path else {
            let bytes =
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            if Sha256::of(&bytes) != artefact.sha256 {
                return Err(Failure::new(
                    Kind::Archive,
                    format!(
                        "{what} in {} has changed since it was verified",
                        path.display()
                    ),
                )
                .hint("delete that file; the next run gets it again")
                .into());
            }
            found.insert((wish.from, None), bytes.into());
            continue;
        };
        let archive = match &archive {
            Some(archive) => archive,
            None => archive.insert(Archive::open(path, &artefact.sha256, &what)?),
        };
        let target = archive.find(name).ok_or_else(|| {
            archive
                .missing(name)
                .hint(format!("{} names it", wish.place))
        })?;
        targets.push((wish, target));
    }
    let Some(archive) = archive else {
        return Ok(());
    };
    let wanted: BTreeSet<TreePath> = targets.iter().map(|(_, path)| path.clone()).collect();
    let bytes = archive.read(&wanted)?;
    for (wish, target) in targets {
        if let Some(bytes) = bytes.get(&target) {
            found.insert((wish.from, wish.path), Arc::clone(bytes));
        }
    }
    Ok(())
}

/// A file that the kernel's package ships beside its modules.
fn from_kernel(wish: &Wish<'_>, boot: &BootFiles) -> Result<Arc<Vec<u8>>> {
    let path = wish.path.unwrap_or_default();
    if let Some(content) = boot.devicetrees.get(path) {
        return Ok(content.read()?.into_owned().into());
    }
    let version = &boot.kernel_version;
    let mut failure = Failure::new(
        Kind::Usage,
        format!("kernel {version} has no file usr/lib/linux-image-{version}/{path}"),
    );
    if let Some(near) = nearest(path, boot.devicetrees.keys().map(String::as_str)) {
        failure = failure.hint(format!("did you mean `{near}`?"));
    } else if boot.devicetrees.is_empty() {
        failure = failure.hint("its package ships no device trees; name another in kernel.package");
    }
    Err(failure.hint(format!("{} names it", wish.place)).into())
}
