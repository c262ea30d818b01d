//! Sets of modules that profiles name in `kernel.modules`: data, embedded from `profiles/modules.yaml`.

use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use serde::Deserialize;

const DATA: &str = include_str!("../../profiles/modules.yaml");

/// A set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Its name in profiles.
    pub name: String,
    /// What hosts it is for.
    pub about: String,
    /// What it has.
    pub groups: Vec<Group>,
}

/// Modules of a set that are there for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What they are for.
    pub about: String,
    /// Entries as in `kernel.modules`. A kernel need not have all of them.
    pub modules: Vec<String>,
}

impl Set {
    /// The entries of all groups.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.groups
            .iter()
            .flat_map(|group| group.modules.iter().map(String::as_str))
    }
}

/// All sets.
///
/// # Errors
/// The embedded list is damaged.
pub fn all() -> Result<&'static [Set]> {
    static SETS: OnceLock<Vec<Set>> = OnceLock::new();
    if let Some(sets) = SETS.get() {
        return Ok(sets);
    }
    let sets = serde_yaml::from_str(DATA).context("reading profiles/modules.yaml")?;
    Ok(SETS.get_or_init(|| sets))
}

/// The set called `name`.
///
/// # Errors
/// As [`all`].
pub fn named(name: &str) -> Result<Option<&'static Set>> {
    Ok(all()?.iter().find(|set| set.name == name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::kernel::select::Entry;
    use crate::kernel::underscored;

    #[test]
    fn every_entry_is_one_stands_once_and_has_a_reason() {
        for set in all().unwrap() {
            assert!(set.about.ends_with('.'), "{}", set.name);
            let mut seen = BTreeSet::new();
            for group in &set.groups {
                assert!(group.about.ends_with('.'), "{}", group.about);
                for entry in &group.modules {
                    let parsed = Entry::parse(entry).unwrap();
                    assert!(
                        !matches!(parsed, Entry::All | Entry::Set(_)),
                        "{entry} of {}",
                        set.name
                    );
                    assert!(seen.insert(underscored(entry)), "{entry} twice");
                }
            }
        }
    }

    #[test]
    fn the_documentation_has_every_group() {
        let document = include_str!("../../docs/sizes.md");
        for set in all().unwrap() {
            let rows: String = set
                .groups
                .iter()
                .map(|group| {
                    let entries: Vec<_> = group.modules.iter().map(|m| format!("`{m}`")).collect();
                    format!("| {} | {} |\n", group.about, entries.join(", "))
                })
                .collect();
            assert!(document.contains(&rows), "{rows}");
        }
    }
}
