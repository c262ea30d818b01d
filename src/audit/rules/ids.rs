//! Numbers of users and groups that nothing but chance would settle.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Rule;
use crate::audit::accounts;
use crate::audit::config::{self, Text};
use crate::audit::{Finding, Subject};
use crate::tree::policy::sysusers::{Line, parse, specifiers};

pub(super) const RULE: Rule = Rule {
    name: "ids",
    about: "sysusers.d declares an account that `/etc/passwd` or `/etc/group` does not have, so that each \
            machine would give it a number of its own, or an account has a number that systemd hands out: \
            files would belong to one on this machine and to another on that.",
    check,
};

const FOLDERS: [&str; 3] = [
    "/etc/sysusers.d",
    "/usr/local/lib/sysusers.d",
    "/usr/lib/sysusers.d",
];

/// Numbers that systemd gives to dynamic users, homes and containers
/// (<https://systemd.io/UIDS-GIDS/>).
const HANDED_OUT: [(u32, u32, &str); 4] = [
    (60001, 60513, "homes of systemd-homed"),
    (60514, 60577, "users of userdb"),
    (61184, 65519, "dynamic users"),
    (524_288, 1_879_048_191, "containers"),
];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut known: [BTreeSet<String>; 2] = [["root".to_owned()].into(), ["root".to_owned()].into()];
    for (name, known) in ["passwd", "group"].iter().zip(&mut known) {
        let Some((file, entries)) = accounts::file(subject, name)? else {
            continue;
        };
        for entry in entries {
            let number = entry.field(2).parse::<u32>().ok();
            let of = number.and_then(|number| {
                HANDED_OUT
                    .iter()
                    .find(|(low, high, _)| (*low..=*high).contains(&number))
            });
            let account = entry.field(0);
            if let (Some(number), Some((low, high, what))) = (number, of) {
                let message = format!(
                    "line {} gives `{account}` the number {number}, and {low} to {high} are for {what}",
                    entry.line
                );
                found.push(Finding::new(
                    RULE.name,
                    (&file.path, file.node),
                    account,
                    message,
                ));
            }
            known.insert(account.to_owned());
        }
    }
    let [users, groups] = known;
    for file in config::texts(subject, &FOLDERS, ".conf")? {
        // What is malformed is for another rule to tell.
        let lines = parse(
            &file.path.to_string(),
            &file.text,
            &specifiers(subject.profile),
        );
        for line in lines.unwrap_or_default() {
            match line {
                Line::User { name, .. } if !users.contains(&name) => {
                    found.push(undecided(&file, &name, "user", "passwd"));
                }
                Line::Group { name, .. } if !groups.contains(&name) => {
                    found.push(undecided(&file, &name, "group", "group"));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

fn undecided(file: &Text<'_>, name: &str, what: &str, at: &str) -> Finding {
    let message = format!(
        "declares the {what} `{name}`, which /etc/{at} does not have: machines number it themselves"
    );
    Finding::new(RULE.name, (&file.path, file.node), name, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Image;

    #[test]
    fn numbers_are_the_same_on_every_machine() {
        let image = Image::new(&[
            (
                "usr/share/factory/etc/passwd",
                "root:x:0:0::/:\nann:x:990:990::/:\nbob:x:61200:990::/:\n",
            ),
            ("usr/share/factory/etc/group", "root:x:0:\nann:x:990:\n"),
            (
                "usr/lib/sysusers.d/a.conf",
                "u ann -\nu eve -\ng crew -\ng root 0\n",
            ),
        ]);
        assert_eq!(
            image.findings(&RULE),
            [
                "/usr/lib/sysusers.d/a.conf: crew",
                "/usr/lib/sysusers.d/a.conf: eve",
                "/usr/share/factory/etc/passwd: bob",
            ]
        );
    }
}
