//! The audit of an image, while it is made or without making it.

use anyhow::Result;

use super::{Assembled, Inputs, finished, kept, numbered, persistently, warn};
use crate::audit::{self, Explainer, Shared, Subject, Verdict};
use crate::kernel::depmod::Modules;
use crate::resolve::Lock;
use crate::unchanged::{self, Given};

/// How the result is called in the cache.
const KIND: &str = "audit-2";

/// The verdict, and what the profile says in vain: only who makes the tree sees that.
type Kept = (Verdict, Vec<String>);

/// As many findings as a screen has room for.
const MOST_SHOWN: usize = 8;

/// The verdict on the finished tree of an image: as it was kept, or made and kept.
pub(super) fn of(
    inputs: &Inputs<'_>,
    given: Given,
    (assembled, modules): (&Assembled, &Modules),
    lock: &Lock,
) -> Result<Verdict> {
    if let Some((verdict, _)) = kept::recall::<Kept>(KIND, inputs, given) {
        return Ok(verdict);
    }
    let stage = inputs.archive.progress.stage("audit", None);
    let profile = &inputs.loaded.profile;
    let findings = audit::findings(&Subject {
        tree: &assembled.tree,
        profile,
        enabled_units: &assembled.report.enabled_units,
        modules,
        memo: &inputs.archive.store,
        outside: &assembled.report.outside,
        shared: Shared::default(),
    })?;
    drop(stage);
    let verdict = Verdict::new(findings, &profile.allow)?;
    let kept: Kept = (verdict, assembled.warnings.clone());
    kept::keep(KIND, inputs, given, lock, &kept);
    Ok(kept.0)
}

/// Refuses an image with findings that its profile does not allow, and warns of what allows nothing.
pub(super) fn ensure(inputs: &Inputs<'_>, verdict: &Verdict) -> Result<()> {
    let explainer = Explainer::new(inputs.loaded, inputs.lock);
    explainer.ensure(verdict, MOST_SHOWN)?;
    for line in explainer.stale(verdict) {
        tracing::warn!("{line}");
    }
    Ok(())
}

/// What a build would find, without one.
///
/// # Errors
/// As [`build`](super::build), up to the tree.
pub fn audit(inputs: &Inputs<'_>) -> Result<Verdict> {
    let given = unchanged::given(inputs)?;
    if let Some((verdict, warnings)) = kept::recall::<Kept>(KIND, inputs, given) {
        warn(&warnings);
        return Ok(verdict);
    }
    persistently(inputs, |inputs| {
        let (assembled, modules) = finished(inputs)?;
        let (lock, _) = numbered(inputs, &assembled);
        of(inputs, given, (&assembled, &modules), &lock)
    })
}
