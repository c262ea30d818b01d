//! Files of the profile's overlay directories.

use std::sync::Arc;

use crate::tree::{Kind, Meta, Node, Origin, Tree, TreePath};

/// One file, link or directory of an overlay.
#[derive(Debug, Clone)]
pub struct OverlayEntry {
    /// Where it goes; below `/etc` it becomes a default of the running system's `/etc`.
    pub path: TreePath,
    /// Owner and mode.
    pub meta: Meta,
    /// Type and content.
    pub kind: Kind,
    /// The overlay directory as the profile writes it.
    pub source: Arc<str>,
}

/// Lays the entries over the tree. A directory keeps what is below it; everything else replaces.
pub fn lay(tree: &mut Tree, entries: &[OverlayEntry]) {
    for entry in entries {
        let is_dir = matches!(entry.kind, Kind::Dir);
        let node = Node {
            meta: entry.meta.clone(),
            kind: entry.kind.clone(),
            origin: Origin::Overlay(entry.source.clone()),
        };
        // A directory of the overlay is only the way to its files: it does not change modes such as
        // those of /usr or /etc/ssl/private.
        match tree.get(&entry.path) {
            Some(old) if is_dir && old.is_dir() => {}
            Some(old) => {
                if old.is_dir() {
                    tree.remove(&entry.path);
                }
                tree.insert(entry.path.clone(), node);
            }
            None => tree.insert(entry.path.clone(), node),
        }
    }
}
