//! EROFS images: compiled blobs, writer, reader.

mod account;
mod blob;
mod codec;
mod data;
mod dirent;
mod draft;
mod dump;
mod file;
pub mod format;
mod index;
mod pack;
mod packed;
mod place;
mod placed;
mod read;
mod source;
mod stored;
mod tail;
#[cfg(test)]
mod tests;
mod write;
mod xattr;

use std::collections::BTreeMap;

/// Version of what the compiler of blobs makes from the same input; part of every lock.
pub const ENCODER_VERSION: u32 = 2;

/// Versions of the codecs, whose change changes bytes.
#[must_use]
pub fn codec_versions() -> BTreeMap<String, String> {
    BTreeMap::from([
        ("erofs".into(), ENCODER_VERSION.to_string()),
        ("zstd".into(), zstd::zstd_safe::version_string().to_owned()),
        // The version that the crate vendors; it has no function that tells.
        ("lz4".into(), "1.10.0".into()),
    ])
}

pub use account::{Account, Share};
pub use blob::{Blob, BlobError, Chunk, ChunkForm, Codec, CodecSettings, Tails};
pub use codec::DecodeError;
pub use data::BlobData;
pub use dirent::DirEntry;
pub use dump::dump;
pub use index::IndexError;
pub use pack::{NoPacks, PackBy, Packs};
pub use read::{Image, InodeInfo, InodeKind, ReadError};
pub use source::{Part, ReadAt};
pub use stored::StoredBlob;
pub use tail::Tail;
pub use write::{ImageOptions, Plan, PlanStats, Segment, WriteError};
pub use xattr::XattrError;
