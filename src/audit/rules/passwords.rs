//! Passwords that the image brings along.

use anyhow::Result;

use super::Rule;
use crate::audit::accounts;
use crate::audit::{Finding, Subject};

pub(super) const RULE: Rule = Rule {
    name: "passwords",
    about: "In an image that is not for development, an account has a password, or needs none: every \
            machine has the same one, and whoever has the image can look for it.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    if subject.profile.development {
        return Ok(found);
    }
    for name in ["passwd", "shadow", "group", "gshadow"] {
        let Some((file, entries)) = accounts::file(subject, name)? else {
            continue;
        };
        for entry in entries {
            let (account, secret) = (entry.field(0), entry.field(1));
            let what = match secret {
                // A group without one is closed to all but its members (gshadow(5)).
                "" if name == "group" || name == "gshadow" => continue,
                "" => "no password at all",
                // `x`: it stands in the shadow file.
                "x" if name == "passwd" || name == "group" => continue,
                locked if locked.starts_with(['!', '*']) => continue,
                _ => "a password",
            };
            let message = format!("line {} gives `{account}` {what}", entry.line);
            found.push(
                Finding::new(RULE.name, (&file.path, file.node), account, message).hint(
                    "leave `password_hash` out of the profile, and let people in by `ssh_authorized_keys`",
                ),
            );
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Image;

    fn findings(development: bool) -> Vec<String> {
        let mut image = Image::new(&[
            (
                "usr/share/factory/etc/passwd",
                "root:x:0:0::/:\nold::5:5::/:\n",
            ),
            ("usr/share/factory/etc/group", "root:x:0:\n"),
            (
                "usr/share/factory/etc/shadow",
                "root:!*:1::::::\nann:$y$x:1::::::\nbob::1::::::\nlock:!$y$x:1::::::\n",
            ),
            (
                "usr/share/factory/etc/gshadow",
                "root:!*::\nopen:::\ncrew:$y$x::\n",
            ),
        ]);
        image.profile.development = development;
        image.findings(&RULE)
    }

    #[test]
    fn no_machine_has_a_password_of_the_image() {
        let etc = "/usr/share/factory/etc";
        assert_eq!(
            findings(false),
            [
                format!("{etc}/gshadow: crew"),
                format!("{etc}/passwd: old"),
                format!("{etc}/shadow: ann"),
                format!("{etc}/shadow: bob"),
            ]
        );
        assert_eq!(findings(true), [""; 0]);
    }
}
