//! The audit of an image, while it is made or without making it.

use anyhow::Result;

use super::{Assembled, Inputs, finished, numbered, persistently};
use crate::audit::{self, Explainer, Shared, Subject, Verdict};
use crate::resolve::Lock;
use crate::store::{Memo, decode};
use crate::unchanged::{self, Given};

/// How the result is called in the cache.
const KIND: &str = "audit-1";

/// As many findings as a screen has room for.
const MOST_SHOWN: usize = 8;

/// The verdict on the finished tree of an image: as it was kept, or made and kept.
pub(super) fn of(inputs: &Inputs<'_>, given: Given, assembled: &Assembled) -> Result<Verdict> {
    if let Some(verdict) = known(inputs, given) {
        return Ok(verdict);
    }
    let stage = inputs.archive.progress.stage("audit", None);
    let profile = &inputs.loaded.profile;
    let findings = audit::findings(&Subject {
        tree: &assembled.tree,
        profile,
        enabled_units: &assembled.report.enabled_units,
        kernel_version: &assembled.boot.kernel_version,
        memo: &inputs.archive.store,
        outside: &assembled.report.outside,
        shared: Shared::default(),
    })?;
    drop(stage);
    let verdict = Verdict::new(findings, &profile.allow)?;
    keep(inputs, given, &numbered(inputs, assembled).0, &verdict);
    Ok(verdict)
}

fn known(inputs: &Inputs<'_>, given: Given) -> Option<Verdict> {
    let bytes = inputs
        .archive
        .store
        .recall(KIND, &given.content(inputs.lock))?;
    decode(&bytes).ok()
}

/// Keeps it also for the lock that has the numbers of users and groups.
fn keep(inputs: &Inputs<'_>, given: Given, lock: &Lock, verdict: &Verdict) {
    let Ok(bytes) = postcard::to_stdvec(verdict) else {
        return;
    };
    let mut keys = vec![given.content(inputs.lock)];
    if lock.ids != inputs.lock.ids {
        keys.push(given.content(lock));
    }
    for key in keys {
        inputs.archive.store.keep(KIND, &key, &bytes);
    }
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
    if let Some(verdict) = known(inputs, given) {
        return Ok(verdict);
    }
    persistently(inputs, |inputs| {
        let assembled = finished(inputs)?;
        of(inputs, given, &assembled)
    })
}
