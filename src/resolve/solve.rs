//! From a profile and what is on offer to the chosen packages.
//!
//! 1. The solver runs with only the preferred version of each package, which is what a person
//!    expects of an archive; only when that has no solution, other versions compete too.
//! 2. Recommends, when asked for, are added in rounds; one that has no solution is left out.
//! 3. What the solver took along without need is dropped: a package stays if a request or a clause
//!    of a package that stays needs it.
//! 4. The result is verified by a checker of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::Result;
use resolvo::{Problem, Solver, UnsolvableOrCancelled};

use super::check;
use super::explain;
use super::provider::{Provider, Recommended, Scope};
use super::relation::Term;
use super::request::{Pin, Request, Wishes};
use super::script_only::ScriptOnly;
use super::universe::{Dropped, Field, Held, Id, Universe};
use crate::archive::{Record, SuiteIndex};
use crate::failure::{Failure, Kind};
use crate::profile::Profile;

/// Why a package is in the set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reason {
    /// `profile`, or the package that wants it.
    pub by: String,
    /// Field of that package, or `Profile`.
    pub field: Field,
    /// The relation as written, or the profile's key.
    pub text: String,
}

/// One package of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its stanza.
    pub record: Record,
    /// Archive of the profile; empty for a local file.
    pub archive: String,
    /// Suite; empty for a local file.
    pub suite: String,
    /// Why it is in the set: the shortest way from the profile.
    pub why: Reason,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// The packages, by name.
    pub chosen: Vec<Chosen>,
    /// Dependencies that were dropped as script-only, by package and dependent.
    pub dropped: Vec<Dropped>,
}

impl Resolution {
    /// The package called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Chosen> {
        self.chosen
            .binary_search_by(|c| c.record.name.as_str().cmp(name))
            .ok()
            .and_then(|position| self.chosen.get(position))
    }
}

/// Chooses packages for a profile from verified suites and local files.
pub fn resolve(profile: &Profile, indices: &[SuiteIndex], local: &[Record]) -> Result<Resolution> {
    resolve_holding(profile, indices, local, &Held::new())
}

/// As [`resolve`], but versions in `held` are preferred as long as they are on offer and fit.
pub fn resolve_holding(
    profile: &Profile,
    indices: &[SuiteIndex],
    local: &[Record],
    held: &Held,
) -> Result<Resolution> {
    let wishes = Wishes::of(profile, local)?;
    let requested = wishes.requests.iter().map(|r| r.name.as_str());
    let script_only = ScriptOnly::embedded()?.keeping(
        profile
            .packages
            .keep
            .iter()
            .map(String::as_str)
            .chain(requested),
    );
    let arch = profile.arch.traits().debian;
    resolve_wishes(&wishes, arch, indices, local, held, &script_only)
}

/// The core: everything is an argument.
pub fn resolve_wishes(
    wishes: &Wishes,
    arch: &'static str,
    indices: &[SuiteIndex],
    local: &[Record],
    held: &Held,
    script_only: &ScriptOnly,
) -> Result<Resolution> {
    check_pins(wishes, indices)?;
    let universe = Universe::new(arch, indices, local, wishes, held, script_only)?;
    explain::unknown_names(&universe, wishes, indices)?;
    let mut recommended = Recommended::new();
    let Some(mut picked) = solve_either(&universe, &wishes.requests, &recommended)? else {
        return Err(explain::conflict(&universe, wishes, indices)?.into());
    };
    if wishes.recommends {
        picked = follow_recommends(&universe, &wishes.requests, picked, &mut recommended)?;
    }
    let reasons = reach(&universe, &wishes.requests, &picked, &recommended)?;
    finish(&universe, &reasons, script_only)
}

/// A pin to an archive that the profile does not have is a slip of the pen.
fn check_pins(wishes: &Wishes, indices: &[SuiteIndex]) -> Result<()> {
    for (name, pin) in &wishes.pins {
        let Pin::Archive(archive) = pin else { continue };
        if !indices
            .iter()
            .any(|s| s.archive == *archive || s.suite == *archive)
        {
            let known: BTreeSet<&str> = indices.iter().map(|s| s.archive.as_str()).collect();
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Failure::new(
                Kind::Usage,
                format!(
                    "packages.include has `{name}/{archive}`, but no archive is called {archive}"
                ),
            )
            .hint(format!("the profile's archives are: {known}"))
            .into());
        }
    }
    Ok(())
}

/// One run of the solver; `None` when there is no solution.
fn run(
    universe: &Universe<'_>,
    requests: &[Request],
    scope: Scope,
    recommended: &Recommended,
) -> Result<Option<BTreeSet<Id>>> {
    let provider = Provider::new(universe, scope, recommended);
    let requirements = requests.iter().map(|r| provider.request(r)).collect();
    let mut solver = Solver::new(provider);
    match solver.solve(Problem::default().requirements(requirements)) {
        Ok(solvables) => Ok(Some(solvables.into_iter().map(|s| s.into_raw()).collect())),
        Err(UnsolvableOrCancelled::Unsolvable(_)) => Ok(None),
        Err(UnsolvableOrCancelled::Cancelled(_)) => {
            Err(Failure::new(Kind::Bug, "the solver stopped without being asked to").into())
        }
    }
}

fn solve_either(
    universe: &Universe<'_>,
    requests: &[Request],
    recommended: &Recommended,
) -> Result<Option<BTreeSet<Id>>> {
    if let Some(picked) = run(universe, requests, Scope::Best, recommended)? {
        return Ok(Some(picked));
    }
    run(universe, requests, Scope::All, recommended)
}

/// Adds the Recommends of what is picked until nothing new turns up.
fn follow_recommends(
    universe: &Universe<'_>,
    requests: &[Request],
    mut picked: BTreeSet<Id>,
    accepted: &mut Recommended,
) -> Result<BTreeSet<Id>> {
    let mut seen = Recommended::new();
    loop {
        let mut fresh = Vec::new();
        for id in reach(universe, requests, &picked, accepted)?.into_keys() {
            let (needs, _) = universe.needs(id, &[Field::Recommends])?;
            for (position, need) in needs.iter().enumerate() {
                let possible = universe
                    .alternatives(&need.clause)
                    .iter()
                    .flat_map(|(_, ids)| ids)
                    .any(|id| universe.excluded(*id).is_none());
                if seen.insert((id, position)) && possible {
                    fresh.push((id, position));
                }
            }
        }
        if fresh.is_empty() {
            return Ok(picked);
        }
        // Halves of the list are tried until those without a solution stand alone.
        let mut parts = vec![fresh];
        while let Some(mut part) = parts.pop() {
            let mut attempt = accepted.clone();
            attempt.extend(part.iter().copied());
            if let Some(better) = solve_either(universe, requests, &attempt)? {
                picked = better;
                *accepted = attempt;
            } else if part.len() > 1 {
                let second = part.split_off(part.len() / 2);
                parts.push(second);
                parts.push(part);
            }
        }
    }
}

/// A clause that more than one picked package satisfies.
struct Open {
    satisfiers: Vec<Id>,
    reason: Reason,
}

/// The picked packages that a request or a package that stays needs, with the reason of each. Clauses
/// that leave a choice come last, so that a package needed anyway settles them.
fn reach(
    universe: &Universe<'_>,
    requests: &[Request],
    picked: &BTreeSet<Id>,
    recommended: &Recommended,
) -> Result<BTreeMap<Id, Reason>> {
    let mut reached: BTreeMap<Id, Reason> = BTreeMap::new();
    let mut queue = VecDeque::new();
    let mut open: VecDeque<Open> = VecDeque::new();
    let take = |groups: Vec<(u32, Vec<Id>)>,
                reason: Reason,
                queue: &mut VecDeque<Id>,
                reached: &mut BTreeMap<Id, Reason>| {
        let satisfiers: Vec<Id> = groups
            .into_iter()
            .flat_map(|(_, ids)| ids)
            .filter(|id| picked.contains(id))
            .collect();
        match satisfiers.as_slice() {
            [only] => {
                if !reached.contains_key(only) {
                    reached.insert(*only, reason);
                    queue.push_back(*only);
                }
                None
            }
            _ => Some(Open { satisfiers, reason }),
        }
    };
    for request in requests {
        let term = Term {
            name: &request.name,
            qualifier: None,
            version: None,
        };
        let reason = Reason {
            by: "profile".to_owned(),
            field: Field::Profile,
            text: request.key.to_owned(),
        };
        let groups = universe.satisfiers(&term, false);
        open.extend(take(groups, reason, &mut queue, &mut reached));
    }
    loop {
        while let Some(id) = queue.pop_front() {
            let (mut needs, _) = universe.needs(id, &[Field::PreDepends, Field::Depends])?;
            if !recommended.is_empty() {
                let (recommends, _) = universe.needs(id, &[Field::Recommends])?;
                let accepted = recommends.into_iter().enumerate();
                needs.extend(
                    accepted
                        .filter(|(position, _)| recommended.contains(&(id, *position)))
                        .map(|(_, need)| need),
                );
            }
            for need in needs {
                let reason = Reason {
                    by: universe.records[id as usize].name.clone(),
                    field: need.field,
                    text: need.clause.text.to_owned(),
                };
                let groups = universe.alternatives(&need.clause);
                open.extend(take(groups, reason, &mut queue, &mut reached));
            }
        }
        let Some(Open { satisfiers, reason }) = open.pop_front() else {
            return Ok(reached);
        };
        if satisfiers.iter().any(|id| reached.contains_key(id)) {
            continue;
        }
        if let Some(preferred) = satisfiers.first() {
            reached.insert(*preferred, reason);
            queue.push_back(*preferred);
        }
    }
}

/// Verifies the set and puts it in order.
fn finish(
    universe: &Universe<'_>,
    reasons: &BTreeMap<Id, Reason>,
    script_only: &ScriptOnly,
) -> Result<Resolution> {
    let records: Vec<&Record> = reasons
        .keys()
        .map(|id| universe.records[*id as usize])
        .collect();
    check::verify(&records, universe.arch, script_only)?;
    let mut dropped = BTreeSet::new();
    let mut chosen = Vec::with_capacity(reasons.len());
    for (id, why) in reasons {
        let record = universe.records[*id as usize];
        dropped.extend(universe.needs(*id, &[Field::PreDepends, Field::Depends])?.1);
        let preferred = universe
            .of_name(&record.name)
            .iter()
            .find(|other| universe.excluded(**other).is_none());
        if let Some(newest) = preferred.filter(|p| *p != id) {
            tracing::warn!(
                package = record.name,
                chosen = record.version,
                passed_over = universe.records[*newest as usize].version,
                "an older version was needed to satisfy the relations"
            );
        }
        let suite = universe.suite(*id);
        chosen.push(Chosen {
            record: record.clone(),
            archive: suite.map(|s| s.archive.clone()).unwrap_or_default(),
            suite: suite.map(|s| s.suite.clone()).unwrap_or_default(),
            why: why.clone(),
        });
    }
    chosen.sort_by(|a, b| a.record.name.cmp(&b.record.name));
    // A package that is in the set all the same was not dropped.
    let mut resolution = Resolution {
        chosen,
        dropped: Vec::new(),
    };
    resolution.dropped = dropped
        .into_iter()
        .filter(|d| resolution.get(&d.package).is_none())
        .collect();
    Ok(resolution)
}
