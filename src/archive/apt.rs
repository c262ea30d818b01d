//! The host's own apt sources, read only to learn which Debian mirror is near.
//!
//! Formats: sources.list(5), one-line and deb822 style.

use std::fs;
use std::path::Path;

/// One URL and suite of the host's sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptEntry {
    /// Base URL, without a slash at the end.
    pub url: String,
    /// Suites.
    pub suites: Vec<String>,
    /// Components.
    pub components: Vec<String>,
    /// `Signed-By`, where it is a path.
    pub signed_by: String,
}

/// Reads `sources.list` and `sources.list.d` below `folder` (`/etc/apt`). What is missing or can't
/// be read is left out: other machines have no apt.
#[must_use]
pub fn read(folder: &Path) -> Vec<AptEntry> {
    let mut files = vec![folder.join("sources.list")];
    if let Ok(entries) = fs::read_dir(folder.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => found.extend(one_line(&text)),
            Some("sources") => found.extend(deb822(&text)),
            _ => {}
        }
    }
    found
}

/// `deb [signed-by=…] URL SUITE COMPONENT…`
#[must_use]
pub fn one_line(text: &str) -> Vec<AptEntry> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line
            .strip_prefix("deb")
            .filter(|r| r.starts_with([' ', '\t']))
        else {
            continue;
        };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']').unwrap_or((inner, "")),
            None => ("", rest),
        };
        let signed_by = options
            .split_ascii_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .unwrap_or_default();
        let mut words = rest.split_ascii_whitespace();
        if let (Some(url), Some(suite)) = (words.next(), words.next()) {
            found.push(AptEntry {
                url: url.trim_end_matches('/').to_owned(),
                suites: vec![suite.to_owned()],
                components: words.map(str::to_owned).collect(),
                signed_by: signed_by.to_owned(),
            });
        }
    }
    found
}

/// Stanzas with `Types`, `URIs`, `Suites`.
#[must_use]
pub fn deb822(text: &str) -> Vec<AptEntry> {
    let mut found = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            found.extend(stanza(&fields));
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    found
}

fn stanza(fields: &[(String, String)]) -> Vec<AptEntry> {
    let words = |name: &str| -> Vec<String> {
        fields
            .iter()
            .filter(|(field, _)| field == name)
            .flat_map(|(_, value)| value.split_ascii_whitespace())
            .map(str::to_owned)
            .collect()
    };
    let disabled = words("enabled")
        .first()
        .is_some_and(|word| word.eq_ignore_ascii_case("no"));
    if disabled || !words("types").iter().any(|word| word == "deb") {
        return Vec::new();
    }
    words("uris")
        .into_iter()
        .map(|url| AptEntry {
            url: url.trim_end_matches('/').to_owned(),
            suites: words("suites"),
            components: words("components"),
            signed_by: words("signed-by").into_iter().next().unwrap_or_default(),
        })
        .collect()
}
