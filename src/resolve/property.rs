//! The solver against brute force over small random universes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::check;
use super::request::{Request, Wishes};
use super::script_only::ScriptOnly;
use super::solve::{Resolution, resolve_wishes};
use super::universe::Held;
use crate::archive::{Record, SuiteIndex};
use crate::digest::Sha256;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn term() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "e", "v", "w"]);
    let version = prop::sample::select(vec!["", "", "", " (= 1)", " (>= 2)", " (<< 2)", ":any"]);
    (name, version).prop_map(|(name, version)| format!("{name}{version}"))
}

fn relation(clauses: usize) -> impl Strategy<Value = String> {
    let clause = prop::collection::vec(term(), 1..3).prop_map(|terms| terms.join(" | "));
    prop::collection::vec(clause, 0..=clauses).prop_map(|clauses| clauses.join(", "))
}

fn record() -> impl Strategy<Value = Record> {
    let provides = prop::sample::select(vec!["", "", "v", "w (= 2)", "v (= 1), w", "b (= 2)"]);
    let conflicts = prop::option::weighted(0.3, term());
    let breaks = prop::option::weighted(0.2, term());
    let multi_arch = prop::sample::select(vec!["", "allowed"]);
    (relation(2), provides, conflicts, breaks, multi_arch).prop_map(
        |(depends, provides, conflicts, breaks, multi_arch)| Record {
            architecture: "amd64".into(),
            depends,
            provides: provides.into(),
            conflicts: conflicts.unwrap_or_default(),
            breaks: breaks.unwrap_or_default(),
            multi_arch: multi_arch.into(),
            ..Record::default()
        },
    )
}

/// Every name in versions 1 and 2.
fn suite() -> impl Strategy<Value = SuiteIndex> {
    prop::collection::vec(record(), NAMES.len() * 2).prop_map(|mut records| {
        for (number, record) in records.iter_mut().enumerate() {
            record.name = NAMES[number / 2].into();
            record.version = (number % 2 + 1).to_string();
        }
        SuiteIndex {
            archive: "main".into(),
            suite: "main".into(),
            date: 1,
            inrelease: Sha256([0; 32]),
            expired: false,
            pocket: true,
            priority: 500,
            only: Vec::new(),
            records,
        }
    })
}

fn solve(suite: &SuiteIndex, wanted: &BTreeSet<usize>) -> anyhow::Result<Resolution> {
    let mut wishes = Wishes::default();
    for number in wanted {
        wishes.requests.push(Request {
            name: NAMES[*number].into(),
            key: "packages.include",
        });
    }
    let suites = std::slice::from_ref(suite);
    let none = ScriptOnly::default();
    resolve_wishes(&wishes, "amd64", suites, &[], &Held::new(), &none)
}

/// All sets with at most one version of each name: the smallest one that holds, if any does.
fn brute_force(suite: &SuiteIndex, wanted: &BTreeSet<usize>) -> Option<usize> {
    let none = ScriptOnly::default();
    let mut smallest = None;
    for number in 0..3_usize.pow(NAMES.len() as u32) {
        let mut chosen = Vec::new();
        let mut rest = number;
        for name in 0..NAMES.len() {
            if rest % 3 > 0 {
                chosen.push(&suite.records[name * 2 + rest % 3 - 1]);
            }
            rest /= 3;
        }
        // A request is met by the name itself or by who provides it.
        let met = wanted.iter().all(|w| {
            let provides = |r: &Record| {
                let clauses = super::relation::parse(&r.provides, "amd64").unwrap();
                clauses.iter().any(|c| c.terms[0].name == NAMES[*w])
            };
            chosen.iter().any(|r| r.name == NAMES[*w] || provides(r))
        });
        let smaller = smallest.is_none_or(|s| chosen.len() < s);
        if met && smaller && check::verify(&chosen, "amd64", &none).is_ok() {
            smallest = Some(chosen.len());
        }
    }
    smallest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_solution_is_found_exactly_when_there_is_one(
        suite in suite(),
        wanted in prop::collection::btree_set(0..NAMES.len(), 1..4),
    ) {
        let smallest = brute_force(&suite, &wanted);
        match solve(&suite, &wanted) {
            Ok(resolution) => {
                prop_assert!(smallest.is_some());
                prop_assert!(resolution.chosen.len() >= smallest.unwrap_or_default());
                for chosen in &resolution.chosen {
                    let why = super::why::from_resolution(&resolution, &chosen.record.name, "amd64");
                    let first = why.chain.first().map(|s| s.by.as_str());
                    prop_assert_eq!(first, Some("profile"), "every chain starts at the profile");
                }
            }
            Err(error) => {
                prop_assert_eq!(smallest, None, "{}", error);
                prop_assert_eq!(
                    crate::failure::kind_of(&error),
                    crate::failure::Kind::Unsatisfiable
                );
                prop_assert!(error.to_string().lines().count() <= 22);
            }
        }
    }
}
