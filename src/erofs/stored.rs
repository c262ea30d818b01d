//! A blob in an object file: its description stands in the object's head, its bytes in the data.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blob::{Blob, BlobError, Chunk, CodecSettings};
use super::tail::Tail;
use crate::store::{DamagedObject, NewData, ObjectFile, StoredData};

/// What an object's head says of a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredBlob {
    size: u64,
    hash: [u8; 32],
    settings: CodecSettings,
    chunks: Vec<Chunk>,
    data: (u64, u64),
    tail: Option<StoredTail>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredTail {
    len: u32,
    hash: [u8; 32],
    start: u64,
}

impl StoredBlob {
    /// Adds the blocks of `blob` to a new object. [`Self::put_tail`] adds the rest, when the blocks of
    /// all others are in, which would not begin at blocks of the file behind it.
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
            tail: None,
        })
    }

    /// Adds the tail of `blob`, if it has one.
    ///
    /// # Errors
    /// The blob comes from an object itself, which is damaged.
    pub fn put_tail<'a>(
        &mut self,
        blob: &'a Blob,
        data: &mut NewData<'a>,
    ) -> Result<(), DamagedObject> {
        if let Some(tail) = blob.tail() {
            self.tail = Some(StoredTail {
                len: tail.len(),
                hash: *tail.hash().as_bytes(),
                start: data.add(tail.data().read()?).start,
            });
        }
        Ok(())
    }

    /// The blob, whose bytes are read from `object` when they are needed.
    ///
    /// # Errors
    /// The description contradicts itself, or the object.
    pub fn open(self, object: &Arc<ObjectFile>) -> Result<Blob, DamagedObject> {
        let refuse = |error: BlobError| object.damaged(error.to_string());
        let data = StoredData::new(object, self.data.0..self.data.1)?;
        let tail = match self.tail {
            Some(StoredTail { len, hash, start }) => {
                let data = StoredData::new(object, start..start.saturating_add(len.into()))?;
                let hash = blake3::Hash::from_bytes(hash);
                Some(Tail::from_parts(len, hash, data.into()).map_err(refuse)?)
            }
            None => None,
        };
        Blob::from_parts(
            self.size,
            blake3::Hash::from_bytes(self.hash),
            self.settings,
            self.chunks,
            data.into(),
            tail,
        )
        .map_err(refuse)
    }
}
