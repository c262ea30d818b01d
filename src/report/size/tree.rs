//! The files of an artefact by who wanted them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Lines, Maker, Part, Sizes};

/// A part of an artefact with what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Package, overlay, part.
    pub name: String,
    /// Who wants it, by what: a relation of the package above, or a key of the profile and its place.
    pub why: String,
    /// Bytes before compression, of everything below too; none where the artefact has no files.
    pub installed: u64,
    /// Bytes of the artefact, of everything below too.
    pub stored: u64,
    /// Of those before compression, what belongs to nothing below.
    pub own_installed: u64,
    /// Of the artefact's, what belongs to nothing below.
    pub own_stored: u64,
    /// What is in it, or came with it: the largest first.
    pub children: Vec<Self>,
}

impl Row {
    fn new(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            why: why.into(),
            ..Self::default()
        }
    }

    fn leaf(name: &str, (installed, stored): (u64, u64)) -> Self {
        let mut row = Self::new(name, "");
        (row.own_installed, row.own_stored) = (installed, stored);
        row.sum();
        row
    }

    fn of_parts(name: &str, parts: &[Part]) -> Self {
        let mut row = Self::new(name, "");
        row.children = parts
            .iter()
            .map(|part| Self::leaf(&part.name, (0, part.bytes)))
            .collect();
        row.sum();
        row
    }

    /// Adds up what is below.
    fn sum(&mut self) {
        self.installed = self.own_installed;
        self.stored = self.own_stored;
        for child in &self.children {
            self.installed += child.installed;
            self.stored += child.stored;
        }
    }

    fn sort(&mut self) {
        self.children
            .sort_by(|a, b| b.stored.cmp(&a.stored).then_with(|| a.name.cmp(&b.name)));
    }
}

/// How `usr.erofs` is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Packages below the package, and in the end the line of the profile, that pulled them in.
    Line,
    /// Packages side by side.
    Package,
}

/// Bytes before compression and in the image, by who put them there.
fn totals(sizes: &Sizes) -> BTreeMap<&Maker, (u64, u64)> {
    let mut totals: BTreeMap<&Maker, (u64, u64)> = BTreeMap::new();
    for file in &sizes.files {
        if let Some(maker) = sizes.maker(file) {
            let (installed, stored) = totals.entry(maker).or_default();
            *installed += file.installed;
            *stored += file.stored();
        }
    }
    totals
}

/// `usr.erofs`, divided to the byte.
#[must_use]
pub fn usr(sizes: &Sizes, lines: &Lines, by: By) -> Row {
    let totals = totals(sizes);
    let mut packages: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut usr = Row::new("usr.erofs", "");
    let mut generated = Row::new("made by hullwright", "");
    for (maker, &total) in &totals {
        match maker {
            Maker::Package(name) => {
                packages.insert(name, total);
            }
            Maker::Overlay(path) => {
                let mut row = Row::leaf(path, total);
                row.why = match lines.overlay(path) {
                    Some(line) => format!("{}, {}", line.key, line.place),
                    None => "root.overlay".into(),
                };
                usr.children.push(row);
            }
            Maker::Generated(what) => generated.children.push(Row::leaf(what, total)),
        }
    }
    let below = match by {
        By::Line => below(lines),
        By::Package => BTreeMap::new(),
    };
    let tops = packages
        .keys()
        .copied()
        .chain(lines.packages())
        .filter(|name| {
            let above = lines.by(name).and_then(|(by, _)| lines.version(by));
            by == By::Package || above.is_none()
        });
    let tops: BTreeSet<&str> = tops.collect();
    for name in tops {
        usr.children
            .extend(package(name, lines, &packages, &below, 0));
    }
    generated.sort();
    generated.sum();
    usr.children.push(generated);
    usr.children.push(Row::of_parts("file system", &sizes.rest));
    usr.children.retain(|row| row.stored > 0);
    usr.sort();
    usr.sum();
    usr
}

/// The packages that each package pulled in.
fn below(lines: &Lines) -> BTreeMap<&str, Vec<&str>> {
    let mut below: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in lines.packages() {
        if let Some((by, _)) = lines.by(name) {
            below.entry(by).or_default().push(name);
        }
    }
    below
}

/// No chain of dependencies is that long; a lock whose chains form a circle is not ours.
const DEEPEST: usize = 100;

fn package(
    name: &str,
    lines: &Lines,
    totals: &BTreeMap<&str, (u64, u64)>,
    below: &BTreeMap<&str, Vec<&str>>,
    depth: usize,
) -> Option<Row> {
    let mut row = Row::leaf(name, totals.get(name).copied().unwrap_or_default());
    row.why = why(name, lines);
    if depth < DEEPEST {
        row.children = below
            .get(name)
            .into_iter()
            .flatten()
            .filter_map(|child| package(child, lines, totals, below, depth + 1))
            .collect();
    }
    row.sort();
    row.sum();
    (row.stored > 0).then_some(row)
}

/// Who wants a package, in a few words.
fn why(package: &str, lines: &Lines) -> String {
    if let Some((_, relation)) = lines.by(package) {
        return relation.to_owned();
    }
    match lines.line(package) {
        Some(line) => format!("{}, {}", line.key, line.place),
        None => "the profile".into(),
    }
}

/// The UKI, divided to the byte, its initrd into those parts that are compressed on their own.
#[must_use]
pub fn uki(sizes: &Sizes) -> Row {
    let mut row = Row::of_parts(&sizes.uki_name, &sizes.uki);
    for child in &mut row.children {
        match child.name.as_str() {
            "initrd" => {
                let parts = Row::of_parts("initrd", &sizes.initrd);
                if parts.stored == child.stored {
                    *child = parts;
                }
            }
            "kernel" => child.why = sizes.kernel_package.clone().unwrap_or_default(),
            _ => {}
        }
    }
    row.sort();
    row
}

/// The hash tree of `/usr`, which counts against no budget.
#[must_use]
pub fn verity(sizes: &Sizes) -> Row {
    Row::leaf("usr.verity", (0, sizes.verity))
}
