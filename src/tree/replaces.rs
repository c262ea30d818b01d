//! Which package may take over files of which other one (Debian Policy 7.6.1).

use crate::package::Control;
use crate::resolve::relation;

/// Whether `taker` names `owner`, in its version, in `Replaces`.
///
/// Only names of real packages count: dpkg lets `Provides` take part in the removal of packages,
/// not in taking over files.
pub(super) fn replaces(taker: &Control, owner: &Control) -> bool {
    let clauses = match relation::parse(&taker.replaces, &taker.architecture) {
        Ok(clauses) => clauses,
        Err(error) => {
            tracing::warn!("{} {}: Replaces: {error}", taker.name, taker.version);
            return false;
        }
    };
    clauses.iter().flat_map(|clause| &clause.terms).any(|term| {
        term.name == owner.name
            && term
                .version
                .is_none_or(|(operator, wanted)| operator.holds(&owner.version, wanted))
    })
}
