//! EROFS images: compiled blobs, writer, reader.

mod blob;

pub use blob::{Blob, Chunk, ChunkForm, Codec, CodecSettings};
