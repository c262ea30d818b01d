//! Users and groups that fit together.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::Rule;
use crate::audit::accounts::{self, Entry};
use crate::audit::config::Text;
use crate::audit::{Finding, Subject, program};

pub(super) const RULE: Rule = Rule {
    name: "accounts",
    about: "A line of an account file is malformed, a name or number is taken twice, a primary group or \
            a member isn't there, or somebody who may log in has a shell that the image does not have.",
    check,
};

/// The files with how many fields their lines have.
const FILES: [(&str, usize); 4] = [("passwd", 7), ("group", 4), ("shadow", 9), ("gshadow", 4)];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut files = BTreeMap::new();
    for (name, fields) in FILES {
        let Some((file, entries)) = accounts::file(subject, name)? else {
            continue;
        };
        found.extend(shape(
            &file,
            &entries,
            fields,
            name == "passwd" || name == "group",
        ));
        files.insert(name, (file, entries));
    }
    let numbers: BTreeSet<&str> = columns(files.get("group"), 2);
    let users: BTreeSet<&str> = columns(files.get("passwd"), 0);
    if let Some((file, entries)) = files.get("passwd") {
        for entry in entries.iter().filter(|entry| entry.fields.len() == 7) {
            let (name, gid, shell) = (entry.field(0), entry.field(3), entry.field(6));
            if !numbers.contains(gid) {
                let message = format!(
                    "gives `{name}` the primary group {gid}, which /etc/group does not have"
                );
                found.push(finding(file, entry, gid, &message));
            }
            let locked = files
                .get("shadow")
                .and_then(|(_, entries)| entries.iter().find(|entry| entry.field(0) == name))
                .is_none_or(|entry| entry.field(1).starts_with(['!', '*']));
            let has_keys = subject
                .find(&format!("/usr/share/hullwright/authorized_keys/{name}"))
                .is_some();
            if let Some(complaint) = program::find(subject, shell).complaint()
                && (!locked || has_keys)
            {
                let message =
                    format!("gives `{name}`, who may log in, the shell `{shell}`, {complaint}");
                found.push(finding(file, entry, shell, &message));
            }
        }
    }
    if let Some((file, entries)) = files.get("group") {
        for entry in entries {
            let members = entry.field(3).split(',').filter(|name| !name.is_empty());
            for name in members.filter(|name| !users.contains(name)) {
                let message = format!("makes `{name}` a member, whom /etc/passwd does not have");
                found.push(finding(file, entry, name, &message));
            }
        }
    }
    Ok(found)
}

fn finding(file: &Text<'_>, entry: &Entry, what: &str, message: &str) -> Finding {
    let message = format!("line {} {message}", entry.line);
    Finding::new(RULE.name, (&file.path, file.node), what, message)
}

fn columns<'a>(file: Option<&'a (Text<'_>, Vec<Entry>)>, index: usize) -> BTreeSet<&'a str> {
    let entries = file.iter().flat_map(|(_, entries)| entries);
    entries.map(|entry| entry.field(index)).collect()
}

/// Fields, and what must not be there twice.
fn shape(file: &Text<'_>, entries: &[Entry], fields: usize, numbered: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for entry in entries {
        let (name, number) = (entry.field(0), entry.field(2));
        let count = entry.fields.len();
        if count != fields || name.is_empty() {
            let message = format!("has {count} fields where {fields} are expected");
            found.push(finding(file, entry, "syntax", &message));
            continue;
        }
        if !names.insert(name) {
            found.push(finding(
                file,
                entry,
                name,
                &format!("has the name `{name}` a second time"),
            ));
        }
        if !numbered {
            continue;
        }
        if number.parse::<u32>().is_err() {
            let message = format!("has `{number}` for a number");
            found.push(finding(file, entry, "syntax", &message));
        } else if !numbers.insert(number) {
            let message = format!("gives `{name}` the number {number}, which is taken");
            found.push(finding(file, entry, number, &message));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file};

    #[test]
    fn accounts_fit_together() {
        let image = Image::new(&[
            (
                "usr/share/factory/etc/passwd",
                "root:x:0:0::/root:/bin/gone1\nann:x:5:9::/:/bin/gone2\nbob:x:5:0::/:/bin/sh\nx\neve:x:6:0::/:/bin/gone3\n",
            ),
            ("usr/share/factory/etc/group", "root:x:0:ann,zoe\nroot:x:1:\n"),
            (
                "usr/share/factory/etc/shadow",
                "root::1::::::\nann:!*:1::::::\nbob:$y$x:1::::::\neve:!*:1::::::\n",
            ),
            ("usr/share/hullwright/authorized_keys/eve", "ssh-ed25519 A\n"),
        ])
        .with("usr/bin/sh", file(0o755, "x"));
        let etc = "/usr/share/factory/etc";
        assert_eq!(
            image.findings(&RULE),
            [
                format!("{etc}/group: root"),
                format!("{etc}/group: zoe"),
                format!("{etc}/passwd: /bin/gone1"),
                format!("{etc}/passwd: /bin/gone3"),
                format!("{etc}/passwd: 5"),
                format!("{etc}/passwd: 9"),
                format!("{etc}/passwd: syntax"),
            ]
        );
    }
}
