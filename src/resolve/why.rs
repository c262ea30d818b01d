//! How a package came into the set.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::lock::Lock;
use super::relation;
use super::script_only::ScriptOnly;
use super::solve::Resolution;
use super::universe::{Dropped, Field, text};
use crate::archive::Record;

/// One step of a chain: `package` is here because `by` wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// `profile`, or the package that wants it.
    pub by: String,
    /// The field and relation as written; empty for the profile.
    pub relation: String,
}

/// The answer to `why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The package asked about.
    pub package: String,
    /// Its version; absent when it is not in the set.
    pub version: Option<String>,
    /// The shortest chain from the profile down to the package.
    pub chain: Vec<Step>,
    /// Every package of the set that wants it too; known only from a resolution.
    pub wanted_by: Vec<Step>,
    /// Where it was dropped as script-only.
    pub dropped: Vec<Dropped>,
    /// Why the list of script-only packages has it, when it is not in the set.
    pub script_only: Option<String>,
}

struct Link {
    name: String,
    version: String,
    by: String,
    relation: String,
}

/// The answer from a lock, which knows one reason for each package.
#[must_use]
pub fn from_lock(lock: &Lock, package: &str) -> Why {
    let links: Vec<Link> = lock
        .packages
        .iter()
        .map(|p| {
            let (by, relation) = p.why.split_once(' ').unwrap_or((&p.why, ""));
            Link {
                name: p.name.clone(),
                version: p.version.clone(),
                by: by.to_owned(),
                relation: relation.to_owned(),
            }
        })
        .collect();
    answer(&links, package)
}

/// The answer from a resolution, which also knows who else wants the package and what was dropped.
#[must_use]
pub fn from_resolution(resolution: &Resolution, package: &str, arch: &str) -> Why {
    let links: Vec<Link> = resolution
        .chosen
        .iter()
        .map(|c| Link {
            name: c.record.name.clone(),
            version: c.record.version.clone(),
            by: c.why.by.clone(),
            relation: match c.why.field {
                Field::Profile => String::new(),
                field => format!("{}: {}", field.name(), c.why.text),
            },
        })
        .collect();
    let mut why = answer(&links, package);
    why.dropped = resolution
        .dropped
        .iter()
        .filter(|d| d.package == package)
        .cloned()
        .collect();
    if let Some(target) = resolution.get(package) {
        let records = resolution.chosen.iter().map(|c| &c.record);
        why.wanted_by = records
            .filter(|r| r.name != package)
            .flat_map(|r| wants(r, &target.record, arch))
            .collect();
    }
    why
}

/// The clauses of `record` that `target` can meet.
fn wants(record: &Record, target: &Record, arch: &str) -> Vec<Step> {
    let mut names = BTreeSet::from([target.name.as_str()]);
    let provides = relation::parse(&target.provides, arch).unwrap_or_default();
    names.extend(provides.iter().flat_map(|c| &c.terms).map(|t| t.name));
    let mut steps = Vec::new();
    for field in [Field::PreDepends, Field::Depends] {
        for clause in relation::parse(text(record, field), arch).unwrap_or_default() {
            if clause.terms.iter().any(|t| names.contains(t.name)) {
                steps.push(Step {
                    package: target.name.clone(),
                    version: target.version.clone(),
                    by: record.name.clone(),
                    relation: format!("{}: {}", field.name(), clause.text),
                });
            }
        }
    }
    steps
}

fn answer(links: &[Link], package: &str) -> Why {
    let find = |name: &str| links.iter().find(|l| l.name == name);
    let mut chain = Vec::new();
    let mut next = package.to_owned();
    // A set that links in a circle is not ours, but must not hang either.
    while let Some(link) = find(&next).filter(|_| chain.len() <= links.len()) {
        chain.push(Step {
            package: link.name.clone(),
            version: link.version.clone(),
            by: link.by.clone(),
            relation: link.relation.clone(),
        });
        next.clone_from(&link.by);
    }
    chain.reverse();
    let version = find(package).map(|l| l.version.clone());
    let script_only = if version.is_none() {
        let list = ScriptOnly::embedded().ok();
        list.and_then(|l| Some(l.about(package)?.reason.clone()))
    } else {
        None
    };
    Why {
        package: package.to_owned(),
        version,
        chain,
        wanted_by: Vec::new(),
        dropped: Vec::new(),
        script_only,
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(version) = &self.version else {
            writeln!(f, "{} is not in the set", self.package)?;
            if let Some(reason) = &self.script_only {
                writeln!(f, "it is script-only: {reason}")?;
            }
            if !self.dropped.is_empty() {
                let by: Vec<&str> = self.dropped.iter().map(|d| d.by.as_str()).collect();
                writeln!(f, "dropped from the relations of {}", by.join(", "))?;
            }
            if self.script_only.is_some() {
                writeln!(f, "`packages.keep: [{}]` brings it back", self.package)?;
            }
            return Ok(());
        };
        writeln!(f, "{} {version}", self.package)?;
        for (depth, step) in self.chain.iter().enumerate() {
            let indent = "  ".repeat(depth + 1);
            if step.relation.is_empty() {
                writeln!(
                    f,
                    "{indent}the profile asks for {} {}",
                    step.package, step.version
                )?;
            } else {
                writeln!(f, "{indent}{} {}", step.by, step.relation)?;
                writeln!(f, "{indent}  → {} {}", step.package, step.version)?;
            }
        }
        let chain_end = self.chain.last();
        let others: Vec<&Step> = self
            .wanted_by
            .iter()
            .filter(|s| chain_end.is_none_or(|e| e.by != s.by || e.relation != s.relation))
            .collect();
        if !others.is_empty() {
            writeln!(f, "also wanted by")?;
            for step in others {
                writeln!(f, "  {} {}", step.by, step.relation)?;
            }
        }
        Ok(())
    }
}
