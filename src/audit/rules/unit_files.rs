//! Files that units read before they start anything.

use anyhow::Result;

use super::Rule;
use crate::audit::program::is_in_image;
use crate::audit::units::Units;
use crate::audit::{Finding, Subject};
use crate::tree::policy::install::Scope;

pub(super) const RULE: Rule = Rule {
    name: "unit-files",
    about: "A unit needs an environment file, a credential, a directory or a PAM service that the \
            image does not have: it fails before its program starts.",
    check,
};

/// Keys whose value is a path, perhaps behind a `-` that forgives its absence.
const PATHS: [&str; 4] = [
    "EnvironmentFile",
    "WorkingDirectory",
    "RootDirectory",
    "RootImage",
];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for scope in [Scope::System, Scope::User] {
        let units = Units::of(subject, scope)?;
        for unit in units.that_may_run(subject) {
            for key in PATHS {
                for line in unit.list("Service", key) {
                    if is_missing(subject, &line.value) && !unit.does_without(&line.value) {
                        let message = "names a file that the image does not have";
                        found.extend(line.finding(RULE.name, subject, &line.value, message));
                    }
                }
            }
            for line in unit.list("Service", "LoadCredential") {
                let path = line.value.split_once(':').map_or("", |(_, path)| path);
                if is_missing(subject, path) {
                    let message = "loads a credential from a file that the image does not have";
                    found.extend(line.finding(RULE.name, subject, path, message));
                }
            }
            if let Some(line) = unit.last("Service", "PAMName") {
                let name = &line.value;
                let places = ["/etc/pam.d", "/usr/lib/pam.d"];
                let there = places
                    .iter()
                    .any(|dir| subject.find(&format!("{dir}/{name}")).is_some());
                if !there {
                    let message = "names a PAM service that the image does not have";
                    found.extend(line.finding(RULE.name, subject, name, message));
                }
            }
        }
    }
    Ok(found)
}

/// Patterns match nothing at worst; `~` and what only the running system has are not judged.
fn is_missing(subject: &Subject<'_>, path: &str) -> bool {
    is_in_image(path) && !path.contains(['*', '?', '[']) && subject.find(path).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Image;

    #[test]
    fn files_of_units_exist_or_are_forgiven() {
        let at = "/usr/lib/systemd/system/a.service";
        for (text, wanted) in [
            ("EnvironmentFile=/etc/default/a", None),
            ("EnvironmentFile=-/etc/default/gone", None),
            ("EnvironmentFile=/run/a.env", None),
            (
                "EnvironmentFile=/etc/default/gone",
                Some("/etc/default/gone"),
            ),
            ("LoadCredential=x:/etc/gone", Some("/etc/gone")),
            ("LoadCredential=x", None),
            ("WorkingDirectory=~", None),
            ("WorkingDirectory=/usr/share/gone", Some("/usr/share/gone")),
            ("WorkingDirectory=/usr", None),
            ("PAMName=login", None),
            ("PAMName=gone", Some("gone")),
        ] {
            let image = Image::new(&[
                (
                    "usr/lib/systemd/system/a.service",
                    &format!("[Service]\n{text}\n"),
                ),
                ("usr/share/factory/etc/default/a", "X=1\n"),
                ("usr/lib/pam.d/login", ""),
            ]);
            let wanted: Vec<_> = wanted.iter().map(|what| format!("{at}: {what}")).collect();
            assert_eq!(image.findings(&RULE), wanted, "{text}");
        }
    }
}
