//! Symbolic links that lead nowhere.

use anyhow::Result;

use super::{Rule, licences};
use crate::audit::{Finding, Subject};
use crate::tree::Kind;

pub(super) const RULE: Rule = Rule {
    name: "symlinks",
    about: "A symbolic link leads nowhere: whoever opens it finds nothing.",
    check,
};

/// What is there only on a running system: kernel file systems, and state on root.
const MADE_LATER: [&str; 7] = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var", "/root"];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, node) in subject.tree.iter() {
        let Kind::Symlink(target) = &node.kind else {
            continue;
        };
        let at = Subject::at_run_time(path);
        let target = String::from_utf8_lossy(target);
        if subject.find(&at).is_none() && !made_later(&at, &target) {
            let finding = Finding::new(
                RULE.name,
                (path, node),
                target.clone(),
                format!("is a link to `{target}`, which the image does not have"),
            );
            let elsewhere = at
                .strip_prefix("/usr/share/doc/")
                .and_then(|package| licences::elsewhere(subject, package));
            found.push(elsewhere.into_iter().fold(finding, Finding::hint));
        }
    }
    Ok(found)
}

fn made_later(at: &str, target: &str) -> bool {
    let whole = if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("{at}/../{target}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let top = format!("/{}", parts.first().copied().unwrap_or_default());
    MADE_LATER.contains(&&*top)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, link};

    #[test]
    fn a_link_leads_somewhere_or_to_what_boot_makes() {
        let image = Image::new(&[("usr/bin/dash", "x")])
            .with("usr/bin/sh", link("dash"))
            .with("usr/lib/mtab", link("../../proc/self/mounts"))
            .with("usr/bin/gone", link("/usr/bin/bash"));
        assert_eq!(image.findings(&RULE), ["/usr/bin/gone: /usr/bin/bash"]);
    }

    #[test]
    fn documentation_of_another_package_comes_with_a_new_lock() {
        let image = Image::new(&[]).with("usr/share/doc/libone1", link("one-base"));
        let found = check(&image.subject()).unwrap();
        let hints: Vec<&str> = found
            .iter()
            .flat_map(|finding| &finding.hints)
            .map(|hint| &**hint)
            .collect();
        assert_eq!(found.len(), 1);
        assert!(
            hints[0].contains("the package one-base: lock the profile anew"),
            "{hints:?}"
        );
    }
}
