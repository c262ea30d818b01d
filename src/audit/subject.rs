//! What is audited: a finished tree, and what is known about it.

use super::Shared;
use crate::kernel::depmod::Modules;
use crate::profile::Profile;
use crate::store::Memo;
use crate::tree::policy::FACTORY;
use crate::tree::run_time::in_tree;
use crate::tree::{Node, Tree, TreePath, follow};

/// A finished tree with everything that rules ask about.
#[allow(missing_debug_implementations, reason = "a memo shows nothing")]
pub struct Subject<'a> {
    /// What the image holds: `/usr` and nothing else. `/etc` of the running system begins as what
    /// lies in [`FACTORY`].
    pub tree: &'a Tree,
    /// The merged profile.
    pub profile: &'a Profile,
    /// Units of PID 1 that presets enabled.
    pub enabled_units: &'a [String],
    /// The modules in `tree` of the image's kernel.
    pub modules: &'a Modules,
    /// What packages have outside `/usr` and `/etc`, which the image does not have.
    pub outside: &'a Tree,
    /// Where it is kept what files say about themselves.
    pub memo: &'a dyn Memo,
    /// What several rules read, for the first of them to fill.
    pub shared: Shared,
}

impl<'a> Subject<'a> {
    /// What a program finds at the absolute path `text`: where it lies in the tree, and the node.
    /// Symbolic links are followed; `/bin`, `/lib` and the like, and `/etc` are in their places.
    /// `None` when nothing is there.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<(TreePath, &'a Node)> {
        let at = follow(text.as_bytes(), |at| self.tree.get(&in_tree(at)?))?;
        let at = in_tree(&at)?;
        self.tree.get(&at).map(|node| (at, node))
    }

    /// The absolute path under which the running system has what lies at `path` in the tree.
    #[must_use]
    pub fn at_run_time(path: &TreePath) -> String {
        let text = path.to_string();
        match text.strip_prefix(&format!("/{FACTORY}")) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("/etc{rest}"),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, link};

    #[test]
    fn paths_are_those_of_the_running_system() {
        let image = Image::new(&[
            ("usr/bin/dash", "x"),
            ("usr/share/factory/etc/pam.d/login", "x"),
        ])
        .with("usr/bin/sh", link("dash"))
        .with("usr/share/factory/etc/alias", link("../usr/bin/sh"))
        .with("usr/lib/config", link("/etc/pam.d"))
        .with("usr/lib/loop", link("loop"));
        let subject = image.subject();
        let found = |text| subject.find(text).map(|(path, _)| path.to_string());
        for text in ["/bin/sh", "/usr/bin/dash", "/etc/alias"] {
            assert_eq!(found(text).as_deref(), Some("/usr/bin/dash"), "{text}");
        }
        let login = "/usr/share/factory/etc/pam.d/login";
        assert_eq!(found("/lib/config/login").as_deref(), Some(login));
        assert_eq!(found("/usr/lib/loop"), None);
        assert_eq!(found("/usr/bin/bash"), None);
        let path = TreePath::parse(login).unwrap();
        assert_eq!(Subject::at_run_time(&path), "/etc/pam.d/login");
    }
}
