//! A blob in an object file: its description stands in the object's head, its bytes in the data.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blob::{Blob, BlobError, Chunk, CodecSettings};
use crate::store::{DamagedObject, NewData, ObjectFile, StoredData};

/// What an object's head says of a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredBlob {
    size: u64,
    hash: [u8; 32],
    settings: CodecSettings,
    chunks: Vec<Chunk>,
    data: (u64, u64),
}

impl StoredBlob {
    /// Adds the bytes of `blob` to a new object.
    ///
    /// # Errors
    /// The blob comes from an object itself, which is damaged.
    pub fn put<'a>(blob: &'a Blob, data: &mut NewData<'a>) -> Result<Self, DamagedObject> {
        let range = data.add(blob.data().read()?);
        Ok(Self {
            size: blob.size(),
            hash: *blob.hash().as_bytes(),
            settings: blob.settings(),
            chunks: blob.chunks().to_vec(),
            data: (range.start, range.end),
        })
    }

    /// The blob, whose bytes are read from `object` when they are needed.
    ///
    /// # Errors
    /// The description contradicts itself, or the object.
    pub fn open(self, object: &Arc<ObjectFile>) -> Result<Blob, DamagedObject> {
        let data = StoredData::new(object, self.data.0..self.data.1)?;
        Blob::from_parts(
            self.size,
            blake3::Hash::from_bytes(self.hash),
            self.settings,
            self.chunks,
            data.into(),
        )
        .map_err(|error: BlobError| object.damaged(error.to_string()))
    }
}
