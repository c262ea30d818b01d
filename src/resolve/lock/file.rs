//! The lock as a file: YAML with sorted keys and stable bytes, closed by a line that tells whether
//! anything above it was changed.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{Lock, VERSION};
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::staging;

const HEADER: &str = "# made by hullwright lock; do not edit\n";
const TRAILER: &str = "# SHA-256 of the lines above: ";

/// The one key that every version of the format has.
#[derive(Deserialize)]
struct Major {
    lock: u32,
}

impl Lock {
    /// Reads a lock; `None` when there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(damaged(path, "it is not text").into())
            }
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Parses the text of a lock; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let major: Major = serde_yaml::from_str(text).map_err(|e| malformed(&e, path))?;
        if major.lock != VERSION {
            return Err(Failure::new(
                Kind::Usage,
                format!(
                    "the lock has format {}, this hullwright reads format {VERSION}",
                    major.lock
                ),
            )
            .at(path, Some(1), None)
            .hint("use the hullwright that made it, or delete it and run `hullwright lock`")
            .into());
        }
        let whole = text.rfind(TRAILER).is_some_and(|at| {
            text[at + TRAILER.len()..].trim_end() == Sha256::of(&text.as_bytes()[..at]).to_string()
        });
        if !whole {
            return Err(damaged(path, "its closing checksum is not that of its lines").into());
        }
        let lock: Self = serde_yaml::from_str(text).map_err(|e| malformed(&e, path))?;
        for pair in lock.packages.windows(2) {
            if let [a, b] = pair
                && a.name >= b.name
            {
                return Err(
                    damaged(path, &format!("{} is out of order or twice in it", b.name)).into(),
                );
            }
        }
        for package in &lock.packages {
            // A path is joined to a mirror's URL and must stay below it.
            let strays =
                package.path.starts_with('/') || package.path.split('/').any(|p| p == "..");
            if strays && !package.archive.is_empty() {
                let path_of = format!("the path of {} leaves the archive", package.name);
                return Err(damaged(path, &path_of).into());
            }
        }
        Ok(lock)
    }

    /// Writes the lock: to a temporary file beside it, then renamed over it.
    pub fn save(&self, path: &Path) -> Result<()> {
        staging::write_file(path, self.to_text().as_bytes())
    }

    /// The bytes of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::from(HEADER);
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        let hash = Sha256::of(out.as_bytes());
        let _ = writeln!(out, "{TRAILER}{hash}");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "lock: {}", self.lock)?;
        writeln!(out, "profile: {}", scalar(&self.profile))?;
        writeln!(out, "arch: {}", self.arch)?;
        writeln!(
            out,
            "profile_hash: {}",
            scalar(&self.profile_hash.to_string())
        )?;
        writeln!(out, "tool: {}", scalar(&self.tool))?;
        map(
            out,
            "codecs",
            self.codecs.iter().map(|(k, v)| (k, scalar(v))),
        )?;
        writeln!(out, "stamp: {}", self.stamp.seconds())?;
        if self.allow_expired {
            writeln!(out, "allow_expired: true")?;
        }
        list(out, "suites", &self.suites, |out, suite| {
            writeln!(out, "- archive: {}", scalar(&suite.archive))?;
            writeln!(out, "  name: {}", scalar(&suite.name))?;
            writeln!(out, "  date: {}", suite.date)?;
            writeln!(out, "  inrelease: {}", scalar(&suite.inrelease.to_string()))
        })?;
        list(out, "packages", &self.packages, |out, package| {
            writeln!(out, "- name: {}", scalar(&package.name))?;
            writeln!(out, "  version: {}", scalar(&package.version))?;
            writeln!(out, "  architecture: {}", scalar(&package.architecture))?;
            writeln!(out, "  archive: {}", scalar(&package.archive))?;
            writeln!(out, "  suite: {}", scalar(&package.suite))?;
            writeln!(out, "  path: {}", scalar(&package.path))?;
            writeln!(out, "  size: {}", package.size)?;
            writeln!(out, "  sha256: {}", scalar(&package.sha256.to_string()))?;
            writeln!(out, "  why: {}", scalar(&package.why))
        })?;
        if !self.artefacts.is_empty() {
            list(out, "artefacts", &self.artefacts, |out, artefact| {
                writeln!(out, "- name: {}", scalar(&artefact.name))?;
                writeln!(out, "  version: {}", scalar(&artefact.version))?;
                writeln!(out, "  path: {}", scalar(&artefact.path))?;
                writeln!(out, "  size: {}", artefact.size)?;
                writeln!(out, "  sha256: {}", scalar(&artefact.sha256.to_string()))
            })?;
        }
        map(
            out,
            "files",
            self.files.iter().map(|(k, v)| (k, scalar(&v.to_string()))),
        )?;
        map(out, "ids", self.ids.iter().map(|(k, v)| (k, v.to_string())))
    }
}

fn list<T>(
    out: &mut String,
    key: &str,
    items: &[T],
    each: impl Fn(&mut String, &T) -> std::fmt::Result,
) -> std::fmt::Result {
    if items.is_empty() {
        return writeln!(out, "{key}: []");
    }
    writeln!(out, "{key}:")?;
    items.iter().try_for_each(|item| each(out, item))
}

fn map<'k>(
    out: &mut String,
    key: &str,
    entries: impl Iterator<Item = (&'k String, String)>,
) -> std::fmt::Result {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return writeln!(out, "{key}: {{}}");
    }
    writeln!(out, "{key}:")?;
    entries
        .into_iter()
        .try_for_each(|(k, v)| writeln!(out, "  {}: {v}", scalar(k)))
}

/// A string as a YAML scalar: plain where no reader could take it for anything else, otherwise in
/// double quotes (YAML 1.2.2, section 5.7), with all but printable ASCII escaped.
fn scalar(text: &str) -> String {
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-._/~".contains(c));
    // Words that some version of YAML reads as a truth value or null.
    let special = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    if word && !special.iter().any(|s| text.eq_ignore_ascii_case(s)) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out += &format!("\\U{:08X}", u32::from(c)),
        }
    }
    out.push('"');
    out
}

fn malformed(error: &serde_yaml::Error, path: &Path) -> Failure {
    let location = error.location();
    Failure::new(
        Kind::Usage,
        format!("the lock can't be read: {}", error.without_snippet()),
    )
    .at(
        path,
        location.map(|l| l.line()),
        location.map(|l| l.column()),
    )
    .hint("restore it from version control, or delete it and run `hullwright lock`")
}

fn damaged(path: &Path, what: &str) -> Failure {
    Failure::new(
        Kind::Usage,
        format!("the lock was edited or damaged: {what}"),
    )
    .at(path, None, None)
    .hint("restore it from version control, or delete it and run `hullwright lock`")
}
