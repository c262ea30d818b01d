//! Why a request cannot be met, in a person's words.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use resolvo::conflict::{ConflictCause, ConflictEdge, ConflictGraph, ConflictNode};
use resolvo::{Problem, Requirement, SolvableId, Solver, UnsolvableOrCancelled, VersionSetId};

use super::provider::{Origin, Provider, Recommended, Scope};
use super::relation::Term;
use super::request::{Request, Wishes};
use super::universe::{Id, Universe};
use crate::archive::SuiteIndex;
use crate::failure::{Failure, Kind};
use crate::words::nearest_few;

/// Lines of an explanation: it has to fit on one screen.
const LINES: usize = 20;
/// Requests that the search for a smallest contradiction starts from at most.
const REQUESTS: usize = 24;

/// Fails if the profile asks for names that nothing on offer has or provides.
pub fn unknown_names(
    universe: &Universe<'_>,
    wishes: &Wishes,
    suites: &[SuiteIndex],
) -> Result<()> {
    let unknown: Vec<&Request> = wishes
        .requests
        .iter()
        .filter(|r| universe.satisfiers(&bare(&r.name), false).is_empty())
        .collect();
    let Some(first) = unknown.first() else {
        return Ok(());
    };
    let names: Vec<&str> = unknown.iter().map(|r| r.name.as_str()).collect();
    let message = match names.as_slice() {
        [name] => format!(
            "the profile asks for `{name}` ({}), which no archive offers",
            first.key
        ),
        _ => format!(
            "the profile asks for packages that no archive offers: {}",
            names.join(", ")
        ),
    };
    let mut failure = Failure::new(Kind::Unsatisfiable, message);
    for name in names.iter().take(5) {
        if let Some(hint) = withheld(name, suites) {
            failure = failure.hint(hint);
            continue;
        }
        let similar = nearest_few(name, universe.names().iter().copied(), 3);
        if !similar.is_empty() {
            let similar: Vec<String> = similar.iter().map(|s| format!("`{s}`")).collect();
            failure = failure.hint(format!("`{name}`: did you mean {}?", similar.join(" or ")));
        }
    }
    if suites.is_empty() {
        failure = failure.hint("the profile names no archives");
    }
    Err(failure.into())
}

const fn bare(name: &str) -> Term<'_> {
    Term {
        name,
        qualifier: None,
        version: None,
    }
}

/// A hint when an archive has `name` but may not serve it.
fn withheld(name: &str, suites: &[SuiteIndex]) -> Option<String> {
    let suite = suites
        .iter()
        .find(|s| (!s.pocket || !s.only.is_empty()) && s.records.iter().any(|r| r.name == name))?;
    let (archive, only) = (&suite.archive, &suite.only);
    Some(if only.is_empty() {
        format!(
            "archive {archive} has {name} but is no pocket: write `{name}/{archive}` to take it from there"
        )
    } else {
        format!("archive {archive} has {name}, but its `only` does not list it")
    })
}

/// The failure for wishes that have no solution.
pub fn conflict(
    universe: &Universe<'_>,
    wishes: &Wishes,
    suites: &[SuiteIndex],
) -> Result<Failure> {
    let mut requests = wishes.requests.clone();
    // The solver names the requests that led to its contradiction; where those alone still have no
    // solution, the others need no mention, and perhaps fewer will do.
    if let Some(story) = contradiction(universe, &requests)?
        && contradiction(universe, &story.requests)?.is_some()
    {
        requests = story.requests;
    }
    let mut position = 0;
    while requests.len() > 1 && requests.len() <= REQUESTS && position < requests.len() {
        let mut fewer = requests.clone();
        fewer.remove(position);
        if contradiction(universe, &fewer)?.is_some() {
            requests = fewer;
        } else {
            position += 1;
        }
    }
    let Some(mut story) = contradiction(universe, &requests)? else {
        return Ok(Failure::new(
            Kind::Bug,
            "the packages have no solution, but no contradiction was found either",
        ));
    };
    let total = story.lines.len();
    if total > LINES {
        story.lines.truncate(LINES);
        story
            .lines
            .push(format!("  … and {} more lines", total - LINES));
    }
    let headline = match requests.as_slice() {
        [one] => format!("{} cannot be installed", one.name),
        many => format!(
            "these cannot be installed together: {}",
            many.iter()
                .map(|r| r.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    let mut failure = Failure::new(
        Kind::Unsatisfiable,
        format!("{headline}\n{}", story.lines.join("\n")),
    );
    for name in story.excluded.iter().take(3) {
        if wishes.excluded.contains(name) {
            failure = failure.hint(format!(
                "take {name} out of packages.exclude, or leave out what needs it"
            ));
        } else {
            failure = failure.hint(format!("loosen the pin of {name}"));
        }
    }
    for name in story.missing.iter().take(3) {
        if let Some(hint) = withheld(name, suites) {
            failure = failure.hint(hint);
        }
    }
    if failure.hints.is_empty() && requests.len() > 1 {
        failure = failure.hint("leave one of them out of packages.include");
    }
    Ok(failure)
}

/// A contradiction, told.
struct Story {
    requests: Vec<Request>,
    lines: Vec<String>,
    excluded: BTreeSet<String>,
    missing: BTreeSet<String>,
}

fn contradiction(universe: &Universe<'_>, requests: &[Request]) -> Result<Option<Story>> {
    let none = Recommended::new();
    let provider = Provider::new(universe, Scope::All, &none);
    let requirements = requests.iter().map(|r| provider.request(r)).collect();
    let mut solver = Solver::new(provider);
    let conflict = match solver.solve(Problem::default().requirements(requirements)) {
        Ok(_) => return Ok(None),
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => conflict,
        Err(UnsolvableOrCancelled::Cancelled(_)) => {
            return Err(
                Failure::new(Kind::Bug, "the solver stopped without being asked to").into(),
            );
        }
    };
    let graph = conflict.graph(&solver);
    let mut teller = Teller::new(universe, solver.provider(), &graph);
    teller.tell();
    let asked: BTreeSet<&str> = teller.asked.iter().map(String::as_str).collect();
    let requests = requests
        .iter()
        .filter(|r| asked.contains(r.name.as_str()))
        .cloned()
        .collect();
    Ok(Some(Story {
        requests,
        lines: teller.lines,
        excluded: teller.excluded,
        missing: teller.missing,
    }))
}

/// Walks the conflict graph from the profile and writes one line for each relation.
struct Teller<'t, 'u, 'a> {
    universe: &'u Universe<'a>,
    provider: &'t Provider<'u, 'a>,
    nodes: Vec<ConflictNode<SolvableId>>,
    /// Outgoing edges of each node in the order in which the solver found them.
    edges: Vec<Vec<(ConflictEdge<SolvableId>, usize)>>,
    /// Who rules a node out, and by what.
    ruled_out: BTreeMap<usize, Vec<(usize, VersionSetId)>>,
    root: usize,
    told: BTreeSet<usize>,
    told_conflicts: BTreeSet<(usize, usize, VersionSetId)>,
    lines: Vec<String>,
    asked: Vec<String>,
    excluded: BTreeSet<String>,
    missing: BTreeSet<String>,
}

impl<'t, 'u, 'a> Teller<'t, 'u, 'a> {
    fn new(
        universe: &'u Universe<'a>,
        provider: &'t Provider<'u, 'a>,
        graph: &ConflictGraph<SolvableId>,
    ) -> Self {
        let nodes: Vec<_> = graph.graph.raw_nodes().iter().map(|n| n.weight).collect();
        let mut edges = vec![Vec::new(); nodes.len()];
        let mut ruled_out: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for edge in graph.graph.raw_edges() {
            let (from, to) = (edge.source().index(), edge.target().index());
            edges[from].push((edge.weight, to));
            if let ConflictEdge::Conflict(ConflictCause::Constrains(set)) = edge.weight {
                ruled_out.entry(to).or_default().push((from, set));
            }
        }
        Self {
            universe,
            provider,
            root: graph.root_node.index(),
            nodes,
            edges,
            ruled_out,
            told: BTreeSet::new(),
            told_conflicts: BTreeSet::new(),
            lines: Vec::new(),
            asked: Vec::new(),
            excluded: BTreeSet::new(),
            missing: BTreeSet::new(),
        }
    }

    fn tell(&mut self) {
        for (requirement, targets) in self.requirements(self.root) {
            let Some(origin) = self.provider.origin(requirement) else {
                continue;
            };
            self.asked.push(origin.text.clone());
            self.line(0, format!("the profile asks for {}", origin.text));
            self.candidates(&origin, &targets, 1);
        }
    }

    fn line(&mut self, depth: usize, text: String) {
        // Deeper than this the width of a terminal is gone.
        self.lines
            .push(format!("{}{text}", "  ".repeat(depth.min(12) + 1)));
    }

    /// The requirements of a node with their candidates, in order.
    fn requirements(&self, node: usize) -> Vec<(Requirement, Vec<usize>)> {
        let mut found: Vec<(Requirement, Vec<usize>)> = Vec::new();
        for (edge, target) in &self.edges[node] {
            let ConflictEdge::Requires(requirement) = edge else {
                continue;
            };
            match found.iter_mut().find(|(r, _)| r == requirement) {
                Some((_, targets)) => targets.push(*target),
                None => found.push((*requirement, vec![*target])),
            }
        }
        found
    }

    fn id(&self, node: usize) -> Option<Id> {
        match self.nodes[node] {
            ConflictNode::Solvable(id) => Some(id.into_raw()),
            _ => None,
        }
    }

    fn package(&self, id: Id) -> String {
        let record = self.universe.records[id as usize];
        format!(
            "{} {} ({})",
            record.name,
            record.version,
            self.universe.origin(id)
        )
    }

    fn candidates(&mut self, origin: &Origin, targets: &[usize], depth: usize) {
        let mut names: Vec<(u32, Vec<usize>)> = Vec::new();
        for target in targets {
            let Some(id) = self.id(*target) else { continue };
            let number = self.universe.number(id);
            match names.iter_mut().find(|(n, _)| *n == number) {
                Some((_, nodes)) => nodes.push(*target),
                None => names.push((number, vec![*target])),
            }
        }
        if names.is_empty() {
            self.nothing(origin, depth);
        }
        for (_, nodes) in names {
            // Versions that fail alike are told once.
            let mut last = String::new();
            for node in nodes {
                let from = self.lines.len();
                self.node(node, depth);
                let told = self.without_versions(node, from);
                if told == last {
                    self.lines.truncate(from);
                }
                last = told;
            }
        }
    }

    /// What was told since line `from`, with the version of `node` blanked out.
    fn without_versions(&self, node: usize, from: usize) -> String {
        let text = self.lines[from..].join("\n");
        self.id(node)
            .map_or(text.clone(), |id| text.replace(&self.package(id), "*"))
    }

    fn nothing(&mut self, origin: &Origin, depth: usize) {
        let mut offered = Vec::new();
        for name in &origin.names {
            let ids = self.universe.satisfiers(&bare(name), false);
            let ids: Vec<Id> = ids.into_iter().flat_map(|(_, ids)| ids).collect();
            if ids.is_empty() {
                self.missing.insert(name.clone());
            }
            offered.extend(ids.iter().take(4).map(|id| self.package(*id)));
        }
        let text = if offered.is_empty() {
            "which no archive offers".to_owned()
        } else {
            format!("but on offer is only {}", offered.join(", "))
        };
        self.line(depth, text);
    }

    fn node(&mut self, node: usize, depth: usize) {
        let Some(id) = self.id(node) else { return };
        let package = self.package(id);
        if !self.told.insert(node) {
            self.line(depth, format!("{package}: see above"));
            return;
        }
        let from = self.lines.len();
        for (edge, target) in self.edges[node].clone() {
            match edge {
                ConflictEdge::Conflict(ConflictCause::Excluded) => {
                    let reason = self.universe.excluded(id).map_or_else(
                        || "unusable: its relations can't be read".to_owned(),
                        str::to_owned,
                    );
                    let name = self.universe.records[id as usize].name.clone();
                    self.excluded.insert(name);
                    self.line(depth, format!("{package} is {reason}"));
                    return;
                }
                ConflictEdge::Conflict(ConflictCause::Constrains(set)) => {
                    if let (Some(origin), Some(other)) = (
                        self.provider.origin(Requirement::Single(set)),
                        self.id(target),
                    ) && self.told_conflicts.insert((node, target, set))
                    {
                        let other = self.package(other);
                        let (field, text) = (origin.field.name(), origin.text);
                        self.line(
                            depth,
                            format!("{package} {field}: {text}, so not with {other}"),
                        );
                    }
                }
                _ => {}
            }
        }
        for (requirement, targets) in self.requirements(node) {
            let Some(origin) = self.provider.origin(requirement) else {
                continue;
            };
            let (field, text) = (origin.field.name(), &origin.text);
            self.line(depth, format!("{package} {field}: {text}"));
            self.candidates(&origin, &targets, depth + 1);
        }
        for (by, set) in self.ruled_out.get(&node).cloned().unwrap_or_default() {
            if let (Some(origin), Some(other)) =
                (self.provider.origin(Requirement::Single(set)), self.id(by))
                && self.told_conflicts.insert((by, node, set))
            {
                let other = self.package(other);
                let (field, text) = (origin.field.name(), origin.text);
                self.line(
                    depth,
                    format!("{package} is ruled out by {other} {field}: {text}"),
                );
            }
        }
        if self.lines.len() == from {
            let ruled_out = self.ruled_out.contains_key(&node);
            let end = if ruled_out {
                ""
            } else {
                ", of which only one version can be installed"
            };
            self.line(depth, format!("{package}{end}"));
        }
    }
}
