//! Users and groups that units run as.

use anyhow::Result;

use super::Rule;
use crate::audit::accounts::Names;
use crate::audit::units::{Line, Units};
use crate::audit::{Finding, Subject};
use crate::tree::policy::install::Scope;

pub(super) const RULE: Rule = Rule {
    name: "unit-accounts",
    about: "A unit runs as a user or group that the image does not have: it fails with status 217 or \
            216.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let names = Names::of(subject)?;
    // Users' managers can't change to anybody.
    let units = Units::of(subject, Scope::System)?;
    let mut found = Vec::new();
    let mut judge = |line: &Line, what: &str, known: &dyn Fn(&str) -> bool| {
        for name in line
            .value
            .split_ascii_whitespace()
            .filter(|name| !known(name))
        {
            let message = format!("names the {what} `{name}`, which the image does not have");
            let finding = line.finding(RULE.name, subject, name, message);
            found.extend(finding.map(|finding| {
                finding.hint(format!(
                    "declare it in `root.{what}s`, or in a file of /usr/lib/sysusers.d"
                ))
            }));
        }
    };
    for unit in units.that_may_run(subject) {
        for section in ["Service", "Socket", "Mount", "Swap"] {
            if !unit.is_on(section, "DynamicUser") {
                if let Some(line) = unit.last(section, "User") {
                    judge(line, "user", &|name| names.has_user(name));
                }
                if let Some(line) = unit.last(section, "Group") {
                    judge(line, "group", &|name| names.has_group(name));
                }
            }
            for line in unit.list(section, "SupplementaryGroups") {
                judge(line, "group", &|name| names.has_group(name));
            }
        }
        if let Some(line) = unit.last("Socket", "SocketUser") {
            judge(line, "user", &|name| names.has_user(name));
        }
        if let Some(line) = unit.last("Socket", "SocketGroup") {
            judge(line, "group", &|name| names.has_group(name));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Image;

    #[test]
    fn users_and_groups_of_units_exist() {
        let at = "/usr/lib/systemd/system";
        let image = Image::new(&[
            (
                "usr/share/factory/etc/passwd",
                "root:x:0:0::/root:/bin/sh\nann:x:5:5::/:\n",
            ),
            ("usr/share/factory/etc/group", "root:x:0:\nann:x:5:\n"),
            (
                "usr/lib/systemd/system/good.service",
                "[Service]\nUser=ann\nGroup=ann\nSupplementaryGroups=root 44\n",
            ),
            (
                "usr/lib/systemd/system/dyn.service",
                "[Service]\nUser=made\nDynamicUser=yes\n",
            ),
            ("usr/lib/systemd/system/t@.service", "[Service]\nUser=%i\n"),
            (
                "usr/lib/systemd/system/user.service",
                "[Service]\nUser=bob\n",
            ),
            (
                "usr/lib/systemd/system/groups.service",
                "[Service]\nSupplementaryGroups=ann crew\nGroup=staff\n",
            ),
            (
                "usr/lib/systemd/system/a.socket",
                "[Socket]\nSocketGroup=door\n",
            ),
        ]);
        assert_eq!(
            image.findings(&RULE),
            [
                format!("{at}/a.socket: door"),
                format!("{at}/groups.service: crew"),
                format!("{at}/groups.service: staff"),
                format!("{at}/user.service: bob"),
            ]
        );
    }
}
