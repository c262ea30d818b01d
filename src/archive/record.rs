//! One stanza of a Packages index, as the resolver sees it.

use crate::digest::Sha256;

/// A package on offer. Relation fields are text as written; the resolver parses those it reaches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// `Package`.
    pub name: String,
    /// `Version`.
    pub version: String,
    /// `Architecture` (`amd64`, `all`).
    pub architecture: String,
    /// `Multi-Arch`: `same`, `foreign`, `allowed` or empty.
    pub multi_arch: String,
    /// `Essential: yes`.
    pub essential: bool,
    /// `Priority`.
    pub priority: String,
    /// `Section`.
    pub section: String,
    /// `Pre-Depends`.
    pub pre_depends: String,
    /// `Depends`.
    pub depends: String,
    /// `Recommends`.
    pub recommends: String,
    /// `Provides`.
    pub provides: String,
    /// `Conflicts`.
    pub conflicts: String,
    /// `Breaks`.
    pub breaks: String,
    /// `Replaces`.
    pub replaces: String,
    /// `Filename`: path below the archive's base URL; for a local file its path.
    pub filename: String,
    /// `Size` in bytes.
    pub size: u64,
    /// `Installed-Size` in KiB.
    pub installed_size: u64,
    /// `SHA256`.
    pub sha256: Option<Sha256>,
    /// Index of the suite in the list the resolver was given.
    pub suite: usize,
}
