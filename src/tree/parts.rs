//! Parts of an image that profiles drop by name: data, embedded from `profiles/parts.yaml`.

use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::policy::FACTORY;
use super::prune::Rule;
use super::{TreePath, usr_merge};
use crate::profile::schema::Root;

const DATA: &str = include_str!("../../profiles/parts.yaml");

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name in profiles.
    pub name: String,
    /// What it is, and who would miss it.
    pub about: String,
    /// Rules as in `root.prune`.
    pub prune: Vec<String>,
}

impl Part {
    /// Whether the finished image's file at the absolute `path` belongs to the part.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        decider(&self.prune, path).is_some_and(|(_, keeps)| !keeps)
    }
}

/// The last of `rules` that speaks about the finished image's file at the absolute `path`, and whether
/// it keeps it. Whose file it is does not matter.
#[must_use]
pub fn decider(rules: &[String], path: &str) -> Option<(usize, bool)> {
    let factory = format!("/{FACTORY}");
    let etc = path.strip_prefix(&factory).filter(|r| r.starts_with('/'));
    let path = etc.map_or_else(|| path.to_owned(), |rest| format!("/etc{rest}"));
    let path = usr_merge::physical(&TreePath::parse(&path).ok()?).ok()?;
    let components: Vec<&[u8]> = path.components().collect();
    let speaks = |rule: &Rule| {
        (1..=components.len()).any(|end| rule.matches(components.get(..end).unwrap_or_default()))
    };
    let mut rules = rules.iter().enumerate().rev();
    rules.find_map(|(number, text)| {
        let rule = Rule::new(text).ok().filter(speaks)?;
        Some((number, rule.keep))
    })
}

/// All parts, in the order in which their rules are applied.
///
/// # Errors
/// The embedded list is damaged.
pub fn all() -> Result<&'static [Part]> {
    static PARTS: OnceLock<Vec<Part>> = OnceLock::new();
    if let Some(parts) = PARTS.get() {
        return Ok(parts);
    }
    let parts = serde_yaml::from_str(DATA).context("reading profiles/parts.yaml")?;
    Ok(PARTS.get_or_init(|| parts))
}

/// The rules of a profile: those of the parts it drops, then what keeps those it keeps, then its own.
///
/// # Errors
/// As [`all`].
pub fn rules(root: &Root) -> Result<Vec<String>> {
    let all = all()?;
    let chosen = |names: &'_ [String]| {
        let names = names.to_vec();
        all.iter().filter(move |part| names.contains(&part.name))
    };
    let dropped = chosen(&root.parts.drop).flat_map(|part| part.prune.iter().cloned());
    let kept = chosen(&root.parts.keep)
        .flat_map(|part| &part.prune)
        .filter(|rule| !rule.starts_with('!'))
        .map(|rule| format!("!{rule}"));
    Ok(dropped
        .chain(kept)
        .chain(root.prune.iter().cloned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_name_of_its_own_and_rules_that_can_be_read() {
        let all = all().unwrap();
        let names: std::collections::BTreeSet<_> = all.iter().map(|part| &part.name).collect();
        assert_eq!(names.len(), all.len());
        for part in all {
            assert!(
                !part.prune.is_empty() && part.about.ends_with('.'),
                "{}",
                part.name
            );
            for rule in &part.prune {
                Rule::new(rule).unwrap();
            }
        }
    }

    #[test]
    fn every_part_stands_in_the_documentation() {
        let document = include_str!("../../docs/sizes.md");
        let rows: String = all()
            .unwrap()
            .iter()
            .map(|part| format!("| `{}` | {} |\n", part.name, part.about))
            .collect();
        assert!(document.ends_with(&rows), "{rows}");
    }

    #[test]
    fn what_is_kept_wins_over_what_is_dropped_and_own_rules_over_both() {
        let mut root = Root::default();
        root.parts.drop = vec!["man".into(), "docs".into()];
        root.parts.keep = vec!["man".into()];
        root.prune = vec!["/usr/share/man/de".into()];
        assert_eq!(
            rules(&root).unwrap(),
            [
                "/usr/share/doc/**",
                "!/usr/share/doc/*/copyright",
                "/usr/share/man/**",
                "!/usr/share/man/**",
                "/usr/share/man/de",
            ]
        );
    }

    #[test]
    fn files_of_a_part_are_told_by_their_place_in_the_image() {
        let part = |name: &str| {
            all()
                .unwrap()
                .iter()
                .find(|part| part.name == name)
                .unwrap()
        };
        assert!(part("docs").has("/usr/share/doc/bash/README"));
        assert!(!part("docs").has("/usr/share/doc/bash/copyright"));
        assert!(!part("docs").has("/usr/share/docs"));
        assert!(part("other-init").has("/usr/share/factory/etc/init.d/ssh"));
    }
}
