//! What is kept of an image for whoever asks about it later.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Inputs;
use crate::resolve::Lock;
use crate::store::{Memo as _, decode};
use crate::unchanged::Given;

/// What was kept under the name `kind` of the image that `given` and the inputs' lock make.
pub(super) fn recall<T: DeserializeOwned>(
    kind: &'static str,
    inputs: &Inputs<'_>,
    given: Given,
) -> Option<T> {
    let key = given.content(inputs.lock);
    let bytes = inputs.archive.store.recall(kind, &key)?;
    decode(&bytes).ok()
}

/// Keeps `value` of the image that `given` and `lock` make, also for who asks before users and groups
/// have their numbers in the lock.
pub(super) fn keep<T: Serialize>(
    kind: &'static str,
    inputs: &Inputs<'_>,
    given: Given,
    lock: &Lock,
    value: &T,
) {
    let Ok(bytes) = postcard::to_stdvec(value) else {
        return;
    };
    let mut keys = vec![given.content(lock)];
    if lock.ids != inputs.lock.ids {
        keys.push(given.content(inputs.lock));
    }
    for key in keys {
        inputs.archive.store.keep(kind, &key, &bytes);
    }
}
