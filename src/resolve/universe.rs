//! Everything on offer to one resolution: eligible packages by name in order of preference, and who
//! provides which virtual name.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use anyhow::Result;

use super::relation::{self, Clause, RelationError, Term};
use super::request::{Pin, Wishes};
use super::script_only::ScriptOnly;
use super::version;
use crate::archive::{Record, SuiteIndex};
use crate::failure::{Failure, Kind};
use crate::words::glob;

/// Number of a package in [`Universe::records`].
pub type Id = u32;

/// Versions to keep as long as they are on offer and fit: package name to version.
pub type Held = BTreeMap<String, String>;

/// A relation field of a stanza, or a key of the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// The profile asks.
    Profile,
    /// `Pre-Depends`
    PreDepends,
    /// `Depends`
    Depends,
    /// `Recommends`
    Recommends,
    /// `Conflicts`
    Conflicts,
    /// `Breaks`
    Breaks,
}

impl Field {
    /// As the stanza writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::PreDepends => "Pre-Depends",
            Self::Depends => "Depends",
            Self::Recommends => "Recommends",
            Self::Conflicts => "Conflicts",
            Self::Breaks => "Breaks",
        }
    }
}

/// A clause of a package that has to hold.
#[derive(Debug, Clone)]
pub struct Need<'a> {
    /// Field it stands in.
    pub field: Field,
    /// The alternatives.
    pub clause: Clause<'a>,
}

/// A clause that counts as met because it serves maintainer scripts only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Dropped {
    /// The script-only package.
    pub package: String,
    /// The package whose relation names it.
    pub by: String,
    /// Why nothing misses it.
    pub reason: String,
}

struct Provided<'a> {
    name: &'a str,
    qualifier: Option<&'a str>,
    version: Option<&'a str>,
    record: Id,
}

/// See the module.
pub struct Universe<'a> {
    /// Debian's name of the architecture.
    pub arch: &'static str,
    /// Eligible packages.
    pub records: Vec<&'a Record>,
    suite_of: Vec<Option<usize>>,
    name_of: Vec<u32>,
    names: Vec<&'a str>,
    /// Where the packages of a name begin in `members`; one more entry than names.
    starts: Vec<u32>,
    /// Ids by name, the preferred one first.
    members: Vec<Id>,
    provides: Vec<Provided<'a>>,
    excluded: BTreeMap<Id, String>,
    suites: &'a [SuiteIndex],
    script_only: &'a ScriptOnly,
}

impl<'a> Universe<'a> {
    /// Sorts out what is on offer.
    pub fn new(
        arch: &'static str,
        suites: &'a [SuiteIndex],
        local: &'a [Record],
        wishes: &Wishes,
        held: &Held,
        script_only: &'a ScriptOnly,
    ) -> Result<Self> {
        let total = suites.iter().map(|s| s.records.len()).sum::<usize>() + local.len();
        let mut records = Vec::with_capacity(total);
        let mut suite_of = Vec::with_capacity(total);
        for record in local {
            records.push(record);
            suite_of.push(None);
        }
        for (number, suite) in suites.iter().enumerate() {
            for record in &suite.records {
                let fits = record.architecture == arch || record.architecture == "all";
                if fits && serves(suite, &record.name, wishes) {
                    records.push(record);
                    suite_of.push(Some(number));
                }
            }
        }
        let mut universe = Self {
            arch,
            records,
            suite_of,
            name_of: Vec::new(),
            names: Vec::new(),
            starts: Vec::new(),
            members: Vec::new(),
            provides: Vec::new(),
            excluded: BTreeMap::new(),
            suites,
            script_only,
        };
        universe.group(held)?;
        universe.exclude(wishes);
        universe.collect_provides();
        Ok(universe)
    }

    /// Groups the packages by name and sorts each group, the preferred one first.
    fn group(&mut self, held: &Held) -> Result<()> {
        let mut ids: Vec<Id> = (0..).take(self.records.len()).collect();
        ids.sort_by(|a, b| {
            let names = self.records[*a as usize]
                .name
                .cmp(&self.records[*b as usize].name);
            names.then_with(|| self.preference(*a, *b, held))
        });
        self.name_of = vec![0; self.records.len()];
        for group in
            ids.chunk_by(|a, b| self.records[*a as usize].name == self.records[*b as usize].name)
        {
            let number = self.names.len() as u32;
            self.names.push(&self.records[group[0] as usize].name);
            self.starts.push(self.members.len() as u32);
            let mut kept: Vec<Id> = Vec::with_capacity(group.len());
            for id in group {
                self.name_of[*id as usize] = number;
                match kept.iter().find(|other| self.same(**other, *id)) {
                    None => kept.push(*id),
                    Some(other) => self.agree(*other, *id)?,
                }
            }
            self.members.extend(kept);
        }
        self.starts.push(self.members.len() as u32);
        Ok(())
    }

    /// Local files first, then what the lock holds, the archive's priority, the highest version, the
    /// real architecture before `all`, and the order of the suites.
    fn preference(&self, a: Id, b: Id, held: &Held) -> Ordering {
        let (x, y) = (self.records[a as usize], self.records[b as usize]);
        let key = |id: Id, record: &Record| {
            let suite = self.suite_of[id as usize];
            let is_held = held.get(&record.name).is_some_and(|v| *v == record.version);
            (
                suite.is_some(),
                !is_held,
                Reverse(suite.and_then(|s| self.suites.get(s)).map(|s| s.priority)),
            )
        };
        key(a, x)
            .cmp(&key(b, y))
            .then_with(|| version::compare(&y.version, &x.version))
            .then_with(|| x.version.cmp(&y.version))
            .then_with(|| (x.architecture == "all").cmp(&(y.architecture == "all")))
            .then_with(|| self.suite_of[a as usize].cmp(&self.suite_of[b as usize]))
            .then_with(|| a.cmp(&b))
    }

    fn same(&self, a: Id, b: Id) -> bool {
        let (x, y) = (self.records[a as usize], self.records[b as usize]);
        x.version == y.version
            && x.architecture == y.architecture
            && self.suite_of[a as usize].is_some()
            && self.suite_of[b as usize].is_some()
    }

    /// Equal name, version and architecture must mean equal bytes.
    fn agree(&self, a: Id, b: Id) -> Result<()> {
        let (x, y) = (self.records[a as usize], self.records[b as usize]);
        if x.sha256 == y.sha256 {
            return Ok(());
        }
        let hash = |r: &Record| {
            r.sha256
                .map_or_else(|| "no SHA-256".to_owned(), |h| h.to_string())
        };
        Err(Failure::new(
            Kind::Archive,
            format!(
                "{} {} {} is two different files: {} has {}, {} has {}",
                x.name,
                x.version,
                x.architecture,
                self.origin(a),
                hash(x),
                self.origin(b),
                hash(y),
            ),
        )
        .hint("one of the archives was rebuilt or tampered with; limit one of them with `only`")
        .into())
    }

    fn exclude(&mut self, wishes: &Wishes) {
        let mut excluded = BTreeMap::new();
        for name in &wishes.excluded {
            if self.of_name(name).is_empty() {
                tracing::warn!(
                    package = name,
                    "packages.exclude names what no archive offers"
                );
            }
            for id in self.of_name(name) {
                excluded.insert(*id, "excluded by the profile's packages.exclude".to_owned());
            }
        }
        for (name, pin) in &wishes.pins {
            for id in self.of_name(name) {
                let suite = self.suite(*id);
                let (fits, text) = match pin {
                    Pin::Version(version) => (
                        self.records[*id as usize].version == *version,
                        format!("not {name}={version}, which the profile pins"),
                    ),
                    Pin::Archive(archive) => (
                        suite.is_some_and(|s| s.archive == *archive || s.suite == *archive),
                        format!("not from {archive}, to which the profile pins {name}"),
                    ),
                    Pin::Local => (
                        suite.is_none(),
                        format!("not the local file of {name} in packages.files"),
                    ),
                };
                if !fits {
                    excluded.entry(*id).or_insert(text);
                }
            }
        }
        self.excluded = excluded;
    }

    fn collect_provides(&mut self) {
        let mut provides = Vec::new();
        for id in &self.members {
            let record = self.records[*id as usize];
            if record.provides.is_empty() {
                continue;
            }
            // A package whose Provides can't be read provides nothing but itself.
            let Ok(clauses) = relation::parse(&record.provides, self.arch) else {
                tracing::warn!(package = record.name, "ignoring a malformed Provides");
                continue;
            };
            for term in clauses.iter().flat_map(|c| &c.terms) {
                provides.push(Provided {
                    name: term.name,
                    qualifier: term.qualifier,
                    version: term.version.map(|(_, version)| version),
                    record: *id,
                });
            }
        }
        provides.sort_by(|a, b| a.name.cmp(b.name).then(a.record.cmp(&b.record)));
        self.provides = provides;
    }

    /// The packages called `name`, the preferred one first.
    #[must_use]
    pub fn of_name(&self, name: &str) -> &[Id] {
        self.names
            .binary_search(&name)
            .map_or(&[], |number| self.of_number(number as u32))
    }

    /// The packages of a name by the name's number.
    #[must_use]
    pub fn of_number(&self, number: u32) -> &[Id] {
        let bound = |n: u32| self.starts.get(n as usize).map_or(0, |s| *s as usize);
        self.members
            .get(bound(number)..bound(number + 1))
            .unwrap_or_default()
    }

    /// Number of the name of a package.
    #[must_use]
    pub fn number(&self, id: Id) -> u32 {
        self.name_of[id as usize]
    }

    /// The name with this number.
    #[must_use]
    pub fn name(&self, number: u32) -> &'a str {
        self.names.get(number as usize).copied().unwrap_or_default()
    }

    /// All real names.
    #[must_use]
    pub fn names(&self) -> &[&'a str] {
        &self.names
    }

    /// Why a package may not be chosen although it is on offer.
    #[must_use]
    pub fn excluded(&self, id: Id) -> Option<&str> {
        self.excluded.get(&id).map(String::as_str)
    }

    /// The suite that a package comes from; `None` for a local file.
    #[must_use]
    pub fn suite(&self, id: Id) -> Option<&'a SuiteIndex> {
        self.suite_of[id as usize].and_then(|s| self.suites.get(s))
    }

    /// Archive and suite of a package, for people.
    #[must_use]
    pub fn origin(&self, id: Id) -> String {
        self.suite(id).map_or_else(
            || "local file".to_owned(),
            |s| {
                if s.archive == s.suite {
                    s.suite.clone()
                } else {
                    format!("{}/{}", s.archive, s.suite)
                }
            },
        )
    }

    /// The packages that satisfy `term`, by name: real ones first, then providers. `forbidding` is
    /// for Conflicts and Breaks, where `:any` means every architecture.
    #[must_use]
    pub fn satisfiers(&self, term: &Term<'_>, forbidding: bool) -> Vec<(u32, Vec<Id>)> {
        let wanted = term.version;
        let meets = |version: Option<&str>| {
            wanted.is_none_or(|(op, wanted)| version.is_some_and(|v| op.holds(v, wanted)))
        };
        let mut matching: BTreeMap<u32, Vec<Id>> = BTreeMap::new();
        for id in self.of_name(term.name) {
            let record = self.records[*id as usize];
            if meets(Some(&record.version))
                && fits_arch(
                    term.qualifier,
                    None,
                    &record.multi_arch,
                    self.arch,
                    forbidding,
                )
            {
                matching.entry(self.number(*id)).or_default().push(*id);
            }
        }
        let from = self.provides.partition_point(|p| p.name < term.name);
        let provided = self.provides[from..].iter();
        for provided in provided.take_while(|p| p.name == term.name) {
            let id = provided.record;
            let multi_arch = &self.records[id as usize].multi_arch;
            let (wanted, qualifier) = (term.qualifier, provided.qualifier);
            if meets(provided.version)
                && fits_arch(wanted, qualifier, multi_arch, self.arch, forbidding)
            {
                matching.entry(self.number(id)).or_default().push(id);
            }
        }
        let mut groups: Vec<(u32, Vec<Id>)> = matching.into_iter().collect();
        for (number, ids) in &mut groups {
            let order = self.of_number(*number);
            ids.sort_by_key(|id| order.iter().position(|o| o == id));
            ids.dedup();
        }
        groups.sort_by_key(|(number, ids)| {
            let best = ids.first().copied();
            let suite = best.and_then(|id| self.suite(id));
            let rank = best.map_or(u8::MAX, |id| rank(&self.records[id as usize].priority));
            (
                self.name(*number) != term.name,
                suite.is_some(),
                Reverse(suite.map(|s| s.priority)),
                rank,
                *number,
            )
        });
        groups
    }

    /// The packages that satisfy a clause, in order of preference.
    #[must_use]
    pub fn alternatives(&self, clause: &Clause<'_>) -> Vec<(u32, Vec<Id>)> {
        clause
            .terms
            .iter()
            .flat_map(|term| self.satisfiers(term, false))
            .collect()
    }

    /// The clauses of a package that have to hold, and those dropped as script-only.
    pub fn needs(
        &self,
        id: Id,
        fields: &[Field],
    ) -> Result<(Vec<Need<'a>>, Vec<Dropped>), RelationError> {
        let record = self.records[id as usize];
        let mut needs = Vec::new();
        let mut dropped = Vec::new();
        for field in fields {
            for clause in relation::parse(text(record, *field), self.arch)? {
                let script_only = clause.terms.iter().find_map(|term| {
                    Some((term, self.script_only.reason(term.name, &record.name)?))
                });
                match script_only {
                    Some((term, reason)) => dropped.push(Dropped {
                        package: term.name.to_owned(),
                        by: record.name.clone(),
                        reason: reason.to_owned(),
                    }),
                    None => needs.push(Need {
                        field: *field,
                        clause,
                    }),
                }
            }
        }
        Ok((needs, dropped))
    }

    /// The relations of a package that forbid others.
    pub fn forbids(&self, id: Id) -> Result<Vec<Need<'a>>, RelationError> {
        let record = self.records[id as usize];
        let mut forbids = Vec::new();
        for field in [Field::Conflicts, Field::Breaks] {
            let clauses = relation::parse(text(record, field), self.arch)?;
            forbids.extend(clauses.into_iter().map(|clause| Need { field, clause }));
        }
        Ok(forbids)
    }
}

/// The text of a field.
#[must_use]
pub fn text(record: &Record, field: Field) -> &str {
    match field {
        Field::Profile => "",
        Field::PreDepends => &record.pre_depends,
        Field::Depends => &record.depends,
        Field::Recommends => &record.recommends,
        Field::Conflicts => &record.conflicts,
        Field::Breaks => &record.breaks,
    }
}

/// Whether a suite may serve a package at all.
fn serves(suite: &SuiteIndex, name: &str, wishes: &Wishes) -> bool {
    let listed = suite.only.iter().any(|glob| glob::matches(glob, name));
    let named = || {
        matches!(wishes.pins.get(name), Some(Pin::Archive(archive))
            if *archive == suite.archive || *archive == suite.suite)
    };
    if suite.only.is_empty() {
        suite.pocket || named()
    } else {
        listed
    }
}

/// Architecture qualifiers with one architecture (and `all`, which counts as it), as dpkg reads them:
/// `:any` is met by packages that are `Multi-Arch: allowed`, or by a Provides that says `:any`.
fn fits_arch(
    wanted: Option<&str>,
    provided: Option<&str>,
    multi_arch: &str,
    arch: &str,
    forbidding: bool,
) -> bool {
    let native = |q: Option<&str>| q.is_none_or(|q| q == "native" || q == arch);
    match (wanted, provided) {
        (Some("any"), Some("any")) => true,
        (Some("any"), _) => forbidding || multi_arch == "allowed",
        (_, Some("any")) => false,
        _ => native(wanted) && native(provided),
    }
}

/// Debian's priorities, the most basic first: which provider to prefer.
fn rank(priority: &str) -> u8 {
    match priority {
        "required" => 0,
        "important" => 1,
        "standard" => 2,
        "optional" => 3,
        _ => 4,
    }
}

impl std::fmt::Debug for Universe<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Universe")
            .field("arch", &self.arch)
            .field("records", &self.records.len())
            .field("names", &self.names.len())
            .finish_non_exhaustive()
    }
}
