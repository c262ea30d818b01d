//! Verifies a chosen set clause by clause, sharing nothing with the solver but the parser.

use anyhow::Result;

use super::relation::{self, Term};
use super::script_only::ScriptOnly;
use super::universe::{Field, text};
use crate::archive::Record;
use crate::failure::{Failure, Kind};

/// Fails if a dependency of `chosen` is not met, a conflict is, or a name occurs twice.
pub fn verify(chosen: &[&Record], arch: &str, script_only: &ScriptOnly) -> Result<()> {
    let bug = |message: String| {
        Failure::new(Kind::Bug, message)
            .hint("the solver's answer failed its check; please report it")
    };
    let mut offers = Vec::new();
    for record in chosen {
        if chosen
            .iter()
            .filter(|other| other.name == record.name)
            .count()
            > 1
        {
            return Err(bug(format!("two versions of {} were chosen", record.name)).into());
        }
        offers.push((
            *record,
            record.name.as_str(),
            Some(record.version.as_str()),
            None,
        ));
        for clause in relation::parse(&record.provides, arch).unwrap_or_default() {
            for term in clause.terms {
                offers.push((
                    *record,
                    term.name,
                    term.version.map(|v| v.1),
                    term.qualifier,
                ));
            }
        }
    }
    let meets = |term: &Term<'_>, forbidding: bool, by: &str| {
        offers.iter().any(|(record, name, version, qualifier)| {
            let any = term.qualifier == Some("any");
            *name == term.name
                && !(forbidding && record.name == by)
                && (any || term.qualifier.is_none_or(|q| q == "native" || q == arch))
                && (*qualifier == Some("any")) <= any
                && (!any
                    || forbidding
                    || *qualifier == Some("any")
                    || record.multi_arch == "allowed")
                && term
                    .version
                    .is_none_or(|(op, wanted)| version.is_some_and(|v| op.holds(v, wanted)))
        })
    };
    for record in chosen {
        for field in [
            Field::PreDepends,
            Field::Depends,
            Field::Conflicts,
            Field::Breaks,
        ] {
            let forbidding = matches!(field, Field::Conflicts | Field::Breaks);
            for clause in relation::parse(text(record, field), arch)? {
                let dropped = |t: &Term<'_>| script_only.reason(t.name, &record.name).is_some();
                let met = clause
                    .terms
                    .iter()
                    .any(|t| meets(t, forbidding, &record.name));
                let wrong = if forbidding {
                    met
                } else {
                    !met && !clause.terms.iter().any(dropped)
                };
                if wrong {
                    let (name, field, text) = (&record.name, field.name(), clause.text);
                    return Err(bug(format!("{name} {field}: {text} does not hold")).into());
                }
            }
        }
    }
    Ok(())
}
