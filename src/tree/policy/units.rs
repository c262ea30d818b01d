//! The profile's units: presets from `enable` and `disable`, links to `/dev/null` from `mask`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;

use crate::failure::{Failure, Kind as FailureKind};
use crate::profile::schema::Units;
use crate::tree::{Kind, Tree};

use super::edit::{Editor, files_in, path};
use super::install::{Scope, UnitName, find, folders};
use crate::words::nearest;

/// Writes the preset file that decides over every unit, after checking that each named unit exists;
/// returns notes about units that enabling does nothing to.
///
/// # Errors
/// A unit that does not exist, is only an alias, or is masked as well.
pub fn write_preset(tree: &mut Tree, units: &Units) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for name in &units.enable {
        notes.extend(check_enabled(tree, units, name)?);
    }
    for name in units.disable.iter().chain(&units.mask) {
        if UnitName::parse(name).is_none() {
            return Err(not_a_name(name).into());
        }
    }
    let mut text = String::from("# Made by hullwright from the profile's `root.units`.\n");
    for name in &units.disable {
        writeln!(text, "disable {name}")?;
    }
    // Presets know instances only as words behind their template; systemd would skip a rule for
    // `getty@tty2.service`, because no such file exists.
    let mut instances: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut plain = BTreeSet::new();
    for name in units.enable.iter().filter(|n| !units.disable.contains(n)) {
        match UnitName::parse(name) {
            Some(parsed) if parsed.instance.is_some_and(|i| !i.is_empty()) => {
                let instance = parsed.instance.unwrap_or_default().to_owned();
                instances
                    .entry(parsed.template())
                    .or_default()
                    .insert(instance);
            }
            _ => {
                plain.insert(name.clone());
            }
        }
    }
    for (template, list) in &mut instances {
        if plain.remove(template)
            && let Some(unit) = find(tree, Scope::System, template)?
        {
            list.extend(unit.install.default_instance);
        }
        let words: Vec<_> = list.iter().map(String::as_str).collect();
        writeln!(text, "enable {template} {}", words.join(" "))?;
    }
    for name in &plain {
        writeln!(text, "enable {name}")?;
    }
    // Without it units that no preset names would be enabled: that is systemd's default.
    text.push_str("disable *\n");
    Editor::new(tree, "root.units").write(
        "usr/lib/systemd/system-preset/00-hullwright.preset",
        0o644,
        text.as_str(),
    )?;
    Ok(notes)
}

fn not_a_name(name: &str) -> Failure {
    Failure::new(
        FailureKind::Usage,
        format!(
            "`{name}` in `root.units` is not a unit's name; expected one such as `ssh.service`"
        ),
    )
}

fn check_enabled(tree: &Tree, units: &Units, name: &str) -> Result<Option<String>> {
    if UnitName::parse(name).is_none() {
        let failure = not_a_name(name);
        return Err(
            match find(tree, Scope::System, &format!("{name}.service"))? {
                Some(_) => failure.hint(format!("did you mean `{name}.service`?")),
                None => failure,
            }
            .into(),
        );
    }
    if units.mask.iter().any(|m| m == name) {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("`{name}` is in `root.units.enable` and in `root.units.mask`"),
        )
        .hint("take it out of one; `-mask: [NAME]` takes away what a base profile masks")
        .into());
    }
    let Some(unit) = find(tree, Scope::System, name)? else {
        let mut names = Vec::new();
        for folder in folders(Scope::System) {
            for file in files_in(tree, &folder, "")? {
                names.push(String::from_utf8_lossy(file.name()).into_owned());
            }
        }
        let failure = Failure::new(
            FailureKind::Usage,
            format!(
                "`root.units.enable` names `{name}`, but no package or overlay of the profile brings that unit"
            ),
        );
        return Err(match nearest(name, names.iter().map(String::as_str)) {
            Some(close) => failure.hint(format!("did you mean `{close}`?")),
            None => failure.hint("add the package that brings it to `packages.include`"),
        }
        .into());
    };
    if unit.masked {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("`root.units.enable` names `{name}`, but a package or quirk masks it"),
        )
        .into());
    }
    let asked = UnitName::parse(name);
    let is_instance = asked
        .as_ref()
        .is_some_and(|n| n.instance.is_some_and(|i| !i.is_empty()) && n.template() == unit.name);
    if unit.name != name && !is_instance {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("`root.units.enable` names `{name}`, which is an alias"),
        )
        .hint(format!("name the unit itself: `{}`", unit.name))
        .into());
    }
    // As for systemctl: no error, since such units are started by others.
    Ok(unit.install.is_empty().then(|| {
        format!("enabling {name} does nothing: it has no [Install] section, other units start it")
    }))
}

/// Masks `name` in `/usr`: a link to `/dev/null`, and no link that wants it, so that nothing logs
/// about it.
///
/// # Errors
/// A name that is not a unit's.
pub fn mask(tree: &mut Tree, name: &str) -> Result<()> {
    if UnitName::parse(name).is_none() {
        return Err(not_a_name(name).into());
    }
    unwant(tree, name)?;
    Editor::new(tree, "root.units.mask")
        .symlink(&format!("usr/lib/systemd/system/{name}"), "/dev/null")
}

/// Removes the links by which other units start `name`; how many there were.
///
/// # Errors
/// None that a valid tree can cause.
pub fn unwant(tree: &mut Tree, name: &str) -> Result<usize> {
    let mut doomed = Vec::new();
    for folder in folders(Scope::System) {
        let folder = path(&folder)?;
        doomed.extend(
            tree.below(&folder)
                .filter(|(p, node)| {
                    p.name() == name.as_bytes()
                        && matches!(node.kind, Kind::Symlink(_))
                        && p.parent().is_some_and(|dir| dir != folder)
                })
                .map(|(p, _)| p.clone()),
        );
    }
    for link in &doomed {
        tree.remove(link);
    }
    Ok(doomed.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        let mut edit = Editor::new(&mut tree, "test");
        let install = "[Install]\nWantedBy=m.target\n";
        for (name, text) in [
            ("ssh.service", install),
            ("g@.service", install),
            ("static.service", "[Service]\n"),
        ] {
            edit.write(&format!("usr/lib/systemd/system/{name}"), 0o644, text)
                .unwrap();
        }
        edit.symlink("usr/lib/systemd/system/sshd.service", "ssh.service")
            .unwrap();
        edit.symlink(
            "usr/lib/systemd/system/m.target.wants/static.service",
            "../static.service",
        )
        .unwrap();
        tree
    }

    #[test]
    fn units_that_cannot_be_enabled_are_errors_that_say_what_to_do() {
        for (name, expected) in [
            ("shh.service", "did you mean `ssh.service`"),
            ("ssh", "did you mean `ssh.service`"),
            ("sshd.service", "name the unit itself: `ssh.service`"),
            ("nfs-kernel-server.service", "packages.include"),
        ] {
            let units = Units {
                enable: vec![name.into()],
                ..Units::default()
            };
            let error = write_preset(&mut tree(), &units).unwrap_err();
            let failure = crate::failure::failure_of(&error).unwrap();
            assert!(
                failure.hints.iter().any(|h| h.contains(expected)),
                "{name}: {failure:?}"
            );
        }
    }

    #[test]
    fn enabling_a_static_unit_is_noted() {
        let units = Units {
            enable: vec!["static.service".into()],
            ..Units::default()
        };
        let notes = write_preset(&mut tree(), &units).unwrap();
        assert!(
            notes[0].contains("static.service does nothing"),
            "{notes:?}"
        );
    }

    #[test]
    fn disable_wins_over_enable_and_everything_else_is_disabled() {
        let mut tree = tree();
        let units = Units {
            enable: [
                "ssh.service",
                "g@two.service",
                "g@one.service",
                "g@.service",
            ]
            .map(String::from)
            .into(),
            disable: vec!["ssh.service".into()],
            mask: Vec::new(),
        };
        write_preset(&mut tree, &units).unwrap();
        let at = path("usr/lib/systemd/system-preset/00-hullwright.preset").unwrap();
        let text = super::super::edit::text(&tree, &at).unwrap().unwrap();
        let rules: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            rules,
            [
                "disable ssh.service",
                "enable g@.service one two",
                "disable *"
            ]
        );
    }

    #[test]
    fn masking_takes_the_links_that_want_the_unit() {
        let mut tree = tree();
        mask(&mut tree, "static.service").unwrap();
        let wants = path("usr/lib/systemd/system/m.target.wants/static.service").unwrap();
        assert!(tree.get(&wants).is_none());
        assert!(
            find(&tree, Scope::System, "static.service")
                .unwrap()
                .unwrap()
                .masked
        );
    }
}
