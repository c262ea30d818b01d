//! What a quirk file may say.

use serde::Deserialize;

/// A declarative stand-in for what a package's maintainer scripts would have done.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quirk {
    /// Name in messages.
    pub name: String,
    /// What it stands in for.
    pub why: String,
    /// Applies when a file of this package is in the tree; absent: always.
    #[serde(default)]
    pub package: Option<String>,
    /// Does not apply when a file of this package is in the tree.
    #[serde(default)]
    pub unless_package: Option<String>,
    /// In which kind of image; absent: in every one.
    #[serde(default)]
    pub when: Option<When>,
    /// In order.
    pub actions: Vec<Action>,
}

/// Kind of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// `development: true`.
    Development,
    /// Everything else.
    Production,
}

/// One step. Paths are from the image's root; `/etc` is meant as the running system sees it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Writes a file of `profiles/units` or given text.
    Write(Write),
    /// Copies a file of the tree, links followed.
    Copy(Copy),
    /// Makes a symbolic link.
    Symlink(Symlink),
    /// Removes a path and everything below it.
    Remove(Path),
    /// Makes a directory or sets its mode.
    Mkdir(Mkdir),
    /// Sets owner and mode, by name, after all accounts have their numbers.
    Owner(Owner),
    /// Appends a line to a file.
    Append(Line),
    /// Removes the lines that contain a text.
    DeleteLines(Line),
    /// Sets a database of `/etc/nsswitch.conf`.
    Nsswitch(Nsswitch),
    /// Concatenates files by glob, in order of path.
    Concatenate(Concatenate),
    /// Masks a unit.
    Mask(Unit),
    /// Removes the links by which other units start a unit.
    Unwant(Unit),
}

/// See [`Action::Write`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// Where.
    pub path: String,
    /// The text.
    #[serde(default)]
    pub content: Option<String>,
    /// Or a file below `profiles/units`.
    #[serde(default)]
    pub file: Option<String>,
    /// Octal; default 0644.
    #[serde(default)]
    pub mode: Option<String>,
}

/// See [`Action::Copy`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// From.
    pub from: String,
    /// To.
    pub to: String,
    /// Octal; default 0644.
    #[serde(default)]
    pub mode: Option<String>,
    /// Whether `from` may be missing.
    #[serde(default)]
    pub optional: bool,
}

/// See [`Action::Symlink`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Symlink {
    /// Where the link lies.
    pub path: String,
    /// Its target as written.
    pub target: String,
    /// The target must be in the tree (what update-alternatives would check).
    #[serde(default)]
    pub must_exist: bool,
    /// With `must_exist`: no link instead of an error.
    #[serde(default)]
    pub optional: bool,
}

/// See [`Action::Remove`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Path {
    /// What.
    pub path: String,
    /// Whether it may be missing.
    #[serde(default)]
    pub optional: bool,
}

/// See [`Action::Mkdir`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mkdir {
    /// Where.
    pub path: String,
    /// Octal; default 0755.
    #[serde(default)]
    pub mode: Option<String>,
}

/// See [`Action::Owner`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// What.
    pub path: String,
    /// User; absent: unchanged.
    #[serde(default)]
    pub user: Option<String>,
    /// Group; absent: unchanged.
    #[serde(default)]
    pub group: Option<String>,
    /// Octal; absent: unchanged.
    #[serde(default)]
    pub mode: Option<String>,
    /// Whether it may be missing.
    #[serde(default)]
    pub optional: bool,
}

/// See [`Action::Append`] and [`Action::DeleteLines`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The file.
    pub path: String,
    /// The line, or the text that the lines contain.
    pub line: String,
    /// Whether the file, or such a line, may be missing.
    #[serde(default)]
    pub optional: bool,
}

/// See [`Action::Nsswitch`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nsswitch {
    /// Database (`hosts`).
    pub database: String,
    /// Services as the file has them.
    pub services: String,
}

/// See [`Action::Concatenate`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concatenate {
    /// A glob over whole paths.
    pub from: String,
    /// The result.
    pub to: String,
    /// Fewest files that are plausible.
    pub at_least: usize,
}

/// See [`Action::Mask`] and [`Action::Unwant`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// Name.
    pub unit: String,
    /// Whether it may be missing.
    #[serde(default)]
    pub optional: bool,
}
