//! EROFS images: compiled blobs, writer, reader.

mod blob;
mod codec;
mod data;
mod dirent;
mod draft;
mod dump;
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

/// Version of what the compiler of blobs makes from the same input; part of every lock.
pub const ENCODER_VERSION: u32 = 1;

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
