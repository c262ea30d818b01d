//! Results that are worth keeping: packs, indices, hashes, segments of an initrd.
//!
//! A key must hold everything that a result depends on, the version of the code that makes it
//! included ([`key_of`](super::key_of)). Results are written without waiting for the disk: they check
//! themselves, so that what a crash leaves of one is noticed and made again.

use std::sync::Arc;

use anyhow::Result;

use super::object::NewData;
use super::objects::Sync;
use super::{DamagedObject, Store};
use crate::erofs::{Blob, StoredBlob};

impl Store {
    /// The result of `kind` under `key`. One that is damaged is removed, and missing then.
    ///
    /// # Errors
    /// The machine refuses to open the file.
    pub fn derived(&self, kind: &str, key: &blake3::Hash) -> Result<Option<Vec<u8>>> {
        Ok(self.object(kind, key, kind)?.map(|(_, head)| head))
    }

    /// Keeps a result of `kind` under `key`. It has to fit into memory, now and whenever it is
    /// wanted; larger ones are blobs.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_derived(&self, kind: &str, key: &blake3::Hash, bytes: &[u8]) -> Result<()> {
        self.write_object((kind, key, kind), bytes, &NewData::default(), Sync::Later)?;
        Ok(())
    }

    /// The blob of `kind` under `key`, whose bytes are read from its file when they are needed. One
    /// whose description is damaged is removed, and missing then.
    ///
    /// # Errors
    /// The machine refuses to open the file.
    pub fn derived_blob(&self, kind: &str, key: &blake3::Hash) -> Result<Option<Arc<Blob>>> {
        let Some((object, head)) = self.object(kind, key, kind)? else {
            return Ok(None);
        };
        let blob = decode::<StoredBlob>(&head)
            .map_err(|problem| object.damaged(problem))
            .and_then(|stored| stored.open(&object));
        match blob {
            Ok(blob) => Ok(Some(Arc::new(blob))),
            Err(DamagedObject { .. }) => {
                self.discard_damaged();
                Ok(None)
            }
        }
    }

    /// Keeps a blob of `kind` under `key`, and returns it as [`Self::derived_blob`] would.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_derived_blob(
        &self,
        kind: &str,
        key: &blake3::Hash,
        blob: &Blob,
    ) -> Result<Arc<Blob>> {
        let mut data = NewData::default();
        let mut stored = StoredBlob::put(blob, &mut data)?;
        stored.put_tail(blob, &mut data)?;
        let head = postcard::to_stdvec(&stored)?;
        let object = self.write_object((kind, key, kind), &head, &data, Sync::Later)?;
        Ok(Arc::new(stored.open(&object)?))
    }
}

/// Reads a head that was written with postcard.
///
/// # Errors
/// What is wrong with it.
pub fn decode<T: serde::de::DeserializeOwned>(head: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(head) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("its head ends {} bytes too late", rest.len())),
        Err(error) => Err(format!("its head can't be read ({error})")),
    }
}
