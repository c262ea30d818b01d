//! The last step: `/etc` becomes the lower layer in `/usr`, and nothing else is left outside `/usr`.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::failure::{Failure, Kind as FailureKind};
use crate::tree::{Kind, Origin, Tree, TreePath};

use super::edit::{dropins, path, text};
use super::words;

/// The lower layer of the overlay that the initrd mounts on `/etc`.
pub const FACTORY: &str = "usr/share/factory/etc";

/// Moves `/etc`; what a package has put into the factory itself stays where `/etc` has nothing.
///
/// # Errors
/// None that a valid tree can cause.
pub fn move_etc(tree: &mut Tree) -> Result<()> {
    let (etc, factory) = (path("etc")?, path(FACTORY)?);
    for (at, node) in tree.remove(&etc) {
        let Some(rest) = at.strip_prefix(&etc) else {
            continue;
        };
        let to = factory.join(rest.as_bytes())?;
        let was_dir = tree.get(&to).is_some_and(crate::tree::Node::is_dir);
        if was_dir && !node.is_dir() {
            tree.remove(&to);
        }
        tree.insert(to, node);
    }
    Ok(())
}

/// Takes everything outside `/usr` out. Returns it, and a note for each thing that the running system
/// will not have because no tmpfiles line makes it.
///
/// # Errors
/// An overlay file outside `/usr` and `/etc`, which would be lost.
pub fn drop_outside(tree: &mut Tree) -> Result<(Tree, Vec<String>)> {
    let made = tmpfiles_paths(tree)?;
    let usr = path("usr")?;
    let tops: Vec<TreePath> = tree
        .children(&TreePath::root())
        .map(|(p, _)| p.clone())
        .filter(|p| *p != usr)
        .collect();
    let mut outside = Tree::new();
    let mut notes = Vec::new();
    for top in tops {
        for (at, node) in tree.remove(&top) {
            if let (Origin::Overlay(source), false) = (&node.origin, node.is_dir()) {
                return Err(Failure::new(
                    FailureKind::Usage,
                    format!("the overlay `{source}` has {at}, but an image holds files below /usr and /etc only"),
                )
                .hint("put it below /usr/share and add a `C` or `L` line to `root.tmpfiles`, which makes it at boot")
                .into());
            }
            if !made.contains(&at) && !provided_by_system(&at, &node.kind) {
                notes.push(match &node.origin {
                    Origin::Package(package) => {
                        format!("{at} of {package} is not in the image: no tmpfiles line makes it")
                    }
                    _ => format!("{at} is not in the image: no tmpfiles line makes it"),
                });
            }
            outside.insert(at, node);
        }
    }
    Ok((outside, notes))
}

/// What exists on every running system: mount points, the links of merged /usr, and what the initrd's
/// switch-root makes.
fn provided_by_system(at: &TreePath, kind: &Kind) -> bool {
    let text = at.to_string();
    match kind {
        Kind::Symlink(_) => matches!(
            &*text,
            "/bin" | "/sbin" | "/lib" | "/lib32" | "/lib64" | "/libx32"
        ),
        Kind::Dir => {
            matches!(
                &*text,
                "/dev" | "/proc" | "/sys" | "/run" | "/tmp" | "/boot" | "/var"
            ) || text.starts_with("/run/")
        }
        _ => text.starts_with("/boot/"),
    }
}

/// Paths that lines of tmpfiles.d make.
fn tmpfiles_paths(tree: &Tree) -> Result<BTreeSet<TreePath>> {
    let mut out = BTreeSet::new();
    for file in dropins(tree, "tmpfiles.d", ".conf")? {
        let content = text(tree, &file)?.unwrap_or_default();
        for line in content.lines() {
            let words = words::split(line).unwrap_or_default();
            let (Some(kind), Some(at)) = (words.first(), words.get(1)) else {
                continue;
            };
            if kind.starts_with(['f', 'd', 'D', 'v', 'q', 'Q', 'L', 'C', 'p', 'c', 'b'])
                && let Ok(at) = TreePath::parse(at)
            {
                out.insert(at);
            }
        }
    }
    Ok(out)
}

/// The result has `/usr` and nothing else at its root.
///
/// # Errors
/// Something else is there.
pub fn check_only_usr(tree: &Tree) -> Result<()> {
    for (at, node) in tree.children(&TreePath::root()) {
        anyhow::ensure!(
            at.as_bytes() == b"usr" && node.is_dir(),
            "{at} is left outside /usr after the policies were applied"
        );
    }
    Ok(())
}
