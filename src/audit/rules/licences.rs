//! The licences of what an image hands on.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Rule;
use crate::audit::{Finding, Subject};
use crate::tree::{Kind, Node, Origin, TreePath};

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
            let hint = elsewhere(subject, name)
                .unwrap_or_else(|| format!("keep it: add \"!{text}\" to root.prune"));
            found.push(Finding::new(RULE.name, first, "copyright", message).hint(hint));
        }
    }
    Ok(found)
}

/// What to do where the documentation of `package` is that of another one, by way of a link that leads
/// nowhere.
pub(super) fn elsewhere(subject: &Subject<'_>, package: &str) -> Option<String> {
    let text = format!("/usr/share/doc/{package}");
    if subject.find(&text).is_some() {
        return None;
    }
    match &subject.tree.get(&TreePath::parse(&text).ok()?)?.kind {
        Kind::Symlink(target) => {
            let target = String::from_utf8_lossy(target);
            let other = target.rsplit('/').next()?;
            Some(format!(
                "it is in the package {other}: lock the profile anew, which takes it, or add it to \
                 packages.include"
            ))
        }
        _ => None,
    }
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
            .with("usr/share/doc/linked", link("test"))
            .with("usr/bin/lost", of("lost"))
            .with("usr/share/doc/lost", link("lost-base"));
        assert_eq!(
            image.findings(&RULE),
            ["/usr/bin/bad: copyright", "/usr/bin/lost: copyright"]
        );
        let found = check(&image.subject()).unwrap();
        let hints: Vec<_> = found.iter().flat_map(|finding| &finding.hints).collect();
        assert!(
            hints[0].contains("!/usr/share/doc/bad/copyright"),
            "{hints:?}"
        );
        assert!(hints[1].contains("lost-base"), "{hints:?}");
    }
}
