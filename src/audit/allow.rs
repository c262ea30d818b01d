//! What the profile allows.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{Finding, Subject};
use crate::profile::schema::Allow;
use crate::tree::TreePath;
use crate::tree::glob::Glob;

/// All findings, held against `allow:`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What nothing allows: it ends a build.
    pub open: Vec<Finding>,
    /// What is allowed.
    pub allowed: Vec<Allowed>,
    /// Entries of `allow:` that match nothing, by their place in the list.
    pub unused: Vec<usize>,
}

/// A finding that is as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// What was found.
    pub finding: Finding,
    /// The first entry of `allow:` that matches it.
    pub entry: usize,
}

impl Verdict {
    /// Holds `findings` against the list of a profile.
    ///
    /// # Errors
    /// A path that is no glob, which a checked profile does not have.
    pub fn new(findings: Vec<Finding>, allow: &[Allow]) -> Result<Self> {
        let entries: Vec<Entry<'_>> = allow.iter().map(Entry::new).collect::<Result<_>>()?;
        let mut used = vec![false; entries.len()];
        let mut verdict = Self::default();
        for finding in findings {
            let mut first = None;
            for (number, entry) in entries.iter().enumerate() {
                if entry.matches(&finding) {
                    first = first.or(Some(number));
                    if let Some(used) = used.get_mut(number) {
                        *used = true;
                    }
                }
            }
            match first {
                Some(entry) => verdict.allowed.push(Allowed { finding, entry }),
                None => verdict.open.push(finding),
            }
        }
        let unused = used.iter().enumerate().filter(|(_, used)| !**used);
        verdict.unused = unused.map(|(number, _)| number).collect();
        Ok(verdict)
    }
}

/// An entry, ready to be compared with.
struct Entry<'a> {
    allow: &'a Allow,
    path: Glob,
}

impl<'a> Entry<'a> {
    fn new(allow: &'a Allow) -> Result<Self> {
        let path = Glob::new(&allow.path).with_context(|| format!("allow: `{}`", allow.path))?;
        Ok(Self { allow, path })
    }

    fn matches(&self, finding: &Finding) -> bool {
        let Allow { rule, what, .. } = self.allow;
        rule == finding.rule
            && what.as_ref().is_none_or(|what| *what == finding.what)
            && (self.has(&finding.path) || self.has(&at_run_time(&finding.path)))
    }

    fn has(&self, path: &str) -> bool {
        let parts = path.split('/').filter(|part| !part.is_empty());
        let parts: Vec<&[u8]> = parts.map(str::as_bytes).collect();
        self.path.matches_components(&parts)
    }
}

fn at_run_time(path: &str) -> String {
    TreePath::parse(path).map_or_else(|_| path.to_owned(), |path| Subject::at_run_time(&path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::size::Maker;

    fn finding(rule: &'static str, path: &str, what: &str) -> Finding {
        Finding {
            path: path.into(),
            rule,
            origin: Maker::Package("test".into()),
            what: what.into(),
            message: format!("needs `{what}`"),
            hints: Vec::new(),
        }
    }

    fn allow(rule: &str, path: &str, what: Option<&str>) -> Allow {
        Allow {
            rule: rule.into(),
            path: path.into(),
            what: what.map(String::from),
            reason: "for tests".into(),
        }
    }

    #[test]
    fn an_entry_allows_what_it_names_and_nothing_else() {
        let found = finding("symlinks", "/usr/lib/a/b", "/x");
        for (entry, matches) in [
            (allow("symlinks", "/usr/lib/a/b", None), true),
            (allow("symlinks", "/usr/lib/a/b", Some("/x")), true),
            (allow("symlinks", "/usr/lib/*/b", None), true),
            (allow("symlinks", "/usr/lib/**", Some("/x")), true),
            (allow("pam", "/usr/lib/a/b", None), false),
            (allow("symlinks", "/usr/lib/a", None), false),
            (allow("symlinks", "/usr/lib/a/b", Some("/")), false),
        ] {
            let verdict = Verdict::new(vec![found.clone()], std::slice::from_ref(&entry)).unwrap();
            let open = usize::from(!matches);
            assert_eq!(verdict.open.len(), open, "{entry:?}");
            assert_eq!(verdict.allowed.len(), 1 - open, "{entry:?}");
            assert_eq!(verdict.unused.len(), open, "{entry:?}");
        }
    }

    #[test]
    fn files_of_etc_have_both_their_names() {
        let found = finding("pam", "/usr/share/factory/etc/pam.d/login", "pam_x.so");
        for path in ["/etc/pam.d/*", "/usr/share/factory/etc/pam.d/login"] {
            let verdict = Verdict::new(vec![found.clone()], &[allow("pam", path, None)]).unwrap();
            assert!(verdict.open.is_empty(), "{path}");
        }
    }

    #[test]
    fn of_two_entries_for_one_finding_neither_is_unused_and_the_first_counts() {
        let found = vec![finding("pam", "/a", "x"), finding("pam", "/b", "x")];
        let list = [
            allow("pam", "/c", None),
            allow("pam", "/*", None),
            allow("pam", "/b", None),
        ];
        let verdict = Verdict::new(found, &list).unwrap();
        let entries: Vec<_> = verdict.allowed.iter().map(|each| each.entry).collect();
        assert_eq!((entries, verdict.unused), (vec![1, 1], vec![0]));
    }

    #[test]
    fn a_verdict_is_kept_and_had_again() {
        let found = vec![finding("pam", "/a", "x"), finding("symlinks", "/b", "y")];
        let verdict = Verdict::new(found, &[allow("pam", "/**", None)]).unwrap();
        let bytes = postcard::to_stdvec(&verdict).unwrap();
        assert_eq!(crate::store::decode::<Verdict>(&bytes).unwrap(), verdict);
        let gone = String::from_utf8_lossy(&bytes).replace("pam", "pom");
        assert!(crate::store::decode::<Verdict>(gone.as_bytes()).is_err());
    }
}
