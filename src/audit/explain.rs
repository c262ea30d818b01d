//! Findings in words: who wanted the file, what leaves out what is missing, and how to let it pass.

use serde_json::{Value, json};

use super::{Allowed, Finding, Verdict};
use crate::failure::{Failure, Kind};
use crate::profile::{Line, Loaded};
use crate::report::size::{Lines, Maker, why};
use crate::resolve::Lock;

/// Knows the lines of a profile that led to its packages and files.
#[derive(Debug)]
pub struct Explainer<'a> {
    loaded: &'a Loaded,
    lines: Lines,
}

/// What ends a build.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct Failed {
    /// The findings, the first of them in words.
    #[source]
    pub failure: Failure,
    /// All of them, as `--json` has them.
    pub findings: Vec<Value>,
}

impl<'a> Explainer<'a> {
    /// For the image of `lock`, which was made for `loaded`.
    #[must_use]
    pub fn new(loaded: &'a Loaded, lock: &Lock) -> Self {
        Self {
            loaded,
            lines: Lines::of(loaded, lock),
        }
    }

    /// Fails where something is not allowed; at most `most` findings are shown.
    ///
    /// # Errors
    /// [`Failed`], kind [`Kind::Audit`].
    pub fn ensure(&self, verdict: &Verdict, most: usize) -> anyhow::Result<()> {
        let Some(first) = verdict.open.first() else {
            return Ok(());
        };
        let shown = verdict.open.len().min(most);
        let mut text = String::new();
        for finding in verdict.open.iter().take(most) {
            text.push_str(&self.text(finding));
        }
        if verdict.open.len() > shown {
            let more = verdict.open.len() - shown;
            text.push_str(&format!(
                "… and {more} more; `hullwright audit {}` lists all\n",
                self.loaded.named()
            ));
        }
        let things = match verdict.open.len() {
            1 => "one thing".to_owned(),
            many => format!("{many} things"),
        };
        let failure = Failure::new(
            Kind::Audit,
            format!(
                "the image of {} has {things} missing or out of place",
                self.loaded.stem
            ),
        )
        .snippet(text)
        .hint("mend the profile, or let it say what is fine as it is, and why:")
        .hint(format!("  allow: [{}]", entry(first)));
        Err(Failed {
            failure,
            findings: verdict.open.iter().map(|each| self.json(each)).collect(),
        }
        .into())
    }

    /// Whole lines for people.
    #[must_use]
    pub fn text(&self, finding: &Finding) -> String {
        let Finding {
            path,
            rule,
            message,
            ..
        } = finding;
        let mut out = format!("{path}: {message} ({rule})\n");
        let chain = why::chain(&finding.origin, &self.lines);
        out.push_str(&format!("  {}\n", chain.join(" → ")));
        for hint in self.hints(finding) {
            out.push_str(&format!("  hint: {hint}\n"));
        }
        out
    }

    /// The finding for programs, with the entry of `allow:` that lacks but the reason.
    #[must_use]
    pub fn json(&self, finding: &Finding) -> Value {
        let (package, overlay, generated) = match &finding.origin {
            Maker::Package(name) => (Some(name), None, None),
            Maker::Overlay(path) => (None, Some(path), None),
            Maker::Generated(by) => (None, None, Some(by)),
        };
        json!({
            "rule": finding.rule,
            "path": finding.path,
            "package": package,
            "overlay": overlay,
            "generated": generated,
            "what": finding.what,
            "message": finding.message,
            "chain": why::chain(&finding.origin, &self.lines),
            "hints": self.hints(finding),
            "allow": {
                "rule": finding.rule,
                "path": literal(&finding.path),
                "what": finding.what,
            },
        })
    }

    /// The reason of an entry, and where it stands.
    #[must_use]
    pub fn reason(&self, allowed: &Allowed) -> (&str, String) {
        let entry = self.loaded.profile.allow.get(allowed.entry);
        let reason = entry.map_or("", |entry| &*entry.reason);
        let place = self.loaded.line_of_allow(allowed.entry);
        (
            reason,
            place.map(|(line, _)| line.place).unwrap_or_default(),
        )
    }

    /// The entries that match nothing, and whether a file of the user has them.
    #[must_use]
    pub fn unused(&self, verdict: &Verdict) -> Vec<(Line, bool)> {
        let entries = verdict.unused.iter();
        entries
            .filter_map(|&entry| self.loaded.line_of_allow(entry))
            .collect()
    }

    /// A line about each of them that the user should mend. What a built-in profile allows need not be in
    /// every image that extends it.
    #[must_use]
    pub fn stale(&self, verdict: &Verdict) -> Vec<String> {
        let unused = self.unused(verdict).into_iter();
        unused
            .filter_map(|(line, own)| own.then_some(line))
            .map(|line| {
                format!(
                    "{}: allow: no finding is about `{}`",
                    line.place, line.value
                )
            })
            .collect()
    }

    fn hints(&self, finding: &Finding) -> Vec<String> {
        let mut hints = finding.hints.clone();
        let left_out = finding
            .what
            .starts_with('/')
            .then(|| why::left_out(self.loaded, &finding.what).ok().flatten());
        hints.extend(left_out.flatten());
        hints
    }
}

/// An entry of `allow:` for a finding, in one line of YAML.
fn entry(finding: &Finding) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let plain = |text: &str| {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b);
        // Bare words may be `null`, and other first characters something else, too.
        let word = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let clear = text.starts_with('/') || (word && text.contains(['.', '-', '_']));
        if clear && text.bytes().all(safe) {
            text.to_owned()
        } else {
            quoted(text)
        }
    };
    format!(
        "{{rule: {}, path: {}, what: {}, reason: \"…\"}}",
        finding.rule,
        plain(&literal(&finding.path)),
        plain(&finding.what)
    )
}

/// The glob that matches nothing but `path`.
fn literal(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::glob::Glob;

    #[test]
    fn the_entry_that_is_shown_is_one_that_a_profile_takes() {
        for (path, what) in [
            ("/usr/bin/x", "libfoo.so.1"),
            ("/usr/bin/[", "null"),
            (
                "/usr/lib/systemd/system/a\\x2db.slice",
                "two words, \"quoted\": yes",
            ),
            ("/usr/share/{a,b}: #c", "4755"),
        ] {
            let finding = Finding {
                path: path.into(),
                rule: "symlinks",
                origin: Maker::Generated("test".into()),
                what: what.into(),
                message: String::new(),
                hints: Vec::new(),
            };
            let entry = entry(&finding);
            let text = format!(
                "name: a\nos: {{id: a, name: A, version: 1}}\nkernel: {{package: linux}}\nallow: [{entry}]\n"
            );
            let text = text.replace('…', "because");
            let profile = crate::profile::parse_bytes(text.as_bytes()).unwrap();
            let allow = profile.allow.first().unwrap();
            assert_eq!(allow.what.as_deref(), Some(what));
            let glob = Glob::new(&allow.path).unwrap();
            let parts: Vec<_> = path.split('/').skip(1).map(str::as_bytes).collect();
            assert!(glob.matches_components(&parts), "{entry}");
        }
    }
}
