//! A kernel's configuration, as its package ships it in `/boot/config-VERSION`.

use std::collections::BTreeMap;

use crate::arch::Arch;

/// The options of a configuration. One that it does not name is `n`, as Kconfig writes no option whose
/// dependencies are not met.
#[derive(Debug)]
pub struct Config<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Config<'a> {
    /// Reads a configuration; lines that are no option say nothing.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let options = text
            .lines()
            .filter(|line| line.starts_with("CONFIG_"))
            .filter_map(|line| line.trim_end().split_once('='));
        Self(options.collect())
    }

    /// The value of an option.
    #[must_use]
    pub fn get(&self, option: &str) -> &'a str {
        self.0.get(option).copied().unwrap_or("n")
    }

    /// Whether it names no option at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The architecture that it is for.
    #[must_use]
    pub fn arch(&self) -> Option<Arch> {
        match (self.get("CONFIG_X86_64"), self.get("CONFIG_ARM64")) {
            ("y", _) => Some(Arch::X86_64),
            (_, "y") => Some(Arch::Arm64),
            _ => None,
        }
    }

    /// The options that differ from `other`'s, sorted.
    #[must_use]
    pub fn changes(&self, other: &Self) -> Vec<Change<'a>> {
        let mut names: Vec<&str> = self.0.keys().chain(other.0.keys()).copied().collect();
        names.sort_unstable();
        names.dedup();
        let change = |option| Change {
            option,
            before: self.get(option),
            after: other.get(option),
        };
        let changes = names.into_iter().map(change);
        changes.filter(|c| c.before != c.after).collect()
    }
}

/// An option that differs between two configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Change<'a> {
    /// The option, with `CONFIG_`.
    pub option: &'a str,
    /// Its value in the first; `n` where it is not set.
    pub before: &'a str,
    /// Its value in the second.
    pub after: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_as_what_is_not_named() {
        let a = Config::parse("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_X86_64=y\n");
        let b = Config::parse("CONFIG_A=y\nCONFIG_C=y\nCONFIG_D=\"a=b\"\nCONFIG_X86_64=y\n");
        let shown: Vec<_> = a
            .changes(&b)
            .into_iter()
            .map(|c| (c.option, c.before, c.after))
            .collect();
        assert_eq!(
            shown,
            [("CONFIG_C", "m", "y"), ("CONFIG_D", "n", "\"a=b\"")]
        );
        assert_eq!((a.arch(), a.get("CONFIG_B")), (Some(Arch::X86_64), "n"));
        assert!(a.changes(&a).is_empty());
    }
}
