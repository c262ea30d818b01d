//! EROFS images: compiled blobs, writer, reader.

mod blob;
mod codec;
mod data;
mod dirent;
mod dump;
pub mod format;
mod index;
mod place;
mod read;
mod source;
mod stored;
#[cfg(test)]
mod tests;
mod write;
mod xattr;

/// Version of what the compiler of blobs makes from the same input; part of every lock.
pub const ENCODER_VERSION: u32 = 1;

pub use blob::{Blob, BlobError, Chunk, ChunkForm, Codec, CodecSettings};
pub use codec::DecodeError;
pub use data::BlobData;
pub use dirent::DirEntry;
pub use dump::dump;
pub use index::IndexError;
pub use read::{Image, InodeInfo, InodeKind, ReadError};
pub use source::{Part, ReadAt};
pub use stored::StoredBlob;
pub use write::{ImageOptions, Plan, PlanStats, Segment, WriteError};
pub use xattr::XattrError;
