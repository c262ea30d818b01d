//! The merged `/usr`: what packages ship in top-level aliases such as `/lib` lies in `/usr/lib`.

use super::{Kind, Meta, Node, Origin, PathError, Tree, TreePath};

/// Top-level names that are symbolic links into `/usr` (Debian Policy 10.1, UsrMerge).
pub const ALIASES: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

fn is_alias(component: &[u8]) -> bool {
    ALIASES.iter().any(|a| a.as_bytes() == component)
}

/// Where a path lies when the aliases are followed: `/lib/x` in `/usr/lib/x`, `/lib` in `/usr/lib`.
///
/// # Errors
/// The path becomes longer than Linux allows.
pub fn physical(path: &TreePath) -> Result<TreePath, PathError> {
    match path.components().next() {
        Some(first) if is_alias(first) => TreePath::parse([b"usr/", path.as_bytes()].concat()),
        _ => Ok(path.clone()),
    }
}

/// Whether this is a top-level alias itself.
#[must_use]
pub fn is_alias_path(path: &TreePath) -> bool {
    is_alias(path.as_bytes())
}

/// Makes the aliases that no package ships but whose directories exist.
pub(super) fn complete(tree: &mut Tree) {
    for alias in ALIASES {
        let (Ok(link), Ok(dir)) = (
            TreePath::parse(alias),
            TreePath::parse(format!("usr/{alias}")),
        ) else {
            continue;
        };
        if tree.get(&dir).is_some_and(Node::is_dir) && tree.get(&link).is_none() {
            let node = Node {
                meta: Meta::root(0o777),
                kind: Kind::Symlink(dir.as_bytes().to_vec()),
                origin: Origin::Generated("usr-merge".into()),
            };
            tree.insert(link, node);
        }
    }
}
