//! Presets (systemd.preset(5)) and what `systemctl preset-all` makes of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::Result;

use crate::failure::{Failure, Kind as FailureKind};
use crate::tree::{Kind, Tree};

use super::edit::{Editor, dropins, text};
use super::install::{Link, Scope, UnitName, find, folders, links};
use crate::words::glob;

/// What a rule does with the units that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `enable`.
    Enable,
    /// `disable`.
    Disable,
    /// `ignore`.
    Ignore,
}

/// One line of a preset file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What to do.
    pub verdict: Verdict,
    /// A glob over unit names.
    pub pattern: String,
    /// For templates: the instances to enable.
    pub instances: Vec<String>,
}

/// Parses one preset file.
///
/// # Errors
/// A line that is none, with its place.
pub fn parse(file: &str, text: &str) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let verdict = match words.next() {
            Some("enable") => Verdict::Enable,
            Some("disable") => Verdict::Disable,
            Some("ignore") => Verdict::Ignore,
            _ => {
                return Err(Failure::new(
                    FailureKind::Audit,
                    format!("`{line}` is not a preset; expected `enable`, `disable` or `ignore` and a unit"),
                )
                .at(file, Some(number), None)
.into());
            }
        };
        let Some(pattern) = words.next() else {
            return Err(
                Failure::new(FailureKind::Audit, format!("`{line}` names no unit"))
                    .at(file, Some(number), None)
                    .into(),
            );
        };
        rules.push(Rule {
            verdict,
            pattern: pattern.to_owned(),
            instances: words.map(String::from).collect(),
        });
    }
    Ok(rules)
}

/// Links that `preset-all` makes in `/etc/systemd/SCOPE`; names of the enabled units.
///
/// # Errors
/// Malformed presets or `[Install]` sections.
pub fn apply(tree: &mut Tree, scope: Scope, arch: &str) -> Result<Vec<String>> {
    let mut rules = Vec::new();
    for file in dropins(
        tree,
        &format!("systemd/{}-preset", scope.folder()),
        ".preset",
    )? {
        if let Some(text) = text(tree, &file)? {
            rules.extend(parse(&file.to_string(), &text)?);
        }
    }
    let mut names = BTreeSet::new();
    for folder in folders(scope) {
        for file in super::edit::files_in(tree, &folder, "")? {
            let name = String::from_utf8_lossy(file.name()).into_owned();
            if UnitName::parse(&name).is_some() {
                names.insert(name);
            }
        }
    }

    let mut queue: VecDeque<String> = VecDeque::new();
    let mut disabled: BTreeSet<String> = BTreeSet::new();
    for name in &names {
        let Some(unit) = find(tree, scope, name)? else {
            continue;
        };
        // An alias follows the unit that it names; a masked unit stays out.
        if unit.name != *name || unit.masked {
            continue;
        }
        let rule = rules.iter().find(|rule| rule_names(rule, name));
        match rule.map_or(Verdict::Enable, |rule| rule.verdict) {
            Verdict::Enable => {
                let instances = rule.map_or(&[][..], |rule| &rule.instances);
                let template = UnitName::parse(name).filter(UnitName::is_template);
                match template.filter(|_| !instances.is_empty()) {
                    Some(t) => queue.extend(
                        instances
                            .iter()
                            .map(|i| format!("{}@{i}{}", t.prefix, t.suffix)),
                    ),
                    None if !unit.install.is_empty() => queue.push_back(name.clone()),
                    None => {}
                }
            }
            Verdict::Disable => {
                disabled.insert(name.clone());
            }
            Verdict::Ignore => {}
        }
    }
    unlink(tree, scope, &disabled)?;

    let mut made: BTreeMap<String, Link> = BTreeMap::new();
    let mut done = BTreeSet::new();
    while let Some(name) = queue.pop_front() {
        if done.contains(&name) {
            continue;
        }
        let Some(unit) = find(tree, scope, &name)? else {
            continue;
        };
        if unit.masked {
            continue;
        }
        for link in links(&unit, &name, arch)? {
            if let Some(first) = made.get(&link.name)
                && first.target != link.target
            {
                return Err(Failure::new(
                    FailureKind::Audit,
                    format!(
                        "enabling makes /etc/systemd/{}/{} twice: for {} and for {}",
                        scope.folder(),
                        link.name,
                        first.target,
                        link.target
                    ),
                )
                .hint("take one of the two out of `root.units.enable`")
                .into());
            }
            made.insert(link.name.clone(), link);
        }
        queue.extend(unit.install.also.iter().cloned());
        done.insert(name);
    }
    let mut edit = Editor::new(tree, "presets");
    for link in made.values() {
        edit.symlink(
            &format!("etc/systemd/{}/{}", scope.folder(), link.name),
            &link.target,
        )?;
    }
    Ok(done.into_iter().collect())
}

fn rule_names(rule: &Rule, name: &str) -> bool {
    glob::matches(&rule.pattern, name)
}

/// Removes the links below `/etc` that enable a disabled unit (a package may ship some).
fn unlink(tree: &mut Tree, scope: Scope, disabled: &BTreeSet<String>) -> Result<()> {
    let base = super::edit::path(&format!("etc/systemd/{}", scope.folder()))?;
    let doomed: Vec<_> = tree
        .below(&base)
        .filter(|(p, node)| {
            let in_folder = p.parent().is_some_and(|dir| {
                [&b".wants"[..], b".requires", b".upholds"]
                    .iter()
                    .any(|s| dir.name().ends_with(s))
            });
            in_folder
                && matches!(node.kind, Kind::Symlink(_))
                && disabled.contains(&*String::from_utf8_lossy(p.name()))
        })
        .map(|(p, _)| p.clone())
        .collect();
    for link in doomed {
        tree.remove(&link);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreePath;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        let mut edit = Editor::new(&mut tree, "test");
        for (at, text) in files {
            match text.strip_prefix("-> ") {
                Some(target) => edit.symlink(at, target).unwrap(),
                None => edit.write(at, 0o644, *text).unwrap(),
            }
        }
        tree
    }

    fn links_of(tree: &Tree) -> Vec<String> {
        let base = TreePath::parse("etc/systemd/system").unwrap();
        tree.below(&base)
            .filter(|(_, n)| matches!(n.kind, Kind::Symlink(_)))
            .filter_map(|(p, _)| p.strip_prefix(&base).map(|p| p.to_string()))
            .collect()
    }

    #[test]
    fn the_first_matching_rule_counts_and_also_is_followed() {
        let s = "usr/lib/systemd/system";
        let mut tree = tree(&[
            (
                "usr/lib/systemd/system-preset/00-a.preset",
                "enable a.service\nenable t@.service one two\nenable u@.service x\ndisable *\n",
            ),
            (
                "usr/lib/systemd/system-preset/90-b.preset",
                "enable b.service\n",
            ),
            (
                &format!("{s}/a.service"),
                "[Install]\nWantedBy=m.target\nAlso=c.socket\n",
            ),
            (&format!("{s}/b.service"), "[Install]\nWantedBy=m.target\n"),
            (
                &format!("{s}/c.socket"),
                "[Install]\nWantedBy=sockets.target\n",
            ),
            (&format!("{s}/t@.service"), "[Install]\nWantedBy=m.target\n"),
            (&format!("{s}/u@.service"), "[Install]\nWantedBy=m.target\n"),
            (&format!("{s}/alias.service"), "-> a.service"),
            (
                "etc/systemd/system/m.target.wants/b.service",
                "-> /usr/lib/systemd/system/b.service",
            ),
        ]);
        let enabled = apply(&mut tree, Scope::System, "x86-64").unwrap();
        assert_eq!(
            enabled,
            [
                "a.service",
                "c.socket",
                "t@one.service",
                "t@two.service",
                "u@x.service"
            ]
        );
        assert_eq!(
            links_of(&tree),
            [
                "/m.target.wants/a.service",
                "/m.target.wants/t@one.service",
                "/m.target.wants/t@two.service",
                "/m.target.wants/u@x.service",
                "/sockets.target.wants/c.socket",
            ]
        );
    }

    #[test]
    fn masked_units_stay_out_and_a_preset_in_etc_hides_its_namesake() {
        let s = "usr/lib/systemd/system";
        let mut tree = tree(&[
            ("usr/lib/systemd/system-preset/a.preset", "enable *\n"),
            (
                "etc/systemd/system-preset/a.preset",
                "disable b.service\nenable *\n",
            ),
            (&format!("{s}/a.service"), "-> /dev/null"),
            (&format!("{s}/b.service"), "[Install]\nWantedBy=m.target\n"),
            (&format!("{s}/c.service"), "[Install]\nWantedBy=m.target\n"),
        ]);
        assert_eq!(
            apply(&mut tree, Scope::System, "x86-64").unwrap(),
            ["c.service"]
        );
    }

    #[test]
    fn malformed_presets_are_named_by_place() {
        let failure = parse("/usr/lib/p.preset", "enable a.service\nmask b\n").unwrap_err();
        assert!(failure.to_string().starts_with("/usr/lib/p.preset:2: "));
    }
}
