//! A file's bytes, cut into fixed-size chunks, each compressed on its own into whole blocks.
//!
//! This is the unit that package objects store and images share: a chunk's blocks do not depend on
//! where in an image they land.

use serde::{Deserialize, Serialize};

/// Compression of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Stored as is.
    None,
    /// Zstandard frames (RFC 8878); kernel 6.10 or newer.
    Zstd,
    /// LZ4 blocks made by the HC compressor; every kernel with EROFS.
    Lz4hc,
}

/// How blobs are compiled; part of an object's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecSettings {
    /// Which codec.
    pub codec: Codec,
    /// Its level (zstd 1–22, lz4hc 1–12).
    pub level: i32,
    /// Bytes of input to a chunk: a power of two, 4 KiB to 1 MiB.
    pub chunk: u32,
}

/// How a chunk is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkForm {
    /// As is, in blocks from their start.
    Plain,
    /// Compressed to `len` bytes, at the end of its blocks behind zeros (`LZ4_0PADDING`).
    Compressed {
        /// Bytes after compression.
        len: u32,
    },
}

/// One chunk of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Bytes of file content.
    pub raw_len: u32,
    /// How it is stored.
    pub form: ChunkForm,
    /// Blocks of 4 KiB.
    pub blocks: u32,
}

/// A compiled file: its chunks and their blocks.
#[derive(Debug)]
pub struct Blob {
    size: u64,
    hash: blake3::Hash,
    settings: CodecSettings,
    chunks: Vec<Chunk>,
    data: Vec<u8>,
}

impl Blob {
    /// Length of the file in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// A chunk does not decompress to its recorded length.
    pub fn read(&self) -> anyhow::Result<Vec<u8>> {
        let _ = (&self.hash, &self.settings, &self.chunks, &self.data);
        anyhow::bail!("not here yet")
    }
}
