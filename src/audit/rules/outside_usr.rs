//! What packages have outside of `/usr` and `/etc`.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Rule;
use crate::audit::config;
use crate::audit::{Finding, Subject};
use crate::tree::policy::tmpfiles::parse_line;
use crate::tree::usr_merge::physical;
use crate::tree::{Node, TreePath};

pub(super) const RULE: Rule = Rule {
    name: "outside-usr",
    about: "A package has a file outside of `/usr` and `/etc`, where an image has none, and no line of \
            tmpfiles.d makes it: the running system does without.",
    check,
};

const FOLDERS: [&str; 3] = [
    "/etc/tmpfiles.d",
    "/usr/local/lib/tmpfiles.d",
    "/usr/lib/tmpfiles.d",
];

/// What an image has elsewhere (the kernel and its files), or the running system makes.
const ELSEWHERE: [&str; 5] = ["/boot/", "/run/", "/proc/", "/sys/", "/dev/"];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let lost: Vec<(&TreePath, &Node)> = subject
        .outside
        .iter()
        .filter(|(path, node)| node.content().is_some() && !is_elsewhere(path))
        .collect();
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let made = made(subject)?;
    let mut found = Vec::new();
    for (path, node) in lost {
        // A copied folder brings what is in it.
        let mut above = Some(path.clone());
        let is_made = std::iter::from_fn(|| {
            let at = above.take()?;
            above = at.parent();
            Some(at)
        })
        .any(|at| made.contains(&at));
        if !is_made {
            let message = "is outside of /usr and /etc, so that the image does not have it";
            found.push(
                Finding::new(RULE.name, (path, node), "lost", message)
                    .hint("ship it below /usr/share, and add a `C` line to `root.tmpfiles`, where somebody needs it"),
            );
        }
    }
    Ok(found)
}

fn is_elsewhere(path: &TreePath) -> bool {
    let text = path.to_string();
    ELSEWHERE.iter().any(|place| text.starts_with(place))
}

/// The files that lines of tmpfiles.d write, copy or link.
fn made(subject: &Subject<'_>) -> Result<BTreeSet<TreePath>> {
    let mut out = BTreeSet::new();
    for file in config::texts(subject, &FOLDERS, ".conf")? {
        let lines = file.text.lines().filter_map(|line| parse_line(line).ok()?);
        for line in lines.filter(|line| "fFCL".contains(line.kind)) {
            out.extend(
                TreePath::parse(&line.path)
                    .ok()
                    .and_then(|path| physical(&path).ok()),
            );
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file};

    #[test]
    fn what_packages_have_is_there() {
        let mut image = Image::new(&[(
            "usr/lib/tmpfiles.d/a.conf",
            "C /var/lib/a - - - - /usr/share/a\nd /var/lib/b\n",
        )]);
        for path in ["var/lib/a/one", "var/lib/b/two", "boot/vmlinuz", "opt/tool"] {
            let path = TreePath::parse(path).unwrap();
            image.outside.insert(path, file(0o644, "x"));
        }
        assert_eq!(
            image.findings(&RULE),
            ["/opt/tool: lost", "/var/lib/b/two: lost"]
        );
    }
}
