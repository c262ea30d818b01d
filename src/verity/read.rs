//! Verifies an image against its tree and root hash, trusting neither image nor tree.

use std::io::{self, Read};

use uuid::Uuid;

use super::format::{BLOCK, DIGEST, MAGIC, SUPER_SIZE, SuperBlock, levels};
use super::write::hash_blocks;
use crate::digest::Sha256;

/// Bytes of image in memory at a time.
const BATCH: u64 = 4 << 20;

/// What is wrong with an image or its tree.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    /// Reading failed.
    #[error("reading the image")]
    Io(#[from] io::Error),
    /// No superblock.
    #[error("the hash device does not begin with a dm-verity superblock")]
    Magic,
    /// A parameter that hullwright never writes.
    #[error("dm-verity {field} is {found}, expected {expected}")]
    Parameter {
        /// Which one.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The tree is shorter than its superblock says.
    #[error("the hash device has {found} bytes, its tree needs {needed}")]
    Short {
        /// Bytes there.
        found: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// The image has another length than was hashed.
    #[error("the image has {found} bytes, the tree is for {expected}")]
    Length {
        /// Bytes there, or read so far.
        found: u64,
        /// Bytes hashed.
        expected: u64,
    },
    /// The top of the tree is not that of the root hash.
    #[error("the root hash is {found}, expected {expected}")]
    Root {
        /// Hash of the top block.
        found: Sha256,
        /// The hash asked for.
        expected: Sha256,
    },
    /// A block of the tree does not match the level above.
    #[error("block {block} of the hash device is damaged")]
    Hash {
        /// Number of the block on the hash device.
        block: u64,
    },
    /// A block of the image does not match the tree.
    #[error("block {block} of the image is damaged")]
    Data {
        /// Number of the block.
        block: u64,
    },
}

impl SuperBlock {
    /// Reads a superblock, and accepts only the parameters that hullwright writes.
    ///
    /// # Errors
    /// See [`VerityError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, VerityError> {
        let bytes: &[u8; SUPER_SIZE] = bytes.first_chunk().ok_or(VerityError::Magic)?;
        if bytes[..8] != MAGIC {
            return Err(VerityError::Magic);
        }
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        for (field, at, expected, text) in [
            ("version", 8, 1, "1"),
            ("hash type", 12, 1, "1"),
            ("data block size", 64, BLOCK as u32, "4096"),
            ("hash block size", 68, BLOCK as u32, "4096"),
            ("salt size", 80, 32, "32"),
        ] {
            let found = u32_at(at) & if at == 80 { 0xFFFF } else { u32::MAX };
            if found != expected {
                return Err(VerityError::Parameter {
                    field,
                    found: found.to_string(),
                    expected: text,
                });
            }
        }
        let name = &bytes[32..64];
        let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        if &name[..end] != b"sha256" {
            return Err(VerityError::Parameter {
                field: "algorithm",
                found: String::from_utf8_lossy(&name[..end]).into_owned(),
                expected: "sha256",
            });
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[16..32]);
        let mut salt = [0; 32];
        salt.copy_from_slice(&bytes[88..120]);
        let mut data_blocks = [0; 8];
        data_blocks.copy_from_slice(&bytes[72..80]);
        let data_blocks = u64::from_le_bytes(data_blocks);
        if !(1..1 << 51).contains(&data_blocks) {
            return Err(VerityError::Parameter {
                field: "number of data blocks",
                found: data_blocks.to_string(),
                expected: "at least 1, less than 2^51",
            });
        }
        Ok(Self {
            uuid: Uuid::from_bytes(uuid),
            data_blocks,
            salt,
        })
    }
}

/// The first whole block of `data` whose digest is not the one in `expected`.
fn first_bad(salt: &[u8; 32], data: &[u8], expected: &[u8]) -> Option<u64> {
    hash_blocks(salt, data)
        .iter()
        .zip(expected.chunks_exact(DIGEST))
        .position(|(found, expected)| found != expected)
        .map(|at| at as u64)
}

/// The root hash of a hash device whose top block, the one after the superblock, is `top`. `None` for
/// an image of one block, which has no tree: its root hash is the hash of that block.
#[must_use]
pub fn root_of(superblock: &SuperBlock, top: &[u8]) -> Option<Sha256> {
    if superblock.data_blocks < 2 {
        return None;
    }
    let top = top.get(..BLOCK)?;
    let digest = hash_blocks(&superblock.salt, top).first().copied()?;
    Some(Sha256(digest))
}

/// Checks the hash device `tree` against `root`, and every block of `image`, which must end where
/// the tree does. Returns the superblock.
///
/// # Errors
/// See [`VerityError`]; the first damaged block is named.
pub fn verify(image: &mut dyn Read, tree: &[u8], root: &Sha256) -> Result<SuperBlock, VerityError> {
    let superblock = SuperBlock::parse(tree)?;
    let levels = levels(superblock.data_blocks);
    let needed = (1 + levels.iter().sum::<u64>()) * BLOCK as u64;
    if (tree.len() as u64) < needed {
        return Err(VerityError::Short {
            found: tree.len() as u64,
            needed,
        });
    }
    let mut expected: &[u8] = &root.0;
    let mut at = BLOCK;
    for (depth, &blocks) in levels.iter().rev().enumerate() {
        let level = &tree[at..at + blocks as usize * BLOCK];
        if let Some(bad) = first_bad(&superblock.salt, level, expected) {
            if depth == 0 {
                let found = hash_blocks(&superblock.salt, level);
                return Err(VerityError::Root {
                    found: Sha256(found.first().copied().unwrap_or_default()),
                    expected: *root,
                });
            }
            return Err(VerityError::Hash {
                block: (at / BLOCK) as u64 + bad,
            });
        }
        expected = level;
        at += level.len();
    }
    verify_data(image, &superblock, expected)?;
    Ok(superblock)
}

fn verify_data(
    image: &mut dyn Read,
    superblock: &SuperBlock,
    leaves: &[u8],
) -> Result<(), VerityError> {
    let length = superblock.data_blocks * BLOCK as u64;
    let mut done = 0;
    let mut buffer = Vec::new();
    let mut leaves = leaves;
    while done < length {
        buffer.clear();
        let want = BATCH.min(length - done);
        let got = (&mut *image).take(want).read_to_end(&mut buffer)? as u64;
        if got != want {
            return Err(VerityError::Length {
                found: done + got,
                expected: length,
            });
        }
        if let Some(bad) = first_bad(&superblock.salt, &buffer, leaves) {
            return Err(VerityError::Data {
                block: done / BLOCK as u64 + bad,
            });
        }
        leaves = leaves
            .get(buffer.len() / BLOCK * DIGEST..)
            .unwrap_or_default();
        done += got;
    }
    let mut more = [0; 1];
    if image.read(&mut more)? > 0 {
        return Err(VerityError::Length {
            found: length + 1,
            expected: length,
        });
    }
    Ok(())
}
