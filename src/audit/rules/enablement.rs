//! Links that enable units, and links that give them other names.

use anyhow::Result;

use super::Rule;
use crate::audit::units::{Units, unit_names};
use crate::audit::{Finding, Subject};
use crate::tree::policy::install::{Scope, UnitName};

pub(super) const RULE: Rule = Rule {
    name: "enablement",
    about: "A unit is enabled, but the unit whose start would start it isn't there; or a link gives it \
            a name that systemd ignores: nothing ever starts the unit.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for scope in [Scope::System, Scope::User] {
        let units = Units::of(subject, scope)?;
        for link in &units.links {
            // Of packages' own links the unit may be for what is not installed.
            let enabled = Subject::at_run_time(&link.path).starts_with("/etc/");
            for by in unit_names(&link.by).iter().filter(|_| enabled) {
                let state = match units.get(by) {
                    None => "the image does not have",
                    Some(unit) if unit.masked => "is masked",
                    Some(_) => continue,
                };
                let message = format!("lets `{by}` start the unit, which {state}");
                found.extend(link.finding(RULE.name, subject, by, message));
            }
        }
        for (name, alias) in units.aliases() {
            if let Some(node) = subject.tree.get(&alias.path)
                && !may_name(name, &alias.of)
            {
                let message = format!(
                    "would make `{name}` a name of `{}`, which is another kind of unit",
                    alias.of
                );
                found.push(Finding::new(RULE.name, (&alias.path, node), name, message));
            }
        }
    }
    Ok(found)
}

/// Whether systemd takes one name for the other (systemd.unit(5), `Alias=`): of one type, and both
/// templates or instances, or neither; a plain name may stand for an instance.
fn may_name(name: &str, of: &str) -> bool {
    let (Some(name), Some(of)) = (UnitName::parse(name), UnitName::parse(of)) else {
        return false;
    };
    name.suffix == of.suffix && (name.instance.is_none() || of.instance.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, link};

    #[test]
    fn enabled_units_have_somebody_who_starts_them() {
        let etc = "usr/share/factory/etc/systemd/system";
        let to = || link("/usr/lib/systemd/system/a.service");
        let image = Image::new(&[
            ("usr/lib/systemd/system/a.service", "[Service]\n"),
            ("usr/lib/systemd/system/t@.service", "[Service]\n"),
            ("usr/lib/systemd/system/x.target", "[Unit]\n"),
        ])
        .with(&format!("{etc}/x.target.wants/a.service"), to())
        .with(&format!("{etc}/gone.target.wants/a.service"), to())
        .with(&format!("{etc}/dev-sda.device.wants/a.service"), to())
        .with("usr/lib/systemd/system/gone.target.wants/a.service", to())
        .with(&format!("{etc}/alias.service"), to())
        .with(&format!("{etc}/alias@1.service"), to())
        .with(
            &format!("{etc}/alias@2.service"),
            link("/usr/lib/systemd/system/t@.service"),
        )
        .with(&format!("{etc}/alias.socket"), to());
        assert_eq!(
            image.findings(&RULE),
            [
                format!("/{etc}/alias.socket: alias.socket"),
                format!("/{etc}/alias@1.service: alias@1.service"),
                format!("/{etc}/gone.target.wants/a.service: gone.target"),
            ]
        );
    }
}
