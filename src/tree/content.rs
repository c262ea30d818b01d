//! The bytes of a regular file: a compiled blob of a package object, or bytes made by the tool.

use std::borrow::Cow;
use std::sync::Arc;

use crate::erofs::Blob;

/// The bytes of a regular file. Cloning is cheap.
#[derive(Debug, Clone)]
pub enum Content {
    /// Compiled into EROFS clusters, as package objects hold it.
    Blob(Arc<Blob>),
    /// Plain bytes in memory: what quirks and policies write. Compiled when the image is linked.
    Bytes(Arc<[u8]>),
}

impl Content {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Blob(blob) => blob.size(),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, decompressed where they are compiled.
    ///
    /// # Errors
    /// A blob that does not decompress to its recorded length.
    pub fn read(&self) -> anyhow::Result<Cow<'_, [u8]>> {
        Ok(match self {
            Self::Blob(blob) => Cow::Owned(blob.read()?),
            Self::Bytes(bytes) => Cow::Borrowed(bytes),
        })
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().into())
    }
}
