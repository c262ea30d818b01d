//! The paths of a running system, and where the tree of its image has them.

use super::policy::FACTORY;
use super::{TreePath, usr_merge};

/// Where the tree has what the running system has at `path`: `/bin`, `/lib` and the like in `/usr`, and
/// `/etc`, which begins as a copy, in [`FACTORY`].
#[must_use]
pub fn in_tree(path: &TreePath) -> Option<TreePath> {
    if path.components().next() == Some(b"etc") {
        let rest = path.strip_prefix(&TreePath::parse("etc").ok()?)?;
        return TreePath::parse(FACTORY).ok()?.join(rest.as_bytes()).ok();
    }
    usr_merge::physical(path).ok()
}
