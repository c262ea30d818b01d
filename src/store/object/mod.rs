//! Object files: what the cache derives from downloads, in files that check themselves.

pub mod format;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::ops::Range;
use std::sync::Arc;

pub use read::{DamageList, DamagedObject, ObjectFile};
pub use write::{NewData, write};

/// A part of an object's data.
#[derive(Debug, Clone)]
pub struct StoredData {
    object: Arc<ObjectFile>,
    range: Range<u64>,
}

impl StoredData {
    /// The part `range` of `object`.
    ///
    /// # Errors
    /// The object has no such part.
    pub fn new(object: &Arc<ObjectFile>, range: Range<u64>) -> Result<Self, DamagedObject> {
        if range.start > range.end || range.end > object.len() {
            return Err(object.damaged("its head speaks of data that it does not have"));
        }
        Ok(Self {
            object: Arc::clone(object),
            range,
        })
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes `range` of the part, as far as it has them.
    ///
    /// # Errors
    /// They are not what was written.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>, DamagedObject> {
        let within = |at: u64| self.range.start + at.min(self.len());
        self.object.read(within(range.start)..within(range.end))
    }

    /// As [`Self::read`], into `buffer`, as [`ObjectFile::read_into`] does.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_into(
        &self,
        range: Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<Range<usize>, DamagedObject> {
        let within = |at: u64| self.range.start + at.min(self.len());
        self.object
            .read_into(within(range.start)..within(range.end), buffer)
    }

    /// A checksum of the bytes `range` of the part, which is not read: of the checksums of its pieces
    /// and their lengths. `range` begins and ends with pieces.
    #[must_use]
    pub fn sum(&self, range: Range<u64>) -> blake3::Hash {
        let within = |at: u64| self.range.start + at.min(self.len());
        self.object.sum(within(range.start)..within(range.end))
    }

    /// The object, and where in its data the part lies.
    #[must_use]
    pub const fn place(&self) -> (&Arc<ObjectFile>, &Range<u64>) {
        (&self.object, &self.range)
    }
}
