//! The way along a path with symbolic links, as the kernel goes it.

use super::{Kind, Node, TreePath};

/// The most symbolic links on the way to a file (`MAXSYMLINKS` of Linux).
pub const MOST_LINKS: usize = 40;

/// Where `path` leads when the links in every component of it are followed, from a root that nothing
/// leaves; `node` tells what is at a path without links. `None` when nothing is there, or behind more
/// than [`MOST_LINKS`].
pub fn follow<'a>(path: &[u8], node: impl Fn(&TreePath) -> Option<&'a Node>) -> Option<TreePath> {
    let mut todo = components(path);
    let mut at = TreePath::root();
    let mut links = 0;
    while let Some(component) = todo.pop() {
        match component.as_slice() {
            b"." | b"" => continue,
            b".." => {
                at = at.parent().unwrap_or_default();
                continue;
            }
            _ => {}
        }
        let next = at.join(&component).ok()?;
        let Kind::Symlink(target) = &node(&next)?.kind else {
            at = next;
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return None;
        }
        if target.first() == Some(&b'/') {
            at = TreePath::root();
        }
        todo.extend(components(target));
    }
    Some(at)
}

/// The components of a path, the first one last.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&b| b == b'/')
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}
