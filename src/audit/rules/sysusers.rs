//! Accounts in `/etc` against those of sysusers.d.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Rule;
use crate::audit::accounts::{self, Entry};
use crate::audit::{Finding, Subject, config};
use crate::tree::policy::sysusers::{Id, Line, Specifiers, parse, specifiers};

pub(super) const RULE: Rule = Rule {
    name: "sysusers",
    about: "A line of sysusers.d is malformed, or gives an account another number than `/etc/passwd` \
            or `/etc/group` does, or none: files on disks in the field would change their owner.",
    check,
};

const FOLDERS: [&str; 3] = [
    "/etc/sysusers.d",
    "/usr/local/lib/sysusers.d",
    "/usr/lib/sysusers.d",
];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut users = BTreeMap::new();
    let mut groups = BTreeMap::new();
    let specifiers: Specifiers = specifiers(subject.profile);
    for file in config::texts(subject, &FOLDERS, ".conf")? {
        match parse(&file.path.to_string(), &file.text, &specifiers) {
            Ok(lines) => {
                for line in lines {
                    // The first line for a name counts.
                    match line {
                        Line::User { name, id, .. } => users.entry(name).or_insert(id),
                        Line::Group { name, id } => groups.entry(name).or_insert(id),
                        Line::Member { .. } | Line::Range(..) => continue,
                    };
                }
            }
            Err(error) => found.push(Finding::new(
                RULE.name,
                (&file.path, file.node),
                "syntax",
                format!("is not one of sysusers.d(5): {error:#}"),
            )),
        }
    }
    for (name, what, declared) in [("passwd", "user", &users), ("group", "group", &groups)] {
        let Some((file, entries)) = accounts::file(subject, name)? else {
            continue;
        };
        for entry in &entries {
            if let Some(why) = disagreement(entry, declared) {
                let (line, name) = (entry.line, entry.field(0));
                let message = format!("line {line} has the {what} `{name}` {why}");
                found.push(
                    Finding::new(RULE.name, (&file.path, file.node), name, message).hint(format!(
                        "declare it under `root.{what}s` of the profile, not in a file of its own"
                    )),
                );
            }
        }
    }
    Ok(found)
}

fn disagreement(entry: &Entry, declared: &BTreeMap<String, Id>) -> Option<String> {
    let number = entry.field(2);
    match declared.get(entry.field(0)) {
        None => Some("whom no line of sysusers.d declares".into()),
        Some(Id::Number(id)) if id.to_string() != number => Some(format!(
            "with the number {number}, and sysusers.d gives it {id}"
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Image;

    #[test]
    fn numbers_agree_in_both_places() {
        let image = Image::new(&[
            (
                "usr/share/factory/etc/passwd",
                "root:x:0:0::/:\nann:x:5:5::/:\nbob:x:6:6::/:\n",
            ),
            ("usr/share/factory/etc/group", "root:x:0:\ncrew:x:7:\n"),
            (
                "usr/lib/sysusers.d/a.conf",
                "u root 0\ng root 0\nu ann 5\nu bob 9\n",
            ),
            ("usr/share/factory/etc/sysusers.d/b.conf", "x y\n"),
        ]);
        let etc = "/usr/share/factory/etc";
        assert_eq!(
            image.findings(&RULE),
            [
                format!("{etc}/group: crew"),
                format!("{etc}/passwd: bob"),
                format!("{etc}/sysusers.d/b.conf: syntax"),
            ]
        );
    }
}
