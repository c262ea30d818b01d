//! What sockets, timers, paths and automounts start.

use anyhow::Result;

use super::Rule;
use crate::audit::units::{BY_CONVENTION, Unit, Units, unit_names};
use crate::audit::{Finding, Subject};
use crate::tree::policy::install::Scope;

pub(super) const RULE: Rule = Rule {
    name: "activation",
    about: "A socket, timer, path or automount unit starts a unit that the image does not have, or that \
            is masked: it waits for what it can't serve. Or a service asks for a socket that isn't there.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for scope in [Scope::System, Scope::User] {
        let units = Units::of(subject, scope)?;
        for unit in units.that_may_run(subject) {
            let (section, key) = match unit.suffix() {
                ".socket" => ("Socket", "Service"),
                ".timer" => ("Timer", "Unit"),
                ".path" => ("Path", "Unit"),
                // Whose mount has its name, always.
                ".automount" => ("Automount", ""),
                ".service" => {
                    for line in unit.all("Service", "Sockets") {
                        for name in unit_names(&line.value) {
                            if let Some(state) = complaint(units, &name) {
                                let message = format!("names `{name}`, which {state}");
                                found.extend(line.finding(RULE.name, subject, name, message));
                            }
                        }
                    }
                    continue;
                }
                _ => continue,
            };
            if let Some(line) = unit.last(section, key) {
                for name in unit_names(&line.value) {
                    if let Some(state) = complaint(units, &name) {
                        let message = format!("starts `{name}`, which {state}");
                        found.extend(line.finding(RULE.name, subject, name, message));
                    }
                }
                continue;
            }
            let name = partner(unit);
            if let Some(state) = complaint(units, &name)
                && let Some(node) = subject.tree.get(&unit.path)
            {
                let message = format!("starts `{name}` by its name, which {state}");
                found.push(Finding::new(RULE.name, (&unit.path, node), name, message));
            }
        }
    }
    Ok(found)
}

/// The service of the same name, with `Accept=yes` its template, an instance a connection; or the mount
/// (systemd.automount(5)).
fn partner(unit: &Unit) -> String {
    let stem = unit.name.strip_suffix(unit.suffix()).unwrap_or_default();
    if unit.suffix() == ".automount" {
        return format!("{stem}.mount");
    }
    let at = if unit.is_on("Socket", "Accept") {
        "@"
    } else {
        ""
    };
    format!("{stem}{at}.service")
}

fn complaint(units: &Units, name: &str) -> Option<&'static str> {
    match units.get(name) {
        None if BY_CONVENTION.contains(&name) => None,
        None => Some("the image does not have"),
        Some(unit) if unit.masked => Some("is masked"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, link};

    #[test]
    fn whatever_waits_has_something_to_start() {
        let s = "usr/lib/systemd/system";
        let files = [
            ("a.socket", "[Socket]\nListenStream=1\n"),
            ("a.service", "[Service]\nSockets=a.socket gone.socket\n"),
            ("each.socket", "[Socket]\nAccept=yes\n"),
            ("each@.service", "[Service]\n"),
            ("bad.socket", "[Socket]\nAccept=yes\n"),
            ("bad.service", "[Service]\n"),
            ("t@.timer", "[Timer]\n"),
            ("syslog.socket", "[Socket]\n"),
            ("w.path", "[Path]\nUnit=gone.target\n"),
            ("m.timer", "[Timer]\nUnit=m.service\n"),
            ("mnt.automount", "[Automount]\nWhere=/mnt\n"),
            ("mnt.mount", "[Mount]\n"),
            ("opt.automount", "[Automount]\nWhere=/opt\n"),
        ];
        let files = files.map(|(name, text)| (format!("{s}/{name}"), text));
        let files: Vec<_> = files.iter().map(|(name, text)| (&**name, *text)).collect();
        let image = Image::new(&files).with(&format!("{s}/m.service"), link("/dev/null"));
        assert_eq!(
            image.findings(&RULE),
            [
                format!("/{s}/a.service: gone.socket"),
                format!("/{s}/bad.socket: bad@.service"),
                format!("/{s}/m.timer: m.service"),
                format!("/{s}/opt.automount: opt.mount"),
                format!("/{s}/t@.timer: t@.service"),
                format!("/{s}/w.path: gone.target"),
            ]
        );
    }
}
