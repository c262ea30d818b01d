//! The universe as resolvo sees it.
//!
//! Every clause becomes one union of version sets, one set for each package name that can satisfy it,
//! in order of preference; a set is simply the list of packages. Virtual names need no solvables of
//! their own that way: providers are listed by their real names, so two versions of one real package
//! exclude each other and any number of providers can be installed together.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;

use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId, Requirement, SolvableId,
    SolverCache, StringId, VersionSetId, VersionSetUnionId,
};

use super::relation::RelationError;
use super::request::Request;
use super::universe::{Field, Id, Need, Universe};

/// Which candidates of a name the solver may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Only the preferred one.
    Best,
    /// All of them.
    All,
}

/// A clause of Recommends that is to be met: the package and the position in its field.
pub type Recommended = BTreeSet<(Id, usize)>;

/// Where a clause that the solver knows comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Field.
    pub field: Field,
    /// The clause as written.
    pub text: String,
    /// Names in the clause.
    pub names: Vec<String>,
}

struct Set {
    name: NameId,
    members: Vec<SolvableId>,
    forbids: bool,
    origin: usize,
}

#[derive(Default)]
struct Interned {
    sets: Vec<Set>,
    unions: Vec<(Vec<VersionSetId>, usize)>,
    origins: Vec<Origin>,
    strings: Vec<String>,
}

/// Answers resolvo's questions; made anew for every run of the solver.
pub struct Provider<'u, 'a> {
    universe: &'u Universe<'a>,
    scope: Scope,
    recommended: &'u Recommended,
    interned: RefCell<Interned>,
}

impl<'u, 'a> Provider<'u, 'a> {
    /// A provider for one run.
    pub fn new(universe: &'u Universe<'a>, scope: Scope, recommended: &'u Recommended) -> Self {
        Self {
            universe,
            scope,
            recommended,
            interned: RefCell::default(),
        }
    }

    /// The requirement for one request of the profile.
    pub fn request(&self, request: &Request) -> ConditionalRequirement {
        let term = super::relation::Term {
            name: &request.name,
            qualifier: None,
            version: None,
        };
        let groups = self.universe.satisfiers(&term, false);
        self.union(
            groups,
            Origin {
                field: Field::Profile,
                text: request.name.clone(),
                names: vec![request.name.clone()],
            },
        )
    }

    /// Where the clause behind a requirement comes from.
    pub fn origin(&self, requirement: Requirement) -> Option<Origin> {
        let interned = self.interned.borrow();
        let number = match requirement {
            Requirement::Single(set) => interned.sets.get(set.0 as usize)?.origin,
            Requirement::Union(union) => interned.unions.get(union.0 as usize)?.1,
        };
        interned.origins.get(number).cloned()
    }

    fn name_id(number: u32) -> NameId {
        NameId::from_raw(number)
    }

    fn union(&self, groups: Vec<(u32, Vec<Id>)>, origin: Origin) -> ConditionalRequirement {
        let mut interned = self.interned.borrow_mut();
        let number = interned.origins.len();
        interned.origins.push(origin);
        let mut members = Vec::with_capacity(groups.len());
        for (name, ids) in groups {
            members.push(VersionSetId(interned.sets.len() as u32));
            interned.sets.push(Set {
                name: Self::name_id(name),
                members: ids.into_iter().map(SolvableId::from_raw).collect(),
                forbids: false,
                origin: number,
            });
        }
        let union = VersionSetUnionId(interned.unions.len() as u32);
        interned.unions.push((members, number));
        Requirement::Union(union).into()
    }

    fn forbid(&self, by: Id, need: &Need<'_>, constrains: &mut Vec<VersionSetId>) {
        for term in &need.clause.terms {
            for (name, ids) in self.universe.satisfiers(term, true) {
                // A package never conflicts with itself, whatever it provides.
                if name == self.universe.number(by) {
                    continue;
                }
                let mut interned = self.interned.borrow_mut();
                let number = interned.origins.len();
                interned.origins.push(Origin {
                    field: need.field,
                    text: need.clause.text.to_owned(),
                    names: vec![term.name.to_owned()],
                });
                constrains.push(VersionSetId(interned.sets.len() as u32));
                interned.sets.push(Set {
                    name: Self::name_id(name),
                    members: ids.into_iter().map(SolvableId::from_raw).collect(),
                    forbids: true,
                    origin: number,
                });
            }
        }
    }

    fn dependencies(&self, id: Id) -> Result<KnownDependencies, RelationError> {
        let (mut needs, _) = self
            .universe
            .needs(id, &[Field::PreDepends, Field::Depends])?;
        if !self.recommended.is_empty() {
            let (recommends, _) = self.universe.needs(id, &[Field::Recommends])?;
            let numbered = recommends.into_iter().enumerate();
            let wanted = numbered.filter(|(n, _)| self.recommended.contains(&(id, *n)));
            needs.extend(wanted.map(|(_, need)| need));
        }
        let mut known = KnownDependencies::default();
        for need in needs {
            let groups = self.universe.alternatives(&need.clause);
            known.requirements.push(
                self.union(
                    groups,
                    Origin {
                        field: need.field,
                        text: need.clause.text.to_owned(),
                        names: need
                            .clause
                            .terms
                            .iter()
                            .map(|t| t.name.to_owned())
                            .collect(),
                    },
                ),
            );
        }
        for need in self.universe.forbids(id)? {
            self.forbid(id, &need, &mut known.constrains);
        }
        Ok(known)
    }

    fn intern(&self, text: String) -> StringId {
        let mut interned = self.interned.borrow_mut();
        interned.strings.push(text);
        StringId(interned.strings.len() as u32 - 1)
    }

    /// The candidates of a name within the scope.
    fn candidates(&self, number: u32) -> &'u [Id] {
        let all = self.universe.of_number(number);
        match self.scope {
            Scope::All => all,
            Scope::Best => {
                let best = all
                    .iter()
                    .position(|id| self.universe.excluded(*id).is_none())
                    .unwrap_or(0);
                all.get(best..=best).unwrap_or_default()
            }
        }
    }
}

impl Interner for Provider<'_, '_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, id: SolvableId) -> impl Display + '_ {
        let record = self.universe.records[id.into_raw() as usize];
        format!("{} {}", record.name, record.version)
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        self.universe.name(name.into_raw())
    }

    fn display_version_set(&self, set: VersionSetId) -> impl Display + '_ {
        let interned = self.interned.borrow();
        interned
            .sets
            .get(set.0 as usize)
            .and_then(|s| interned.origins.get(s.origin))
            .map(|o| o.text.clone())
            .unwrap_or_default()
    }

    fn display_string(&self, string: StringId) -> impl Display + '_ {
        let interned = self.interned.borrow();
        interned
            .strings
            .get(string.0 as usize)
            .cloned()
            .unwrap_or_default()
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        self.interned.borrow().sets[set.0 as usize].name
    }

    fn solvable_name(&self, id: SolvableId) -> NameId {
        Self::name_id(self.universe.number(id.into_raw()))
    }

    fn version_sets_in_union(
        &self,
        union: VersionSetUnionId,
    ) -> impl Iterator<Item = VersionSetId> {
        self.interned.borrow().unions[union.0 as usize]
            .0
            .clone()
            .into_iter()
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        // No requirement of ours has a condition; resolvo asks only for those it was given.
        Condition::Requirement(VersionSetId(condition.as_u32()))
    }
}

impl DependencyProvider for Provider<'_, '_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let interned = self.interned.borrow();
        let set = &interned.sets[set.0 as usize];
        candidates
            .iter()
            .copied()
            .filter(|id| (set.members.contains(id) != set.forbids) != inverse)
            .collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let ids = self.candidates(name.into_raw());
        let id = |id: &Id| SolvableId::from_raw(*id);
        Some(Candidates {
            candidates: ids.iter().map(id).collect(),
            hint_dependencies_available: HintDependenciesAvailable::None,
            excluded: ids
                .iter()
                .filter_map(|i| Some((id(i), self.intern(self.universe.excluded(*i)?.to_owned()))))
                .collect(),
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        // All of one name; the universe keeps them in order of preference.
        let Some(first) = solvables.first() else {
            return;
        };
        let order = self
            .universe
            .of_number(self.universe.number(first.into_raw()));
        solvables.sort_by_key(|s| order.iter().position(|id| *id == s.into_raw()));
    }

    async fn get_dependencies(&self, id: SolvableId) -> Dependencies {
        match self.dependencies(id.into_raw()) {
            Ok(known) => Dependencies::Known(known),
            Err(error) => Dependencies::Unknown(self.intern(format!("unreadable: {error}"))),
        }
    }
}

impl std::fmt::Debug for Provider<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
