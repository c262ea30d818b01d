//! Who may do what on the system's message bus.

use anyhow::Result;
use roxmltree::{Document, ParsingOptions};

use super::Rule;
use crate::audit::accounts::Names;
use crate::audit::config::{self, Text};
use crate::audit::units::Units;
use crate::audit::{Finding, Subject};
use crate::tree::policy::install::Scope;

pub(super) const RULE: Rule = Rule {
    name: "dbus-policy",
    about: "A policy of the system bus can't be read, or names a user or group that the image does not \
            have; or no policy lets a service own its name: the service fails.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let names = Names::of(subject)?;
    let mut files = Vec::new();
    for folder in ["/usr/share/dbus-1/system.d", "/etc/dbus-1/system.d"] {
        // Nothing hides anything here: dbus-daemon(1) reads them all.
        files.extend(config::texts(subject, &[folder], ".conf")?);
    }
    for file in [
        "/usr/share/dbus-1/system.conf",
        "/etc/dbus-1/system-local.conf",
    ] {
        files.extend(config::text(subject, file)?);
    }
    let mut found = Vec::new();
    let mut owned = Vec::new();
    for file in &files {
        let options = ParsingOptions {
            allow_dtd: true,
            ..ParsingOptions::default()
        };
        match Document::parse_with_options(&file.text, options) {
            Ok(document) => {
                found.extend(strangers(&names, file, &document));
                owned.extend(ownable(&document));
            }
            Err(error) => found.push(Finding::new(
                RULE.name,
                (&file.path, file.node),
                "syntax",
                format!("is not well-formed XML: {error}"),
            )),
        }
    }
    // Without any policy there is no bus to speak of.
    if !owned.is_empty() {
        found.extend(unowned(subject, &owned)?);
    }
    Ok(found)
}

fn strangers(names: &Names, file: &Text<'_>, document: &Document<'_>) -> Vec<Finding> {
    let policies = document
        .descendants()
        .filter(|node| node.has_tag_name("policy"));
    policies
        .filter_map(|policy| {
            let of = |key: &str| policy.attribute(key).filter(|name| *name != "*");
            let (what, name) = match (of("user"), of("group")) {
                (Some(user), _) if !names.has_user(user) => ("user", user),
                (_, Some(group)) if !names.has_group(group) => ("group", group),
                _ => return None,
            };
            let line = document.text_pos_at(policy.range().start).row;
            let message = format!(
                "line {line} is a policy for the {what} `{name}`, which the image does not have"
            );
            Some(Finding::new(
                RULE.name,
                (&file.path, file.node),
                name,
                message,
            ))
        })
        .collect()
}

/// A name that some policy lets somebody own.
enum Ownable {
    Name(String),
    /// The name, and all that begin with it and a dot.
    Prefix(String),
    Any,
}

impl Ownable {
    fn is(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(own) => own == name,
            Self::Prefix(own) => name
                .strip_prefix(own.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        }
    }
}

fn ownable(document: &Document<'_>) -> Vec<Ownable> {
    let allowed = document
        .descendants()
        .filter(|node| node.has_tag_name("allow"));
    allowed
        .filter_map(
            |node| match (node.attribute("own"), node.attribute("own_prefix")) {
                (Some("*"), _) => Some(Ownable::Any),
                (Some(name), _) => Some(Ownable::Name(name.to_owned())),
                (None, Some(prefix)) => Some(Ownable::Prefix(prefix.to_owned())),
                (None, None) => None,
            },
        )
        .collect()
}

/// Services that are up when they own a name, and may not.
fn unowned(subject: &Subject<'_>, owned: &[Ownable]) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let units = Units::of(subject, Scope::System)?;
    for unit in units.that_may_run(subject) {
        let Some(line) = unit.last("Service", "BusName") else {
            continue;
        };
        let waits = unit
            .last("Service", "Type")
            .is_none_or(|line| line.value == "dbus");
        let name = line.value.as_str();
        if waits && !name.contains('%') && !owned.iter().any(|own| own.is(name)) {
            let message = "asks for a name that no policy of the bus lets anybody own";
            found.extend(line.finding(RULE.name, subject, name, message));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Image;

    const HEAD: &str = "<?xml version=\"1.0\"?>\n<!DOCTYPE busconfig PUBLIC \"-//x//DTD//EN\" \"http://x/y.dtd\">\n<busconfig>\n";

    #[test]
    fn policies_are_for_somebody_and_services_may_own_their_names() {
        let policy = format!(
            "{HEAD}<policy user=\"ann\"><allow own=\"org.a\"/><allow own_prefix=\"org.p\"/></policy>\n\
             <policy user=\"bob\"/>\n<policy group=\"crew\"/><policy context=\"default\"/></busconfig>\n"
        );
        let image = Image::new(&[
            ("usr/share/dbus-1/system.d/a.conf", &policy),
            (
                "usr/share/factory/etc/dbus-1/system.d/b.conf",
                "<busconfig>",
            ),
            ("usr/share/factory/etc/passwd", "ann:x:5:5::/:\n"),
            (
                "usr/lib/systemd/system/a.service",
                "[Service]\nType=dbus\nBusName=org.a\n",
            ),
            (
                "usr/lib/systemd/system/p.service",
                "[Service]\nBusName=org.p.q\n",
            ),
            (
                "usr/lib/systemd/system/z.service",
                "[Service]\nBusName=org.z\n",
            ),
            (
                "usr/lib/systemd/system/n.service",
                "[Service]\nType=notify\nBusName=org.n\n",
            ),
        ]);
        let at = "/usr/share/dbus-1/system.d/a.conf";
        assert_eq!(
            image.findings(&RULE),
            [
                "/usr/lib/systemd/system/z.service: org.z".to_owned(),
                format!("{at}: bob"),
                format!("{at}: crew"),
                "/usr/share/factory/etc/dbus-1/system.d/b.conf: syntax".to_owned(),
            ]
        );
    }
}
