//! Units that other units can't start without, or ask for.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Rule;
use crate::audit::units::{BY_CONVENTION, Unit, Units, unit_names};
use crate::audit::{Finding, Subject};
use crate::tree::policy::install::Scope;

pub(super) const RULE: Rule = Rule {
    name: "unit-dependencies",
    about: "A unit requires another one that the image does not have, or that is masked: it does not \
            start. Of units that run by themselves, whatever they want must be there, too.",
    check,
};

/// Without these the unit does not start, or stays without what it counts on.
const REQUIRED: [&str; 6] = [
    "Requires",
    "Requisite",
    "BindsTo",
    "Upholds",
    "OnFailure",
    "OnSuccess",
];

/// What systemd starts without being asked by a unit (systemd.special(7)).
const STARTED: [&str; 6] = [
    "default.target",
    "basic.target",
    "shutdown.target",
    "reboot.target",
    "poweroff.target",
    "emergency.target",
];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for scope in [Scope::System, Scope::User] {
        let units = Units::of(subject, scope)?;
        let running = reachable(units);
        for unit in units.that_may_run(subject) {
            let keys = REQUIRED.iter().map(|key| (*key, true));
            for (key, required) in keys.chain([("Wants", false)]) {
                if !required && !running.contains(unit.name.as_str()) {
                    continue;
                }
                for line in unit.all("Unit", key) {
                    for name in unit_names(&line.value) {
                        if let Some(state) = complaint(units, &name, required) {
                            let message = format!("names `{name}`, which {state}");
                            found.extend(line.finding(RULE.name, subject, name, message));
                        }
                    }
                }
            }
        }
        for link in &units.links {
            let by = units.get(&link.by);
            let judged = by.is_some_and(|by| {
                !by.never_runs(subject) && (link.required || running.contains(by.name.as_str()))
            });
            // The name is what counts, wherever the link leads.
            for name in unit_names(&link.unit).iter().filter(|_| judged) {
                if let Some(state) = complaint(units, name, link.required) {
                    let message = format!("makes `{}` start `{name}`, which {state}", link.by);
                    found.extend(link.finding(RULE.name, subject, name, message));
                }
            }
        }
    }
    Ok(found)
}

/// What is wrong with a dependency. That something optional is masked is on purpose.
fn complaint(units: &Units, name: &str, required: bool) -> Option<&'static str> {
    match units.get(name) {
        Some(unit) if unit.masked && required => Some("is masked"),
        Some(_) => None,
        None if !required && BY_CONVENTION.contains(&name) => None,
        None => Some("the image does not have"),
    }
}

/// The names of the units that run by themselves: from [`STARTED`] on through everything that pulls in.
fn reachable(units: &Units) -> BTreeSet<&str> {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<&Unit> = STARTED.iter().filter_map(|name| units.get(name)).collect();
    while let Some(unit) = todo.pop() {
        if !seen.insert(unit.name.as_str()) {
            continue;
        }
        for line in &unit.settings {
            let pulls = match line.section.as_str() {
                "Unit" => line.key == "Wants" || REQUIRED.contains(&&*line.key),
                "Timer" | "Path" => line.key == "Unit",
                "Socket" => line.key == "Service",
                "Service" => line.key == "Sockets",
                _ => false,
            };
            if pulls {
                todo.extend(
                    unit_names(&line.value)
                        .iter()
                        .filter_map(|name| units.get(name)),
                );
            }
        }
        let suffix = unit.suffix();
        if matches!(suffix, ".timer" | ".path" | ".socket") {
            let stem = unit.name.strip_suffix(suffix).unwrap_or_default();
            for service in [format!("{stem}.service"), format!("{stem}@.service")] {
                todo.extend(units.get(&service));
            }
        }
        if suffix == ".automount" {
            let stem = unit.name.strip_suffix(suffix).unwrap_or_default();
            todo.extend(units.get(&format!("{stem}.mount")));
        }
        let links = units
            .links
            .iter()
            .filter(|link| units.get(&link.by).is_some_and(|by| by.name == unit.name));
        todo.extend(links.filter_map(|link| units.get(&link.unit)));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file, link};

    const S: &str = "/usr/lib/systemd/system";

    fn image() -> Image {
        Image::new(&[
            (
                "usr/lib/systemd/system/multi-user.target",
                "[Unit]\nWants=display-manager.service b.timer\n",
            ),
            ("usr/lib/systemd/system/b.timer", "[Timer]\n"),
            (
                "usr/lib/systemd/system/b.service",
                "[Unit]\nWants=gone.service t@%i.service x.mount\n",
            ),
            (
                "usr/lib/systemd/system/idle.service",
                "[Unit]\nWants=gone.service\nRequires=b.service\n",
            ),
        ])
        .with(
            "usr/lib/systemd/system/default.target",
            link("multi-user.target"),
        )
        .with("usr/lib/systemd/system/off.service", link("/dev/null"))
    }

    #[test]
    fn what_runs_gets_all_that_it_wants() {
        assert_eq!(
            image().findings(&RULE),
            [
                format!("{S}/b.service: gone.service"),
                format!("{S}/b.service: t@.service"),
            ]
        );
    }

    #[test]
    fn what_is_required_is_there_even_if_nobody_starts_it() {
        let unit = "[Unit]\nRequires=gone.target off.service\nOnFailure=fail@%n.service\n";
        let image = image()
            .with("usr/lib/systemd/system/b.service", file(0o644, "[Unit]\n"))
            .with("usr/lib/systemd/system/lone.service", file(0o644, unit))
            .with(
                "usr/share/factory/etc/systemd/system/multi-user.target.wants/w.service",
                link("/usr/lib/systemd/system/w.service"),
            )
            .with(
                "usr/lib/systemd/system/multi-user.target.wants/off.service",
                link("../x"),
            );
        assert_eq!(
            image.findings(&RULE),
            [
                format!("{S}/lone.service: fail@.service"),
                format!("{S}/lone.service: gone.target"),
                format!("{S}/lone.service: off.service"),
                "/usr/share/factory/etc/systemd/system/multi-user.target.wants/w.service: w.service".to_owned(),
            ]
        );
    }
}
