//! What a rule reports.

use serde::{Deserialize, Serialize};

use super::RULES;
use crate::report::size::Maker;
use crate::tree::{Node, TreePath};

/// The name of one of [`RULES`]. Serde takes a bare reference for one into what it reads.
type RuleName = &'static str;

/// One thing that is missing, or that should not be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The file it is about, as the image has it; `allow:` names it.
    pub path: String,
    /// The rule's name; `allow:` names it.
    #[serde(deserialize_with = "rule")]
    pub rule: RuleName,
    /// Who put the file there.
    pub origin: Maker,
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
        Self {
            path: path.to_string(),
            rule,
            origin: Maker::from(&node.origin),
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

/// A rule by its name. One that is gone has findings of another program only.
fn rule<'de, D: serde::Deserializer<'de>>(from: D) -> Result<RuleName, D::Error> {
    let name = String::deserialize(from)?;
    let known = RULES.iter().find(|rule| rule.name == name);
    known
        .map(|rule| rule.name)
        .ok_or_else(|| serde::de::Error::custom("no rule has this name"))
}
