//! Builds the tree in one pass over the data. Hashing runs on every core in batches; the result does
//! not depend on their number.

use std::io::{self, Read, Write};

use rayon::prelude::*;
use sha2::Digest as _;
use uuid::Uuid;

use super::format::{BLOCK, DIGEST, SuperBlock, levels};
use crate::digest::Sha256;

/// Bytes hashed at a time: enough for all cores, small enough to be in cache when written.
const BATCH: usize = 4 << 20;

/// Writes of so many bytes and more are hashed where they lie.
const DIRECT: usize = 512 << 10;

/// Bytes of such a write that are hashed at a time. More than [`BATCH`], because the cores wait for each
/// other at the end of each.
const DIRECT_BATCH: usize = 32 << 20;

/// What a tree amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// Root hash.
    pub root_hash: Sha256,
    /// Blocks that are hashed.
    pub data_blocks: u64,
    /// Blocks of the hash device, superblock included.
    pub hash_blocks: u64,
    /// Bytes of the hash device.
    pub size: u64,
}

fn hash_block(salt: &[u8], block: &[u8]) -> [u8; DIGEST] {
    sha2::Sha256::new()
        .chain_update(salt)
        .chain_update(block)
        .finalize()
        .into()
}

/// The digest of each whole block of `data`.
pub(crate) fn hash_blocks(salt: &[u8], data: &[u8]) -> Vec<[u8; DIGEST]> {
    data.par_chunks_exact(BLOCK)
        .with_min_len(64)
        .map(|block| hash_block(salt, block))
        .collect()
}

/// The lowest level of a tree: one digest a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaves {
    salt: [u8; 32],
    digests: Vec<[u8; DIGEST]>,
}

impl Leaves {
    /// The digest of each block, in order.
    #[must_use]
    pub fn digests(&self) -> &[[u8; DIGEST]] {
        &self.digests
    }

    /// Writes superblock and tree.
    ///
    /// # Errors
    /// What `out` returns; an image without a block.
    pub fn write(&self, uuid: Uuid, out: &mut dyn Write) -> io::Result<Verity> {
        let data_blocks = self.digests.len() as u64;
        if data_blocks == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an empty image cannot have a verity tree",
            ));
        }
        let mut digests = self.digests.clone();
        let mut tree: Vec<Vec<u8>> = Vec::new();
        for blocks in levels(data_blocks) {
            let mut level = digests.concat();
            level.resize(blocks as usize * BLOCK, 0);
            digests = hash_blocks(&self.salt, &level);
            tree.push(level);
        }
        let root_hash = digests.first().copied().unwrap_or_default();
        let mut first = [0; BLOCK];
        let superblock = SuperBlock {
            uuid,
            data_blocks,
            salt: self.salt,
        };
        let bytes = superblock.to_bytes();
        first[..bytes.len()].copy_from_slice(&bytes);
        out.write_all(&first)?;
        for level in tree.iter().rev() {
            out.write_all(level)?;
        }
        let hash_blocks = 1 + levels(data_blocks).iter().sum::<u64>();
        Ok(Verity {
            root_hash: Sha256(root_hash),
            data_blocks,
            hash_blocks,
            size: hash_blocks * BLOCK as u64,
        })
    }
}

/// Passes what is written on to `inner` and hashes it on the way, while it is in cache.
#[derive(Debug)]
pub struct LeafHasher<W: Write> {
    inner: W,
    leaves: Leaves,
    buffer: Vec<u8>,
}

impl<W: Write> LeafHasher<W> {
    /// A hasher in front of `inner`.
    pub fn new(inner: W, salt: [u8; 32]) -> Self {
        Self {
            inner,
            leaves: Leaves {
                salt,
                digests: Vec::new(),
            },
            buffer: Vec::with_capacity(BATCH),
        }
    }

    fn pass(&mut self) -> io::Result<()> {
        let digests = hash_blocks(&self.leaves.salt, &self.buffer);
        self.leaves.digests.extend(digests);
        self.inner.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes blocks whose digests are known already.
    ///
    /// # Errors
    /// What `inner` returns; another number of digests than blocks; a position inside a block.
    pub fn write_known(&mut self, blocks: &[u8], digests: &[[u8; DIGEST]]) -> io::Result<()> {
        let misfit = blocks.len() != digests.len() * BLOCK;
        if misfit || !self.buffer.len().is_multiple_of(BLOCK) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "leaf hashes do not match the blocks they are for",
            ));
        }
        self.pass()?;
        self.leaves.digests.extend_from_slice(digests);
        self.inner.write_all(blocks)
    }

    /// Writes and hashes what is left; gives `inner` and the leaves back.
    ///
    /// # Errors
    /// What `inner` returns; a last block that is not whole.
    pub fn finish(mut self) -> io::Result<(W, Leaves)> {
        if !self.buffer.len().is_multiple_of(BLOCK) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the image ends inside a block of 4096 bytes",
            ));
        }
        self.pass()?;
        self.inner.flush()?;
        Ok((self.inner, self.leaves))
    }
}

impl<W: Write> Write for LeafHasher<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.is_empty() && bytes.len() >= DIRECT {
            let whole = &bytes[..bytes.len().min(DIRECT_BATCH) / BLOCK * BLOCK];
            let digests = hash_blocks(&self.leaves.salt, whole);
            self.leaves.digests.extend(digests);
            self.inner.write_all(whole)?;
            return Ok(whole.len());
        }
        let take = bytes.len().min(BATCH - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..take]);
        if self.buffer.len() == BATCH {
            self.pass()?;
        }
        Ok(take)
    }

    /// Keeps what is not a full batch: a flush must not cut blocks.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes `size` bytes of `image` and writes superblock and tree to `out`.
///
/// # Errors
/// What `image` and `out` return; a size that is zero or no multiple of 4096.
pub fn build(
    image: &mut dyn Read,
    size: u64,
    salt: &[u8; 32],
    uuid: Uuid,
    out: &mut dyn Write,
) -> io::Result<Verity> {
    let mut hasher = LeafHasher::new(io::sink(), *salt);
    let copied = io::copy(&mut image.take(size), &mut hasher)?;
    if copied != size {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the image ends after {copied} of {size} bytes"),
        ));
    }
    let (_, leaves) = hasher.finish()?;
    leaves.write(uuid, out)
}
