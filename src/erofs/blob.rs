//! A file's bytes, cut into fixed-size chunks, each compressed on its own into whole blocks.
//!
//! This is the unit that package objects store and images share: a chunk's blocks do not depend on
//! where in an image they land. Compressed data ends with its last block, behind less than a block
//! of zeros (`LZ4_0PADDING`, which every codec of EROFS shares); plain data begins with its first.
//! What is left behind the last full chunk can stay raw, as the blob's [`Tail`].

use std::io::Read;

use anyhow::Context as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::codec;
use super::data::BlobData;
use super::format::{BLOCK, INLINE_MAX};
use super::tail::Tail;
use crate::store::DamagedObject;
use crate::verity;

/// Compression of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Stored as is.
    None,
    /// Zstandard frames (RFC 8878); kernel 6.10 or newer.
    Zstd,
    /// LZ4 blocks made by the HC compressor; every kernel with EROFS.
    Lz4hc,
}

/// What becomes of a file's remainder, the bytes behind its last full chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tails {
    /// It is a chunk like the others.
    #[default]
    Own,
    /// It stays raw, for an image to pack with the tails of other files; where that gains nothing, it
    /// is a chunk.
    Packed,
}

/// How blobs are compiled; part of an object's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CodecSettings {
    /// Which codec.
    pub codec: Codec,
    /// Its level (zstd 1–22, lz4hc 1–12).
    pub level: i32,
    /// Bytes of input to a chunk: a power of two, 4 KiB to 1 MiB.
    pub chunk: u32,
    /// What becomes of remainders; [`Codec::None`] leaves them where they are.
    #[serde(default)]
    pub tails: Tails,
}

/// How a chunk is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Bytes of file content.
    pub raw_len: u32,
    /// How it is stored.
    pub form: ChunkForm,
    /// Blocks of 4 KiB.
    pub blocks: u32,
}

impl Chunk {
    /// Bytes as they are stored, without what fills their blocks.
    #[must_use]
    pub const fn stored_len(self) -> u32 {
        match self.form {
            ChunkForm::Plain => self.raw_len,
            ChunkForm::Compressed { len } => len,
        }
    }
}

/// A compiled file: its chunks and their blocks, and its tail.
#[derive(Debug, Clone)]
pub struct Blob {
    size: u64,
    hash: blake3::Hash,
    settings: CodecSettings,
    chunks: Vec<Chunk>,
    data: BlobData,
    tail: Option<Tail>,
}

/// Settings or parts that no blob can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// The chunk size is out of range.
    #[error("chunk size {0} is not a power of two between 4096 and 1048576")]
    ChunkSize(u32),
    /// The level is out of the codec's range.
    #[error("level {level} is outside {min} to {max} for {codec:?}")]
    Level {
        /// The codec.
        codec: Codec,
        /// The level asked for.
        level: i32,
        /// Lowest level.
        min: i32,
        /// Highest level.
        max: i32,
    },
    /// Stored parts contradict each other.
    #[error("stored blob is inconsistent: {0}")]
    Parts(&'static str),
}

impl CodecSettings {
    /// Checks chunk size and level.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub fn check(&self) -> Result<(), BlobError> {
        if !self.chunk.is_power_of_two() || !(4096..=1 << 20).contains(&self.chunk) {
            return Err(BlobError::ChunkSize(self.chunk));
        }
        let (min, max) = match self.codec {
            Codec::None => return Ok(()),
            Codec::Zstd => (1, 22),
            Codec::Lz4hc => (1, 12),
        };
        if !(min..=max).contains(&self.level) {
            return Err(BlobError::Level {
                codec: self.codec,
                level: self.level,
                min,
                max,
            });
        }
        Ok(())
    }
}

/// Most blocks of one compressed chunk: `Z_EROFS_PCLUSTER_MAX_SIZE` is 1 MiB.
const MAX_COMPRESSED_BLOCKS: u32 = 256;
/// What compressing a chunk of at most one block must save: it is worth it only inside an inode's
/// block, where it brings a map header and an index pack along, and has to fit ([`INLINE_MAX`]).
const SMALL_GAIN: u32 = BLOCK - INLINE_MAX;

const fn blocks_of(len: u32) -> u32 {
    len.div_ceil(BLOCK)
}

/// The lengths of the chunks of a file. A tail shorter than 1/16 of a chunk joins the chunk before
/// it, which spares it the rounding of blocks.
fn cut(size: u64, chunk: u32) -> impl Iterator<Item = u32> {
    let whole = size / u64::from(chunk);
    let rest = (size % u64::from(chunk)) as u32;
    let fold = whole > 0 && rest > 0 && rest < chunk / 16;
    let count = whole + u64::from(rest > 0 && !fold);
    (0..count).map(move |i| {
        if i + 1 < count {
            chunk
        } else if fold {
            chunk + rest
        } else if rest > 0 {
            rest
        } else {
            chunk
        }
    })
}

/// One chunk and its padded blocks; `last` if it ends its file.
fn compile_chunk(raw: &[u8], last: bool, settings: CodecSettings) -> (Chunk, Vec<u8>) {
    let raw_len = raw.len() as u32;
    let raw_blocks = blocks_of(raw_len);
    let room = if raw_blocks == 1 {
        u32::from(last) * raw_len.saturating_sub(SMALL_GAIN)
    } else {
        (raw_blocks - 1).min(MAX_COMPRESSED_BLOCKS) * BLOCK
    };
    let (form, blocks, padded) = codec::encode(raw, room as usize, settings, |out| {
        let (form, stored, blocks) = match out {
            Some(out) => {
                let len = out.len() as u32;
                (ChunkForm::Compressed { len }, out, blocks_of(len))
            }
            None => (ChunkForm::Plain, raw, raw_blocks),
        };
        let total = (blocks * BLOCK) as usize;
        let mut padded = Vec::with_capacity(total);
        if out.is_some() {
            padded.resize(total - stored.len(), 0);
        }
        padded.extend_from_slice(stored);
        padded.resize(total, 0);
        (form, blocks, padded)
    });
    let chunk = Chunk {
        raw_len,
        form,
        blocks,
    };
    (chunk, padded)
}

/// Chunks and their blocks, one after another.
#[derive(Default)]
struct Joined {
    chunks: Vec<Chunk>,
    data: Vec<u8>,
}

impl Joined {
    fn append(&mut self, mut parts: Vec<(Chunk, Vec<u8>)>) {
        // Most files have one chunk, whose blocks need no copy.
        if let ([], [(chunk, padded)]) = (self.chunks.as_slice(), parts.as_mut_slice()) {
            self.chunks.push(*chunk);
            self.data = std::mem::take(padded);
            return;
        }
        self.data.reserve(parts.iter().map(|(_, d)| d.len()).sum());
        for (chunk, padded) in parts {
            self.chunks.push(chunk);
            self.data.extend_from_slice(&padded);
        }
    }
}

impl Blob {
    /// Compiles a file that is in memory. Chunks are compressed on all threads of the pool.
    ///
    /// Settings are taken as checked ([`CodecSettings::check`]); a chunk size of zero counts as one
    /// block.
    #[must_use]
    pub fn compile(bytes: &[u8], settings: &CodecSettings) -> Self {
        let chunk = settings.chunk.max(BLOCK);
        let mut rest = bytes;
        let mut pieces = Vec::new();
        for len in cut(bytes.len() as u64, chunk) {
            let (piece, tail) = rest.split_at((len as usize).min(rest.len()));
            pieces.push((piece, tail.is_empty()));
            rest = tail;
        }
        let tail = pieces
            .pop_if(|(piece, _)| settings.is_tail(piece))
            .map(|(piece, _)| piece);
        let parts: Vec<_> = if pieces.len() > 1 {
            pieces
                .into_par_iter()
                .map(|(piece, last)| compile_chunk(piece, last, *settings))
                .collect()
        } else {
            pieces
                .into_iter()
                .map(|(piece, last)| compile_chunk(piece, last, *settings))
                .collect()
        };
        let mut joined = Joined::default();
        joined.append(parts);
        let hash = blake3::hash(bytes);
        let tail = tail.map(|piece| {
            let whole = piece.len() == bytes.len();
            let hash = if whole { hash } else { blake3::hash(piece) };
            Tail::new(piece.to_vec(), hash)
        });
        Self {
            size: bytes.len() as u64,
            hash,
            settings: *settings,
            chunks: joined.chunks,
            data: joined.data.into(),
            tail,
        }
    }

    /// Compiles a file of `size` bytes from a stream, with a few chunks per thread in memory.
    /// The result is that of [`Blob::compile`].
    ///
    /// # Errors
    /// The stream fails, or has fewer than `size` bytes.
    pub fn compile_reader(
        reader: &mut dyn Read,
        size: u64,
        settings: &CodecSettings,
    ) -> anyhow::Result<Self> {
        let chunk = settings.chunk.max(BLOCK);
        let batch = rayon::current_num_threads().max(1) * 4;
        let mut lengths = cut(size, chunk).peekable();
        let mut hash = blake3::Hasher::new();
        let mut tail = None;
        let mut next = || -> anyhow::Result<Vec<(Vec<u8>, bool)>> {
            let mut pieces = Vec::with_capacity(batch);
            while pieces.len() < batch
                && let Some(len) = lengths.next()
            {
                let mut piece = vec![0; len as usize];
                reader
                    .read_exact(&mut piece)
                    .with_context(|| format!("reading {size} bytes of file content"))?;
                hash.update(&piece);
                pieces.push((piece, lengths.peek().is_none()));
            }
            if let Some((piece, _)) =
                pieces.pop_if(|(piece, last)| *last && settings.is_tail(piece))
            {
                tail = Some(piece);
            }
            Ok(pieces)
        };
        let mut joined = Joined::default();
        let mut pieces = next()?;
        let mut parts: Vec<(Chunk, Vec<u8>)> = Vec::new();
        // While one batch is compressed, this thread joins what the last one gave and reads the next.
        while !(pieces.is_empty() && parts.is_empty()) {
            let (batch, last) = (std::mem::take(&mut pieces), std::mem::take(&mut parts));
            pieces = rayon::in_place_scope(|scope| {
                scope.spawn(|_| {
                    let batch = batch.into_par_iter();
                    parts = batch
                        .map(|(piece, last)| compile_chunk(&piece, last, *settings))
                        .collect();
                });
                joined.append(last);
                next()
            })?;
        }
        let tail = tail.map(|piece| {
            let hash = blake3::hash(&piece);
            Tail::new(piece, hash)
        });
        Ok(Self {
            size,
            hash: hash.finalize(),
            settings: *settings,
            chunks: joined.chunks,
            data: joined.data.into(),
            tail,
        })
    }

    /// Puts a stored blob together again. The content is not looked at; a damaged chunk is found
    /// when it is read.
    ///
    /// # Errors
    /// The parts contradict each other.
    pub fn from_parts(
        size: u64,
        hash: blake3::Hash,
        settings: CodecSettings,
        chunks: Vec<Chunk>,
        data: BlobData,
        tail: Option<Tail>,
    ) -> Result<Self, BlobError> {
        settings.check()?;
        let mut raw = 0_u64;
        let mut blocks = 0_u64;
        for (i, chunk) in chunks.iter().enumerate() {
            let last = i + 1 == chunks.len() && tail.is_none();
            let shape = match chunk.form {
                ChunkForm::Plain => chunk.blocks == blocks_of(chunk.raw_len),
                ChunkForm::Compressed { len } => {
                    settings.codec != Codec::None
                        && len > 0
                        && len < chunk.raw_len
                        && chunk.blocks <= MAX_COMPRESSED_BLOCKS
                        && chunk.blocks == blocks_of(len)
                        && (chunk.blocks < blocks_of(chunk.raw_len)
                            || (last && chunk.raw_len <= BLOCK && len <= INLINE_MAX))
                }
            };
            if !shape || chunk.raw_len == 0 || chunk.raw_len > settings.chunk / 16 * 17 {
                return Err(BlobError::Parts("a chunk's lengths do not fit together"));
            }
            if !last && chunk.raw_len != settings.chunk {
                return Err(BlobError::Parts("an inner chunk is not of full length"));
            }
            raw += u64::from(chunk.raw_len);
            blocks += u64::from(chunk.blocks);
        }
        if let Some(tail) = &tail {
            if !settings.packs() || tail.is_empty() || tail.len() >= settings.chunk {
                return Err(BlobError::Parts("its settings allow no such tail"));
            }
            raw += u64::from(tail.len());
        }
        if raw != size {
            return Err(BlobError::Parts(
                "chunks and tail do not add up to the file's size",
            ));
        }
        if blocks * u64::from(BLOCK) != data.len() {
            return Err(BlobError::Parts("chunks do not add up to the stored data"));
        }
        Ok(Self {
            size,
            hash,
            settings,
            chunks,
            data,
            tail,
        })
    }

    /// Length of the file in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// BLAKE3 of the file's content.
    #[must_use]
    pub const fn hash(&self) -> blake3::Hash {
        self.hash
    }

    /// How it was compiled.
    #[must_use]
    pub const fn settings(&self) -> CodecSettings {
        self.settings
    }

    /// Its chunks, in file order.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The blocks of all chunks, one after the other.
    #[must_use]
    pub const fn data(&self) -> &BlobData {
        &self.data
    }

    /// What is left behind the last chunk, if it is meant for a pack.
    #[must_use]
    pub const fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }

    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.chunks.iter().map(|c| u64::from(c.blocks)).sum()
    }

    /// Whether no chunk is compressed.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.chunks.iter().all(|c| c.form == ChunkForm::Plain)
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// A chunk does not decompress to its recorded length; the object that holds it is damaged.
    pub fn read(&self) -> anyhow::Result<Vec<u8>> {
        let mut out = vec![0; usize::try_from(self.size).context("file larger than memory")?];
        let data = self.data.read()?;
        let mut at = 0_usize;
        let mut jobs = Vec::with_capacity(self.chunks.len());
        let mut rest = out.as_mut_slice();
        for chunk in &self.chunks {
            let len = (chunk.blocks * BLOCK) as usize;
            let stored = at
                .checked_add(len)
                .and_then(|end| data.get(at..end))
                .context("a blob's data ends before its chunks do")?;
            at += len;
            let (piece, tail) = std::mem::take(&mut rest)
                .split_at_mut_checked(chunk.raw_len as usize)
                .context("a blob's chunks are longer than its file")?;
            rest = tail;
            jobs.push((chunk, stored, piece));
        }
        let tail = self.tail.as_ref().map(|tail| tail.data().read());
        let tail = tail.transpose()?.unwrap_or_default();
        anyhow::ensure!(
            rest.len() == tail.len(),
            "a blob's chunks are shorter than its file"
        );
        rest.copy_from_slice(&tail);
        let codec = self.settings.codec;
        let run = |(chunk, stored, piece): (&Chunk, &[u8], &mut [u8])| -> anyhow::Result<()> {
            match chunk.form {
                ChunkForm::Plain => piece.copy_from_slice(
                    stored
                        .get(..piece.len())
                        .context("a plain chunk is cut short")?,
                ),
                ChunkForm::Compressed { len } => {
                    let from = stored
                        .len()
                        .checked_sub(len as usize)
                        .context("a compressed chunk is cut short")?;
                    codec::decode(codec, &stored[from..], piece)?;
                }
            }
            Ok(())
        };
        if jobs.len() > 1 {
            jobs.into_par_iter().try_for_each(run)?;
        } else {
            jobs.into_iter().try_for_each(run)?;
        }
        Ok(out)
    }

    /// SHA-256(salt ‖ block) of each block: the dm-verity leaves of these blocks in any image whose
    /// verity device has this salt, wherever they land.
    ///
    /// # Errors
    /// The object that holds the blob is damaged.
    pub fn leaves(&self, salt: &[u8; 32]) -> Result<Vec<[u8; 32]>, DamagedObject> {
        Ok(verity::hash_blocks(salt, &self.data.read()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(blob: &Blob) -> Vec<u8> {
        blob.data().read().unwrap().into_owned()
    }

    fn settings(codec: Codec, chunk: u32) -> CodecSettings {
        CodecSettings {
            codec,
            level: 3,
            chunk,
            tails: Tails::Own,
        }
    }

    /// Text-like or noise-like bytes that depend on `seed` only.
    fn bytes(len: usize, seed: u32, noise: bool) -> Vec<u8> {
        let mut state = seed | 1;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                if noise {
                    state as u8
                } else {
                    b"the quick fox"[state as usize % 3]
                }
            })
            .collect()
    }

    #[test]
    fn content_survives_at_every_size_around_the_edges() {
        for codec in [Codec::None, Codec::Zstd, Codec::Lz4hc] {
            for chunk in [4096, 65536] {
                let c = chunk as usize;
                for size in [
                    0,
                    1,
                    4095,
                    4096,
                    4097,
                    c - 1,
                    c,
                    c + 1,
                    c + c / 16 - 1,
                    c + c / 16,
                    3 * c + 5000,
                ] {
                    for noise in [false, true] {
                        let raw = bytes(size, 7, noise);
                        let blob = Blob::compile(&raw, &settings(codec, chunk));
                        assert_eq!(blob.read().unwrap(), raw, "{codec:?} {chunk} {size}");
                        assert_eq!(blob.data().len(), blob.blocks() * 4096);
                        assert_eq!(blob.is_plain(), codec == Codec::None || noise || size < 64);
                        let stream = Blob::compile_reader(
                            &mut raw.as_slice(),
                            size as u64,
                            &settings(codec, chunk),
                        )
                        .unwrap();
                        assert_eq!(bytes_of(&stream), bytes_of(&blob));
                        assert_eq!(stream.chunks(), blob.chunks());
                        assert_eq!(stream.hash(), blob.hash());
                        let again = Blob::from_parts(
                            blob.size(),
                            blob.hash(),
                            blob.settings(),
                            blob.chunks().to_vec(),
                            bytes_of(&blob).into(),
                            None,
                        );
                        assert_eq!(again.unwrap().read().unwrap(), raw);
                    }
                }
            }
        }
    }

    #[test]
    fn a_remainder_stays_raw_where_packing_it_gains_something() {
        let tails = |codec| CodecSettings {
            tails: Tails::Packed,
            ..settings(codec, 65536)
        };
        for codec in [Codec::Zstd, Codec::Lz4hc] {
            for (size, noise, tail) in [
                (0, false, 0),
                (32, false, 0),
                (33, false, 33),
                (40_000, false, 40_000),
                (40_000, true, 0),
                (65_536, false, 0),
                // It joins the chunk before it.
                (65_536 + 4095, false, 0),
                (65_536 + 4096, false, 4096),
                (65_536 + 4096, true, 0),
                (3 * 65_536 + 9000, false, 9000),
            ] {
                let raw = bytes(size, 7, noise);
                let settings = tails(codec);
                let blob = Blob::compile(&raw, &settings);
                assert_eq!(blob.tail().map_or(0, Tail::len), tail, "{size} {noise}");
                assert_eq!(blob.read().unwrap(), raw);
                let stream =
                    Blob::compile_reader(&mut raw.as_slice(), size as u64, &settings).unwrap();
                assert_eq!(bytes_of(&stream), bytes_of(&blob));
                assert_eq!(stream.tail().map(Tail::hash), blob.tail().map(Tail::hash));
                let parts = |tail| {
                    Blob::from_parts(
                        blob.size(),
                        blob.hash(),
                        blob.settings(),
                        blob.chunks().to_vec(),
                        bytes_of(&blob).into(),
                        tail,
                    )
                };
                assert_eq!(parts(blob.tail().cloned()).unwrap().read().unwrap(), raw);
                assert_eq!(parts(None).is_err(), blob.tail().is_some());
            }
        }
        let plain = Blob::compile(&bytes(9000, 7, false), &tails(Codec::None));
        assert!(plain.tail().is_none());
    }

    #[test]
    fn a_short_tail_joins_the_chunk_before_it() {
        let lengths: Vec<_> = cut(2 * 65536 + 4095, 65536).collect();
        assert_eq!(lengths, [65536, 65536 + 4095]);
        let lengths: Vec<_> = cut(2 * 65536 + 4096, 65536).collect();
        assert_eq!(lengths, [65536, 65536, 4096]);
        assert_eq!(cut(0, 65536).count(), 0);
        assert_eq!(cut(1, 65536).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn compressed_data_ends_with_its_block_behind_less_than_a_block_of_zeros() {
        for codec in [Codec::Zstd, Codec::Lz4hc] {
            let blob = Blob::compile(&bytes(300_000, 3, false), &settings(codec, 65536));
            let mut at = 0;
            for chunk in blob.chunks() {
                let ChunkForm::Compressed { len } = chunk.form else {
                    panic!("{chunk:?}");
                };
                let data = &bytes_of(&blob)[at..at + (chunk.blocks * BLOCK) as usize];
                at += data.len();
                let zeros = data.iter().take_while(|&&b| b == 0).count();
                assert_eq!(zeros, data.len() - len as usize);
                assert!(zeros < BLOCK as usize);
            }
        }
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error() {
        let error =
            Blob::compile_reader(&mut [0_u8; 10].as_slice(), 11, &settings(Codec::Zstd, 4096));
        assert!(format!("{:#}", error.unwrap_err()).starts_with("reading 11 bytes"));
    }

    #[test]
    fn inconsistent_parts_are_refused() {
        let blob = Blob::compile(&bytes(200_000, 9, false), &settings(Codec::Zstd, 65536));
        let build = |size, edit: &dyn Fn(&mut Vec<Chunk>), data: &[u8]| {
            let mut chunks = blob.chunks().to_vec();
            edit(&mut chunks);
            Blob::from_parts(
                size,
                blob.hash(),
                blob.settings(),
                chunks,
                data.to_vec().into(),
                None,
            )
        };
        let data = &bytes_of(&blob);
        assert!(build(200_000, &|_| (), data).is_ok());
        assert!(build(200_001, &|_| (), data).is_err());
        assert!(build(200_000, &|_| (), &data[4096..]).is_err());
        assert!(build(200_000, &|c| c.swap(0, 2), data).is_err());
        assert!(build(200_000, &|c| c[0].blocks += 1, data).is_err());
        assert!(build(200_000, &|c| c[0].raw_len = u32::MAX, data).is_err());
    }

    #[test]
    fn leaves_are_the_salted_hashes_of_the_blocks() {
        let blob = Blob::compile(&bytes(10_000, 1, true), &settings(Codec::Zstd, 4096));
        let leaves = blob.leaves(&[7; 32]).unwrap();
        assert_eq!(leaves.len(), 3);
        let mut first = vec![7; 32];
        first.extend_from_slice(&bytes_of(&blob)[..4096]);
        assert_eq!(leaves[0], crate::digest::Sha256::of(&first).0);
    }
}
