//! Files whose owner nobody knows.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Rule;
use crate::audit::{Finding, Subject, accounts};
use crate::tree::Kind;

pub(super) const RULE: Rule = Rule {
    name: "owners",
    about: "A file belongs to a number that no user or group has: whoever gets that number one day gets \
            the file with it.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let users = numbers(subject, "passwd")?;
    let groups = numbers(subject, "group")?;
    let mut found = Vec::new();
    for (path, node) in subject.tree.iter() {
        if matches!(node.kind, Kind::Symlink(_)) {
            continue;
        }
        for (what, number, known) in [
            ("user", node.meta.uid, &users),
            ("group", node.meta.gid, &groups),
        ] {
            if !known.contains(&number) {
                let message =
                    format!("belongs to the {what} {number}, whom the image does not have");
                found.push(
                    Finding::new(RULE.name, (path, node), number.to_string(), message).hint(
                        format!("declare it with its number under `root.{what}s` of the profile"),
                    ),
                );
            }
        }
    }
    Ok(found)
}

fn numbers(subject: &Subject<'_>, name: &str) -> Result<BTreeSet<u32>> {
    // The superuser needs no file.
    let mut out = BTreeSet::from([0]);
    if let Some((_, entries)) = accounts::file(subject, name)? {
        out.extend(
            entries
                .iter()
                .filter_map(|entry| entry.field(2).parse::<u32>().ok()),
        );
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file};

    #[test]
    fn every_file_belongs_to_somebody() {
        let owned = |uid, gid| {
            let mut node = file(0o644, "x");
            node.meta.uid = uid;
            node.meta.gid = gid;
            node
        };
        let image = Image::new(&[
            ("usr/share/factory/etc/passwd", "ann:x:5:42::/:\n"),
            ("usr/share/factory/etc/group", "shadow:x:42:\n"),
        ])
        .with("usr/bin/good", owned(5, 42))
        .with("usr/bin/bad", owned(42, 5));
        assert_eq!(
            image.findings(&RULE),
            ["/usr/bin/bad: 42", "/usr/bin/bad: 5"]
        );
    }
}
