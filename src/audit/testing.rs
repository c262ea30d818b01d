//! Small images for the tests of rules.

use super::{Finding, Rule, Shared, Subject};
use crate::profile::Profile;
use crate::tree::{Content, Kind, Meta, Node, Origin, Tree, TreePath};

/// A finished image of a few files, all of a package called `test`.
#[derive(Debug)]
pub struct Image {
    pub tree: Tree,
    pub profile: Profile,
    pub enabled_units: Vec<String>,
}

impl Image {
    /// An image of regular files, mode 0644, and the directories above them.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let profile = crate::profile::parse_bytes(
            b"name: test\nos: {id: t, name: T, version: 1.0.0}\nkernel: {package: linux}\n",
        )
        .unwrap();
        let mut image = Self {
            tree: Tree::new(),
            profile,
            enabled_units: Vec::new(),
        };
        for (path, text) in files {
            image = image.with(path, file(0o644, *text));
        }
        image
    }

    /// The same with one more node.
    pub fn with(mut self, path: &str, node: Node) -> Self {
        self.tree.insert(TreePath::parse(path).unwrap(), node);
        self
    }

    /// What rules look at.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            tree: &self.tree,
            profile: &self.profile,
            enabled_units: &self.enabled_units,
            kernel_version: "6.12.0-test",
            shared: Shared::default(),
        }
    }

    /// What `rule` finds: `PATH: WHAT`, sorted.
    pub fn findings(&self, rule: &Rule) -> Vec<String> {
        let mut found: Vec<Finding> = (rule.check)(&self.subject()).unwrap();
        found.sort();
        let line = |finding: &Finding| format!("{}: {}", finding.path, finding.what);
        found.iter().map(line).collect()
    }
}

fn node(kind: Kind, mode: u16) -> Node {
    Node {
        meta: Meta::root(mode),
        kind,
        origin: Origin::Package("test".into()),
    }
}

/// A regular file.
pub fn file(mode: u16, content: impl Into<Content>) -> Node {
    let content = content.into();
    node(
        Kind::File {
            content,
            link: None,
        },
        mode,
    )
}

/// A symbolic link.
pub fn link(target: &str) -> Node {
    node(Kind::Symlink(target.into()), 0o777)
}
