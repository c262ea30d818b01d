//! The file tree of the image, in memory, free of every encoding.
//!
//! A [`Tree`] maps each path to a [`Node`]. It knows no timestamps: every inode of an image carries
//! the build's stamp. Hard links are nodes that share a [`LinkGroup`]; their metadata is equal.

pub mod boot_files;
mod content;
mod fingerprint;
mod follow;
pub mod glob;
mod merge;
pub mod parts;
mod path;
pub mod policy;
mod prune;
mod replaces;
pub mod run_time;
pub mod usr_merge;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use boot_files::BootFiles;
pub use content::Content;
pub use fingerprint::fingerprint;
pub use follow::{MOST_LINKS, follow};
pub use merge::merge;
pub use path::{PathError, TreePath};
pub use prune::{PruneReport, first_match, leave_out, prune};

/// Owner, mode and extended attributes of an inode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Meta {
    /// `root:root` with `mode`, no extended attributes.
    #[must_use]
    pub const fn root(mode: u16) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            xattrs: BTreeMap::new(),
        }
    }
}

/// Nodes with the same group are names of one inode. Numbers are unique within one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkGroup(pub u64);

/// What a path is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file; `link` is set when the inode has further names.
    File {
        /// The bytes.
        content: Content,
        /// The inode that is shared with other paths, if any.
        link: Option<LinkGroup>,
    },
    /// A symbolic link with its target as written.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Where a node came from, for error messages, `why` and the manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A package, by name.
    Package(Arc<str>),
    /// An overlay directory of the profile, by its path as written.
    Overlay(Arc<str>),
    /// Made by hullwright; the text says by what (`quirk pam`, `depmod`, `sysusers`).
    Generated(Arc<str>),
}

/// One inode under one name.
#[derive(Debug, Clone)]
pub struct Node {
    /// Owner, mode, extended attributes.
    pub meta: Meta,
    /// Type and content.
    pub kind: Kind,
    /// Who put it here.
    pub origin: Origin,
}

impl Node {
    /// Whether this is a directory.
    #[must_use]
    pub const fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir)
    }

    /// The content, if this is a regular file.
    #[must_use]
    pub const fn content(&self) -> Option<&Content> {
        match &self.kind {
            Kind::File { content, .. } => Some(content),
            _ => None,
        }
    }
}

/// The files of an image. The root directory always exists; so does the parent of every node.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: BTreeMap<TreePath, Node>,
}

impl Tree {
    /// A tree that holds a root directory of mode 0755 and nothing else.
    #[must_use]
    pub fn new() -> Self {
        let root = Node {
            meta: Meta::root(0o755),
            kind: Kind::Dir,
            origin: Origin::Generated("root".into()),
        };
        Self {
            nodes: BTreeMap::from([(TreePath::root(), root)]),
        }
    }

    /// The node at `path`, without following symbolic links.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The node at `path`, to be changed in place.
    pub fn get_mut(&mut self, path: &TreePath) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// Puts `node` at `path`, replacing what was there, and makes missing parents (0755 root:root,
    /// with the node's origin).
    pub fn insert(&mut self, path: TreePath, node: Node) {
        let mut parent = path.parent();
        while let Some(dir) = parent {
            if self.nodes.contains_key(&dir) {
                break;
            }
            parent = dir.parent();
            self.nodes.insert(dir, parent_of(&node));
        }
        self.nodes.insert(path, node);
    }

    /// Takes `path` and everything below it out; returns what was taken, in order.
    pub fn remove(&mut self, path: &TreePath) -> Vec<(TreePath, Node)> {
        let doomed: Vec<_> = self.below(path).map(|(p, _)| p.clone()).collect();
        doomed
            .into_iter()
            .filter_map(|p| self.nodes.remove(&p).map(|n| (p, n)))
            .collect()
    }

    /// All nodes in path order, the root first.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Node)> {
        self.nodes.iter()
    }

    /// All nodes in path order, to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&TreePath, &mut Node)> {
        self.nodes.iter_mut()
    }

    /// `path` itself, if present, and everything below it.
    pub fn below<'a>(
        &'a self,
        path: &'a TreePath,
    ) -> impl Iterator<Item = (&'a TreePath, &'a Node)> {
        self.nodes
            .range(path.clone()..)
            .take_while(move |(p, _)| p.starts_with(path))
    }

    /// The names directly inside the directory `path`, with their nodes.
    pub fn children<'a>(
        &'a self,
        path: &'a TreePath,
    ) -> impl Iterator<Item = (&'a TreePath, &'a Node)> {
        let depth = path.components().count() + 1;
        self.below(path)
            .filter(move |(p, _)| p.components().count() == depth)
    }

    /// Number of nodes, the root included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never true: the root is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A copy of what lies below `path`, with `path` as its root.
    #[must_use]
    pub fn subtree(&self, path: &TreePath) -> Self {
        let below = self.below(path);
        let inside = below.filter_map(|(p, node)| Some((p.strip_prefix(path)?, node.clone())));
        // The last of two roots stays.
        Self {
            nodes: Self::new().nodes.into_iter().chain(inside).collect(),
        }
    }

    /// Follows symbolic links inside the tree, every component, as the kernel would with this tree
    /// as `/`; at most [`MOST_LINKS`]. `None` when nothing is there.
    #[must_use]
    pub fn resolve(&self, path: &TreePath) -> Option<TreePath> {
        let at = follow(path.as_bytes(), |at| self.get(at))?;
        self.get(&at).map(|_| at)
    }
}

/// The directory that is made for `node` where nobody has made one.
fn parent_of(node: &Node) -> Node {
    Node {
        meta: Meta::root(0o755),
        kind: Kind::Dir,
        origin: node.origin.clone(),
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(p: &str) -> TreePath {
        TreePath::parse(p).unwrap()
    }

    fn link(target: &str) -> Node {
        Node {
            meta: Meta::root(0o777),
            kind: Kind::Symlink(target.into()),
            origin: Origin::Generated("test".into()),
        }
    }

    #[test]
    fn links_are_followed_inside_the_tree_only() {
        let mut tree = Tree::new();
        tree.insert(
            path("usr/lib/x"),
            Node {
                kind: Kind::Fifo,
                ..link("")
            },
        );
        tree.insert(path("lib"), link("usr/lib"));
        tree.insert(path("abs"), link("/lib/x"));
        tree.insert(path("up"), link("../../../lib/x"));
        tree.insert(path("loop"), link("loop"));
        for start in ["lib/x", "abs", "up"] {
            assert_eq!(
                tree.resolve(&path(start)),
                Some(path("usr/lib/x")),
                "{start}"
            );
        }
        assert_eq!(tree.resolve(&path("loop")), None);
        assert_eq!(tree.resolve(&path("lib/y")), None);
    }

    #[test]
    fn removing_a_directory_takes_what_is_below_it_and_nothing_else() {
        let mut tree = Tree::new();
        for p in ["a/b", "a/c/d", "a-x", "ab"] {
            tree.insert(path(p), link("x"));
        }
        assert_eq!(tree.remove(&path("a")).len(), 4);
        let left: Vec<_> = tree.iter().map(|(p, _)| p.to_string()).collect();
        assert_eq!(left, ["/", "/a-x", "/ab"]);
    }
}
