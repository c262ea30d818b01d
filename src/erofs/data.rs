//! The bytes of a compiled file: in memory, or in an object file.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::store::{DamagedObject, StoredData};

/// Where a blob's bytes lie. Cloning is cheap.
#[derive(Clone)]
pub struct BlobData(Place);

#[derive(Clone)]
enum Place {
    Memory(Arc<Vec<u8>>),
    Stored(StoredData),
}

impl BlobData {
    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Place::Memory(bytes) => bytes.len() as u64,
            Place::Stored(part) => part.len(),
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes.
    ///
    /// # Errors
    /// The object is damaged.
    pub fn read(&self) -> Result<Cow<'_, [u8]>, DamagedObject> {
        self.range(0..self.len())
    }

    /// The bytes `range`, as far as there are so many. Of what is stored, pieces
    /// ([`pieces`](crate::store::format::pieces)) are read and checked whole.
    ///
    /// # Errors
    /// The object is damaged.
    pub fn range(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, DamagedObject> {
        match &self.0 {
            Place::Memory(bytes) => Ok(clamped(bytes, range).into()),
            Place::Stored(part) => part.read(range).map(Cow::Owned),
        }
    }

    /// As [`Self::range`]; what is stored is read into `buffer`, which grows as it has to.
    ///
    /// # Errors
    /// As [`Self::range`].
    pub fn range_into<'a>(
        &'a self,
        range: Range<u64>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], DamagedObject> {
        match &self.0 {
            Place::Memory(bytes) => Ok(clamped(bytes, range)),
            Place::Stored(part) => {
                let read = part.read_into(range, buffer)?;
                Ok(buffer.get(read).unwrap_or_default())
            }
        }
    }

    /// The part of an object file that this is, if it is one.
    #[must_use]
    pub const fn stored(&self) -> Option<&StoredData> {
        match &self.0 {
            Place::Memory(_) => None,
            Place::Stored(part) => Some(part),
        }
    }
}

/// The part `range` of `bytes`, as far as they go.
fn clamped(bytes: &[u8], range: Range<u64>) -> &[u8] {
    let end = (range.end as usize).min(bytes.len());
    bytes.get(range.start as usize..end).unwrap_or_default()
}

impl From<Vec<u8>> for BlobData {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Place::Memory(Arc::new(bytes)))
    }
}

impl From<StoredData> for BlobData {
    fn from(part: StoredData) -> Self {
        Self(Place::Stored(part))
    }
}

impl std::fmt::Debug for BlobData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobData({} bytes)", self.len())
    }
}
