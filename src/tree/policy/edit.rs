//! Plain edits of a tree, each node marked with the policy that made it.

use std::sync::Arc;

use anyhow::{Context, Result};

use crate::tree::{Content, Kind, Meta, Node, Origin, Tree, TreePath};

/// A tree together with the name of the policy that edits it.
#[derive(Debug)]
pub struct Editor<'a> {
    /// The tree.
    pub tree: &'a mut Tree,
    origin: Arc<str>,
}

/// Parses a path of the tool's own data.
///
/// # Errors
/// A path that is not one inside the image.
pub fn path(text: &str) -> Result<TreePath> {
    TreePath::parse(text).with_context(|| format!("reading the path `{text}`"))
}

impl<'a> Editor<'a> {
    /// Edits `tree` in the name of `origin` (`quirk pam`, `sysusers`).
    pub fn new(tree: &'a mut Tree, origin: impl Into<Arc<str>>) -> Self {
        Self {
            tree,
            origin: origin.into(),
        }
    }

    fn put(&mut self, at: &str, mode: u16, kind: Kind) -> Result<()> {
        let node = Node {
            meta: Meta::root(mode),
            kind,
            origin: Origin::Generated(self.origin.clone()),
        };
        let at = path(at)?;
        // What was a directory goes with its content; otherwise its children would lie below a file.
        if self.tree.get(&at).is_some_and(Node::is_dir) && !node.is_dir() {
            self.tree.remove(&at);
        }
        self.tree.insert(at, node);
        Ok(())
    }

    /// Writes a regular file `root:root`, replacing whatever is there.
    ///
    /// # Errors
    /// A path that is not one inside the image.
    pub fn write(&mut self, at: &str, mode: u16, content: impl Into<Content>) -> Result<()> {
        let content = content.into();
        self.put(
            at,
            mode,
            Kind::File {
                content,
                link: None,
            },
        )
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// A path that is not one inside the image.
    pub fn symlink(&mut self, at: &str, target: &str) -> Result<()> {
        self.put(at, 0o777, Kind::Symlink(target.as_bytes().to_vec()))
    }

    /// Makes a directory, or sets the mode of the one that is there.
    ///
    /// # Errors
    /// A path that is not one inside the image.
    pub fn mkdir(&mut self, at: &str, mode: u16) -> Result<()> {
        if let Some(node) = self.tree.get_mut(&path(at)?)
            && node.is_dir()
        {
            node.meta.mode = mode;
            return Ok(());
        }
        self.put(at, mode, Kind::Dir)
    }

    /// Takes a path and what is below it out; whether there was anything.
    ///
    /// # Errors
    /// A path that is not one inside the image.
    pub fn remove(&mut self, at: &str) -> Result<bool> {
        Ok(!self.tree.remove(&path(at)?).is_empty())
    }
}

/// Whether anything is at `at`, links not followed.
#[must_use]
pub fn exists(tree: &Tree, at: &str) -> bool {
    TreePath::parse(at).is_ok_and(|p| tree.get(&p).is_some())
}

/// The text of the regular file that `at` leads to through links of the tree; `None` when there is
/// none.
///
/// # Errors
/// Content that does not decompress.
pub fn text(tree: &Tree, at: &TreePath) -> Result<Option<String>> {
    let Some(content) = tree
        .resolve(at)
        .and_then(|p| tree.get(&p))
        .and_then(Node::content)
    else {
        return Ok(None);
    };
    let bytes = content.read().with_context(|| format!("reading {at}"))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Regular files or links directly in `dir` whose name ends in `suffix`, in order of name.
///
/// # Errors
/// A path that is not one inside the image.
pub fn files_in(tree: &Tree, dir: &str, suffix: &str) -> Result<Vec<TreePath>> {
    let dir = path(dir)?;
    Ok(tree
        .children(&dir)
        .filter(|(p, n)| !n.is_dir() && p.name().ends_with(suffix.as_bytes()))
        .map(|(p, _)| p.clone())
        .collect())
}

/// Configuration files of one kind, as systemd orders them: by name, `/etc` hides `/usr/lib`.
///
/// # Errors
/// A path that is not one inside the image.
pub fn dropins(tree: &Tree, folder: &str, suffix: &str) -> Result<Vec<TreePath>> {
    let mut by_name = std::collections::BTreeMap::new();
    for base in ["usr/lib", "etc"] {
        for file in files_in(tree, &format!("{base}/{folder}"), suffix)? {
            by_name.insert(file.name().to_vec(), file);
        }
    }
    Ok(by_name.into_values().collect())
}
