//! The licences of what an image hands on.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Rule;
use crate::audit::{Finding, Subject};
use crate::tree::{Node, Origin, TreePath};

pub(super) const RULE: Rule = Rule {
    name: "licences",
    about: "The image has files of a package, and not `/usr/share/doc/PACKAGE/copyright`, which most \
            licences want to come along.",
    check,
};

#[allow(clippy::unnecessary_wraps, reason = "as every rule")]
fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut packages: BTreeMap<&str, (&TreePath, &Node)> = BTreeMap::new();
    for (path, node) in subject.tree.iter() {
        if let (Origin::Package(name), Some(_)) = (&node.origin, node.content()) {
            packages.entry(name).or_insert((path, node));
        }
    }
    let mut found = Vec::new();
    for (name, first) in packages {
        let text = format!("/usr/share/doc/{name}/copyright");
        let is_there = subject
            .find(&text)
            .is_some_and(|(_, node)| node.content().is_some_and(|content| !content.is_empty()));
        if !is_there {
            let message = format!("is of {name}, whose licence `{text}` the image does not have");
            found.push(
                Finding::new(RULE.name, first, "copyright", message)
                    .hint(format!("keep it: add \"!{text}\" to root.prune")),
            );
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file, link};

    #[test]
    fn licences_come_along() {
        let of = |package: &str| Node {
            origin: Origin::Package(package.into()),
            ..file(0o644, "x")
        };
        let image = Image::new(&[("usr/share/doc/test/copyright", "MIT")])
            .with("usr/bin/bad", of("bad"))
            .with("usr/bin/worse", of("bad"))
            .with("usr/bin/linked", of("linked"))
            .with("usr/share/doc/linked", link("test"));
        assert_eq!(image.findings(&RULE), ["/usr/bin/bad: copyright"]);
    }
}
