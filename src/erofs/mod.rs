//! EROFS images: compiled blobs, writer, reader.

mod blob;
mod codec;
mod dirent;
pub mod format;
mod index;
mod place;
mod write;
mod xattr;

/// Version of what the compiler of blobs makes from the same input; part of every lock.
pub const ENCODER_VERSION: u32 = 1;

pub use blob::{Blob, BlobData, BlobError, Chunk, ChunkForm, Codec, CodecSettings};
pub use codec::DecodeError;
pub use dirent::DirEntry;
pub use index::IndexError;
pub use write::{ImageOptions, Plan, PlanStats, Segment, WriteError};
pub use xattr::XattrError;
