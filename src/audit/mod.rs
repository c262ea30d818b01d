//! The audit: the linker's "undefined reference". Dependencies that exist for scripts only are
//! dropped and files are pruned, so that every build proves of its finished tree that what is left
//! is whole.
//!
//! A rule is one file in [`rules`]: it looks at a [`Subject`] and returns [`Finding`]s. A [`Verdict`]
//! holds them against what the profile allows, and [`Explainer`] says of the rest who wanted the files
//! and what to do.

mod accounts;
mod allow;
mod config;
mod explain;
mod files;
mod finding;
mod linking;
mod modules;
mod program;
#[cfg(test)]
mod reference;
pub mod rules;
mod shared;
mod subject;
#[cfg(test)]
mod testing;
mod units;

pub use allow::{Allowed, Verdict};
pub use explain::{Explainer, Failed};
pub use finding::Finding;
pub use rules::{RULES, Rule};
pub use shared::Shared;
pub use subject::Subject;

use anyhow::{Context as _, Result};
use rayon::prelude::*;

/// All findings, in the order of the rules and then of paths; the same ones whatever the threads.
///
/// # Errors
/// A file of the tree that cannot be read.
pub fn findings(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    Shared::fill(subject)?;
    let each: Vec<Vec<Finding>> = RULES
        .par_iter()
        .map(|rule| {
            let mut found =
                (rule.check)(subject).with_context(|| format!("audit {}", rule.name))?;
            found.sort();
            found.dedup();
            Ok(found)
        })
        .collect::<Result<_>>()?;
    Ok(each.into_iter().flatten().collect())
}
