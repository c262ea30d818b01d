//! Programs that run as somebody else.

use anyhow::Result;

use super::Rule;
use crate::audit::{Finding, Subject};

pub(super) const RULE: Rule = Rule {
    name: "setuid",
    about: "A program runs with the rights of its owner or group, whoever starts it: a flaw in it is a way \
            to these rights. Every one that an image has stands in `allow:`, with the reason.",
    check,
};

const SETUID: u16 = 0o4000;
const SETGID: u16 = 0o2000;

#[allow(clippy::unnecessary_wraps, reason = "as every rule")]
fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    // On a directory the group is only handed on.
    let files = subject.tree.iter();
    for (path, node) in files.filter(|(_, node)| node.content().is_some()) {
        let meta = &node.meta;
        for (bit, what, whose) in [
            (SETUID, "setuid", format!("its owner, user {}", meta.uid)),
            (SETGID, "setgid", format!("its group, {}", meta.gid)),
        ] {
            if meta.mode & bit != 0 {
                let message = format!("is {what}: it runs with the rights of {whose}");
                found.push(
                    Finding::new(RULE.name, (path, node), what, message)
                        .hint("leave it out by root.prune, or give its mode in an overlay, where nothing needs it"),
                );
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file};
    use crate::tree::{Kind, Node};

    #[test]
    fn programs_run_as_whoever_starts_them() {
        let dir = Node {
            kind: Kind::Dir,
            ..file(0o2775, "")
        };
        let image = Image::new(&[])
            .with("usr/bin/su", file(0o4755, "x"))
            .with("usr/bin/both", file(0o6755, "x"))
            .with("usr/bin/plain", file(0o755, "x"))
            .with("usr/share/crew", dir);
        assert_eq!(
            image.findings(&RULE),
            [
                "/usr/bin/both: setgid",
                "/usr/bin/both: setuid",
                "/usr/bin/su: setuid",
            ]
        );
    }
}
