//! What a rule reports.

use serde::Serialize;

use crate::tree::{Node, Origin, TreePath};

/// One thing that is missing, or that should not be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file it is about, as the image has it; `allow:` names it.
    pub path: String,
    /// The rule's name; `allow:` names it.
    pub rule: &'static str,
    /// Who put the file there: a package's name, an overlay's path, or what made it.
    pub origin: String,
    /// What is missing or wrong, in a word: `libfoo.so.1`, `/usr/bin/perl`, `setuid`.
    pub what: String,
    /// The whole story in a sentence, without path and origin: ``needs the library `libfoo.so.1`,
    /// which the image does not have``.
    pub message: String,
    /// How to mend it, where the rule knows.
    pub hints: Vec<String>,
}

impl Finding {
    /// A finding of `rule` about the file at `path`.
    #[must_use]
    pub fn new(
        rule: &'static str,
        (path, node): (&TreePath, &Node),
        what: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let (Origin::Package(origin) | Origin::Overlay(origin) | Origin::Generated(origin)) =
            &node.origin;
        Self {
            path: path.to_string(),
            rule,
            origin: origin.to_string(),
            what: what.into(),
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}
