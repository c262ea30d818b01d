//! Paths that everybody may write to.

use anyhow::Result;

use super::Rule;
use crate::audit::{Finding, Subject};
use crate::tree::Kind;

pub(super) const RULE: Rule = Rule {
    name: "world-writable",
    about: "Everybody may write to a file or folder: in `/usr` nobody can, but `/etc` of the running system \
            takes its modes from the image, and so does whatever is copied from it.",
    check,
};

const OTHERS_WRITE: u16 = 0o002;

#[allow(clippy::unnecessary_wraps, reason = "as every rule")]
fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let nodes = subject.tree.iter();
    let open = nodes.filter(|(_, node)| {
        node.meta.mode & OTHERS_WRITE != 0 && !matches!(node.kind, Kind::Symlink(_))
    });
    Ok(open
        .map(|(path, node)| {
            let message = format!(
                "has the mode {:04o}: everybody may write to it",
                node.meta.mode
            );
            Finding::new(RULE.name, (path, node), "mode", message)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file, link};

    #[test]
    fn nothing_is_open_to_everybody() {
        let image = Image::new(&[])
            .with("usr/bin/good", file(0o775, "x"))
            .with("usr/bin/bad", file(0o757, "x"))
            .with("usr/bin/link", link("good"));
        assert_eq!(image.findings(&RULE), ["/usr/bin/bad: mode"]);
    }
}
