//! What could go from an image, the largest first.

use std::fmt;

use serde::Serialize;

use super::tree::{self, By, Row};
use super::{FileKind, Lines, Sizes};
use crate::profile::{Optimize, Profile};
use crate::tree::parts::{self, Part};

/// How many are shown.
const MOST: usize = 8;
/// How many lines of packages, and how many files, may be among them.
const MOST_OF_A_KIND: usize = 4;
/// Less is not worth a word.
const LEAST: u64 = 64 << 10;

/// Something that could go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Saving {
    /// Bytes that would be saved; none where that is not known before it is tried.
    pub bytes: Option<u64>,
    /// What to do.
    pub how: String,
}

impl fmt::Display for Saving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            Some(bytes) => write!(f, "{}: {}", super::budget::decimal(bytes), self.how),
            None => f.write_str(&self.how),
        }
    }
}

/// The largest savings that can be seen: parts that are not dropped, lines of the profile with what
/// they pull in, single files, stronger compression.
#[must_use]
pub fn largest(sizes: &Sizes, lines: &Lines, profile: &Profile) -> Vec<Saving> {
    let mut all = of_parts(sizes, profile);
    all.extend(of_lines(&tree::usr(sizes, lines, By::Line)));
    all.extend(of_files(sizes));
    all.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.how.cmp(&b.how)));
    all.truncate(MOST);
    all.extend(of_compression(profile));
    all
}

fn saving(bytes: u64, how: String) -> Option<Saving> {
    let bytes = Some(bytes).filter(|bytes| *bytes >= LEAST)?;
    Some(Saving {
        bytes: Some(bytes),
        how,
    })
}

fn of_parts(sizes: &Sizes, profile: &Profile) -> Vec<Saving> {
    let dropped = |part: &&Part| !profile.root.parts.drop.contains(&part.name);
    let all = parts::all().unwrap_or_default();
    all.iter()
        .filter(dropped)
        .filter_map(|part| {
            let files = sizes.files.iter().filter(|file| part.has(&file.path));
            saving(
                files.map(super::File::stored).sum(),
                format!(
                    "drop the part `{}` (root.parts.drop): {}",
                    part.name, part.about
                ),
            )
        })
        .collect()
}

fn of_lines(usr: &Row) -> Vec<Saving> {
    usr.children
        .iter()
        .filter(|row| !row.why.is_empty())
        .take(MOST_OF_A_KIND)
        .filter_map(|row| {
            let with = if row.children.is_empty() {
                ""
            } else {
                " with what it pulls in, as far as nothing else needs that"
            };
            saving(
                row.stored,
                format!("do without `{}`{with} ({})", row.name, row.why),
            )
        })
        .collect()
}

fn of_files(sizes: &Sizes) -> Vec<Saving> {
    let mut files: Vec<_> = sizes
        .files
        .iter()
        .filter(|file| file.kind == FileKind::File)
        .collect();
    files.sort_by(|a, b| {
        b.stored()
            .cmp(&a.stored())
            .then_with(|| a.path.cmp(&b.path))
    });
    files
        .into_iter()
        .take(MOST_OF_A_KIND)
        .filter_map(|file| {
            saving(
                file.stored(),
                format!("leave out the file {} (root.prune)", file.path),
            )
        })
        .collect()
}

/// What that gains, nobody knows but who tries it.
fn of_compression(profile: &Profile) -> Option<Saving> {
    (profile.optimize != Optimize::Size).then(|| Saving {
        bytes: None,
        how: "compress as strongly as can be: `optimize: size`".into(),
    })
}
