//! Services that the message bus starts.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Rule;
use crate::audit::accounts::Names;
use crate::audit::units::Units;
use crate::audit::{Finding, Subject, config, program};
use crate::tree::policy::install::Scope;
use crate::tree::policy::unit_syntax;

pub(super) const RULE: Rule = Rule {
    name: "dbus-services",
    about: "The message bus would start a service for a name, but its unit, program or user is not in \
            the image: calls to that name fail.",
    check,
};

/// What is written where the bus must not start anything itself.
const PLACEHOLDERS: [&str; 2] = ["/bin/false", "/usr/bin/false"];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let names = Names::of(subject)?;
    for (scope, folder) in [
        (Scope::System, "system-services"),
        (Scope::User, "services"),
    ] {
        let folders = [
            format!("/usr/local/share/dbus-1/{folder}"),
            format!("/usr/share/dbus-1/{folder}"),
        ];
        let folders = folders.each_ref().map(String::as_str);
        let files = config::texts(subject, &folders, ".service")?;
        if files.is_empty() {
            continue;
        }
        let units = Units::of(subject, scope)?;
        let aliases = aliases(units);
        for file in files {
            let settings = unit_syntax::settings(&file.text);
            let value = |key: &str| {
                let setting = settings
                    .iter()
                    .rfind(|one| one.section == "D-BUS Service" && one.key == key)?;
                Some((
                    setting.value.as_str(),
                    format!("line {}, `{key}`,", setting.line),
                ))
            };
            let mut complain = |what: &str, message: String| {
                found.push(Finding::new(
                    RULE.name,
                    (&file.path, file.node),
                    what,
                    message,
                ));
            };
            if let Some((user, place)) = value("User")
                && scope == Scope::System
                && !names.has_user(user)
            {
                complain(
                    user,
                    format!("{place} names the user `{user}`, which the image does not have"),
                );
            }
            // With a unit, the bus starts that and never looks at the program.
            if let Some((unit, place)) = value("SystemdService") {
                let state = match units.get(unit) {
                    // Disabled: presets make its alias, so that nobody starts it on purpose.
                    None if aliases.contains(unit) => continue,
                    None => "the image does not have",
                    Some(unit) if unit.masked => "is masked",
                    Some(_) => continue,
                };
                complain(
                    unit,
                    format!("{place} names the unit `{unit}`, which {state}"),
                );
            } else if let Some((command, place)) = value("Exec") {
                let program = command.split_ascii_whitespace().next().unwrap_or_default();
                let complaint = program::find(subject, program).complaint();
                if let Some(complaint) = complaint.filter(|_| !PLACEHOLDERS.contains(&program)) {
                    complain(program, format!("{place} starts `{program}`, {complaint}"));
                }
            }
        }
    }
    Ok(found)
}

/// Names that enabling a unit would give it.
fn aliases(units: &Units) -> BTreeSet<String> {
    let lines = units.iter().flat_map(|unit| unit.all("Install", "Alias"));
    let names = lines.flat_map(|line| line.value.split_ascii_whitespace());
    names.map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file};

    fn findings(text: &str) -> Vec<String> {
        let at = "usr/share/dbus-1/system-services/org.x.service";
        Image::new(&[
            (at, text),
            (
                "usr/lib/systemd/system/a.service",
                "[Service]\n[Install]\nAlias=dbus-org.a.service\n",
            ),
            ("usr/share/factory/etc/passwd", "ann:x:5:5::/:\n"),
        ])
        .with("usr/bin/true", file(0o755, "x"))
        .findings(&RULE)
        .iter()
        .map(|line| line.replace(&format!("/{at}: "), ""))
        .collect()
    }

    #[test]
    fn services_of_the_bus_can_be_started() {
        let head = "[D-BUS Service]\nName=org.x\n";
        for (text, wanted) in [
            ("Exec=/bin/false\nUser=root\nSystemdService=a.service", None),
            ("Exec=/bin/false\nSystemdService=dbus-org.a.service", None),
            (
                "Exec=/bin/false\nSystemdService=gone.service",
                Some("gone.service"),
            ),
            ("Exec=/bin/false\nUser=root", None),
            ("Exec=/usr/bin/true --x\nUser=ann", None),
            ("Exec=/usr/bin/true\nUser=bob", Some("bob")),
            ("Exec=/usr/bin/gone --x", Some("/usr/bin/gone")),
        ] {
            let wanted: Vec<_> = wanted.into_iter().collect();
            assert_eq!(findings(&format!("{head}{text}\n")), wanted, "{text}");
        }
    }
}
