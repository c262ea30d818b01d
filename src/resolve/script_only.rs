//! Dependencies that exist only for maintainer scripts: data, embedded from
//! `profiles/script-only.yaml`.

use crate::words::glob;
use anyhow::Context as _;
use serde::Deserialize;

const DATA: &str = include_str!("../../profiles/script-only.yaml");

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name or shell glob of the package that is not needed.
    pub package: String,
    /// Why nothing at run time misses it.
    pub reason: String,
    /// What maintainer scripts call it for.
    pub did: String,
    /// What does that in an image that never runs one.
    pub instead: String,
    /// Packages (names or globs) whose relations this holds for; empty: all.
    #[serde(default, rename = "for")]
    pub dependents: Vec<String>,
}

/// The list, without what the profile keeps.
#[derive(Debug, Clone, Default)]
pub struct ScriptOnly {
    entries: Vec<Entry>,
    kept: Vec<String>,
}

impl ScriptOnly {
    /// The embedded list.
    pub fn embedded() -> anyhow::Result<Self> {
        Ok(Self {
            entries: serde_yaml::from_str(DATA).context("reading profiles/script-only.yaml")?,
            kept: Vec::new(),
        })
    }

    /// A list of `entries`.
    #[must_use]
    pub const fn of(entries: Vec<Entry>) -> Self {
        Self {
            entries,
            kept: Vec::new(),
        }
    }

    /// The list without the packages that `names` match.
    #[must_use]
    pub fn keeping<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.kept.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// Why `dependent` does not need `package`, if the list says so.
    #[must_use]
    pub fn reason(&self, package: &str, dependent: &str) -> Option<&str> {
        self.entry(package, |entry| {
            entry.dependents.is_empty()
                || entry.dependents.iter().any(|d| glob::matches(d, dependent))
        })
        .map(|entry| entry.reason.as_str())
    }

    /// The first entry about `package`, whoever asks for it.
    #[must_use]
    pub fn about(&self, package: &str) -> Option<&Entry> {
        self.entry(package, |_| true)
    }

    fn entry(&self, package: &str, holds: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        if self.kept.iter().any(|kept| glob::matches(kept, package)) {
            return None;
        }
        self.entries
            .iter()
            .find(|entry| glob::matches(&entry.package, package) && holds(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_list_is_readable_and_every_entry_has_a_reason() {
        let list = ScriptOnly::embedded().unwrap();
        assert!(list.reason("debconf", "anything").is_some());
        assert!(list.reason("dracut-core", "anything").is_some());
        assert!(list.reason("libc6", "anything").is_none());
        for entry in &list.entries {
            for text in [&entry.reason, &entry.did, &entry.instead] {
                assert!(!text.trim().is_empty(), "{entry:?}");
            }
        }
    }

    #[test]
    fn an_entry_can_hold_for_some_dependents_and_be_kept_by_the_profile() {
        let list = ScriptOnly::of(vec![Entry {
            package: "perl-base".into(),
            reason: "scripts".into(),
            did: "runs them".into(),
            instead: "nothing".into(),
            dependents: vec!["debconf*".into()],
        }]);
        assert!(list.reason("perl-base", "debconf-i18n").is_some());
        assert!(list.reason("perl-base", "git").is_none());
        assert!(list.about("perl-base").is_some());
        let kept = list.keeping(["perl-base"]);
        assert!(kept.reason("perl-base", "debconf").is_none());
    }
}
