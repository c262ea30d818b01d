//! The blobs of an image, where they begin, and what the superblock says about them.

use std::sync::Arc;

use super::blob::{Blob, ChunkForm, Codec};
use super::codec::window_log;
use super::format::{self as fmt, BLOCK, INLINE_MAX};
use super::index::Extent;
use super::pack::Packed;
use crate::store::DamagedObject;

/// A blob of the image and where it begins.
pub(super) struct Placed {
    pub blob: Arc<Blob>,
    /// Length of the last chunk's stored form, when it goes behind inodes.
    pub inline: Option<u32>,
    /// The bytes that go behind each inode of this content.
    pub inline_bytes: Vec<u8>,
    /// Where in the packed inode the tail begins, if there is one.
    pub fragment: Option<u64>,
    /// Blocks that are emitted.
    pub blocks: u32,
    pub start: u32,
}

impl Placed {
    /// A file, whose tail begins at `fragment` of the packed inode.
    fn file(blob: Arc<Blob>, fragment: Option<u64>) -> Self {
        let last = blob.chunks().last().filter(|_| fragment.is_none());
        let inline = last.and_then(|last| {
            let len = match last.form {
                ChunkForm::Compressed { len } => len,
                // Plain clusters are extents of one block each, so the last can go alone.
                ChunkForm::Plain => last.raw_len % BLOCK,
            };
            (1..=INLINE_MAX).contains(&len).then_some(len)
        });
        let blocks = blob.blocks() as u32 - u32::from(inline.is_some());
        Self {
            blob,
            inline,
            inline_bytes: Vec::new(),
            fragment,
            blocks,
            start: 0,
        }
    }

    /// A part of the packed inode, of which every block is emitted.
    fn pack(blob: Arc<Blob>) -> Self {
        Self {
            inline: None,
            inline_bytes: Vec::new(),
            fragment: None,
            blocks: blob.blocks() as u32,
            start: 0,
            blob,
        }
    }

    /// Whether the bytes lie in the image as they are.
    pub(super) fn is_flat(&self) -> bool {
        self.fragment.is_none() && self.blob.is_plain()
    }

    /// Whether all of it lies in the packed inode.
    pub(super) fn is_fragment(&self) -> bool {
        self.fragment.is_some() && self.blob.chunks().is_empty()
    }

    /// Whether the tail begins where the 32 bits that indexes leave for its offset don't reach.
    pub(super) fn is_out_of_reach(&self) -> bool {
        !self.is_fragment() && self.fragment.is_some_and(|at| u32::try_from(at).is_err())
    }

    /// Reads what goes behind inodes.
    pub(super) fn read_inline(&mut self) -> Result<(), DamagedObject> {
        let Some(len) = self.inline else {
            return Ok(());
        };
        let data = self.blob.data();
        let block = data.range(data.len().saturating_sub(u64::from(BLOCK))..data.len())?;
        let compressed = self
            .blob
            .chunks()
            .last()
            .is_some_and(|last| last.form != ChunkForm::Plain);
        let len = len as usize;
        let range = if compressed {
            block.len().saturating_sub(len)..block.len()
        } else {
            0..len
        };
        self.inline_bytes = block.get(range).unwrap_or_default().to_vec();
        Ok(())
    }

    pub(super) fn extents(&self) -> Vec<Extent> {
        let chunks = self.blob.chunks();
        let mut start = self.start;
        let mut out = Vec::with_capacity(chunks.len());
        for (i, chunk) in chunks.iter().enumerate() {
            let plain = chunk.form == ChunkForm::Plain;
            let inline = self.inline.filter(|_| i + 1 == chunks.len());
            // What goes inline: all of a compressed chunk, the last block of a plain one.
            let (tail, tail_blocks) = match inline {
                Some(len) if plain => (len, 1),
                Some(_) => (chunk.raw_len, chunk.blocks),
                None => (0, 0),
            };
            let extent = |len: u32, start, blocks| Extent {
                len: u64::from(len),
                plain,
                start,
                blocks,
            };
            if chunk.raw_len > tail {
                let blocks = chunk.blocks - tail_blocks;
                out.push(extent(chunk.raw_len - tail, Some(start), blocks));
            }
            if tail > 0 {
                out.push(extent(tail, None, tail_blocks));
            }
            start += chunk.blocks;
        }
        if let (Some(_), Some(tail)) = (self.fragment, self.blob.tail()) {
            out.push(Extent {
                len: u64::from(tail.len()),
                plain: false,
                start: None,
                blocks: 0,
            });
        }
        out
    }
}

/// All content of an image that is compiled.
#[derive(Default)]
pub(super) struct Contents {
    pub blobs: Vec<Placed>,
    /// Together, the packed inode.
    pub packs: Vec<Placed>,
}

impl Contents {
    pub(super) fn new(blobs: Vec<Arc<Blob>>, packed: Packed) -> Self {
        Self {
            blobs: blobs
                .into_iter()
                .map(|blob| {
                    let fragment = packed.offset(&blob);
                    Placed::file(blob, fragment)
                })
                .collect(),
            packs: packed.packs.into_iter().map(Placed::pack).collect(),
        }
    }

    /// In order of emission: what is in packs is read often and together, so it comes first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Placed> {
        self.packs.iter().chain(&self.blobs)
    }

    /// Gives each blob its first block, from block `next` on; the block behind the last.
    pub(super) fn place(&mut self, mut next: u64) -> u64 {
        for placed in self.packs.iter_mut().chain(&mut self.blobs) {
            placed.start = next as u32;
            next += u64::from(placed.blocks);
        }
        next
    }

    /// Bytes of the packed inode.
    pub(super) fn packed_size(&self) -> u64 {
        self.packs.iter().map(|pack| pack.blob.size()).sum()
    }

    pub(super) fn packed_blocks(&self) -> u64 {
        self.packs.iter().map(|pack| u64::from(pack.blocks)).sum()
    }

    pub(super) fn packed_is_flat(&self) -> bool {
        self.packs.iter().all(Placed::is_flat)
    }

    pub(super) fn packed_extents(&self) -> Vec<Extent> {
        self.packs.iter().flat_map(Placed::extents).collect()
    }
}

/// The configuration records that follow the superblock, and the set of algorithms they are for.
///
/// A file with indexes has a head that names an algorithm even when only its tail is compressed, in
/// the packed inode; the kernel wants that algorithm to be in the set.
pub(super) fn configurations(contents: &Contents) -> (u16, Vec<u8>) {
    let mut lz4_blocks = 0_u32;
    let mut zstd_window = 0_u8;
    let indexed = |placed: &&Placed| !placed.is_flat() && !placed.is_fragment();
    for placed in contents.iter().filter(indexed) {
        match placed.blob.settings().codec {
            Codec::None => {}
            Codec::Zstd => {
                zstd_window = zstd_window.max(window_log(placed.blob.settings().chunk) as u8);
            }
            Codec::Lz4hc => {
                let most = placed.blob.chunks().iter().map(|c| match c.form {
                    ChunkForm::Compressed { .. } => c.blocks,
                    ChunkForm::Plain => 1,
                });
                lz4_blocks = lz4_blocks.max(most.max().unwrap_or(1));
            }
        }
    }
    let mut set = 0;
    let mut out = Vec::new();
    if lz4_blocks > 0 {
        set |= 1 << fmt::ALGORITHM_LZ4;
        out.extend(14_u16.to_le_bytes());
        out.extend(u16::MAX.to_le_bytes());
        out.extend((lz4_blocks as u16).to_le_bytes());
        out.extend([0; 10]);
    }
    if zstd_window > 0 {
        set |= 1 << fmt::ALGORITHM_ZSTD;
        out.extend(6_u16.to_le_bytes());
        out.extend([0, zstd_window - fmt::ZSTD_WINDOW_LOG_MIN, 0, 0, 0, 0]);
    }
    (set, out)
}
