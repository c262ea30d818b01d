//! Results that follow from their key alone, kept from one build to the next.

use blake3::Hash;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Store, decode};

/// Where such results are kept. It may forget any of them, at any time.
pub trait Memo: Sync {
    /// What was kept under `key`, whole and undamaged.
    fn recall(&self, kind: &'static str, key: &Hash) -> Option<Vec<u8>>;
    /// Keeps `bytes`. That it cannot is no error: the result is made again.
    fn keep(&self, kind: &'static str, key: &Hash, bytes: &[u8]);
}

impl Memo for Store {
    fn recall(&self, kind: &'static str, key: &Hash) -> Option<Vec<u8>> {
        self.derived(kind, key).unwrap_or_else(|error| {
            tracing::warn!("{error:#}; it is made again");
            None
        })
    }

    fn keep(&self, kind: &'static str, key: &Hash, bytes: &[u8]) {
        if let Err(error) = self.keep_derived(kind, key, bytes) {
            tracing::warn!("{error:#}; it will be made again");
        }
    }
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forgetful;

impl Memo for Forgetful {
    fn recall(&self, _: &'static str, _: &Hash) -> Option<Vec<u8>> {
        None
    }

    fn keep(&self, _: &'static str, _: &Hash, _: &[u8]) {}
}

/// The result of `kind` under `key`: recalled, or made and kept. A kind ends with the number of its
/// form, which grows when the same key would give another result.
///
/// # Errors
/// What `make` returns.
pub fn remember<T: Serialize + DeserializeOwned>(
    memo: &dyn Memo,
    kind: &'static str,
    key: &Hash,
    make: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let known = memo.recall(kind, key);
    if let Some(value) = known.and_then(|bytes| decode(&bytes).ok()) {
        return Ok(value);
    }
    let value = make()?;
    if let Ok(bytes) = postcard::to_stdvec(&value) {
        memo.keep(kind, key, &bytes);
    }
    Ok(value)
}

#[cfg(test)]
#[allow(missing_docs, reason = "for tests")]
pub mod testing {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;

    type Values = BTreeMap<(&'static str, [u8; 32]), Vec<u8>>;

    /// Keeps everything in memory, and counts what it was asked for in vain.
    #[derive(Debug, Default)]
    pub struct Kept {
        values: Mutex<Values>,
        misses: Mutex<Vec<&'static str>>,
    }

    impl Kept {
        /// The kinds of what was not there, since this was asked last.
        pub fn misses(&self) -> Vec<&'static str> {
            std::mem::take(&mut *self.misses.lock().unwrap())
        }
    }

    impl Memo for Kept {
        fn recall(&self, kind: &'static str, key: &Hash) -> Option<Vec<u8>> {
            let found = self
                .values
                .lock()
                .unwrap()
                .get(&(kind, *key.as_bytes()))
                .cloned();
            if found.is_none() {
                self.misses.lock().unwrap().push(kind);
            }
            found
        }

        fn keep(&self, kind: &'static str, key: &Hash, bytes: &[u8]) {
            self.values
                .lock()
                .unwrap()
                .insert((kind, *key.as_bytes()), bytes.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Kept;
    use super::*;

    #[test]
    fn a_result_is_made_once_and_again_where_its_form_is_another() {
        let (kept, key) = (Kept::default(), blake3::hash(b"key"));
        let get = |value: u32| remember(&kept, "test", &key, || Ok(value)).unwrap();
        assert_eq!((get(1), get(2)), (1, 1));
        kept.keep("test", &key, &[0xff; 20]);
        assert_eq!(get(3), 3);
        assert_eq!(remember(&Forgetful, "test", &key, || Ok(4)).unwrap(), 4);
        remember::<u32>(&Forgetful, "test", &key, || anyhow::bail!("no")).unwrap_err();
    }
}
