//! The superblock of a dm-verity hash device (cryptsetup's "DMVerity on-disk format"), and the
//! geometry of the tree. Little-endian.

use uuid::Uuid;

/// Bytes of a data block and of a hash block.
pub const BLOCK: usize = 4096;
/// Bytes of a SHA-256 digest.
pub const DIGEST: usize = 32;
/// Digests in a hash block.
pub const PER_BLOCK: u64 = (BLOCK / DIGEST) as u64;
/// Length of the superblock.
pub const SUPER_SIZE: usize = 512;
/// Its first bytes.
pub const MAGIC: [u8; 8] = *b"verity\0\0";

/// The superblock's variable part: format 1, hash type 1, SHA-256, blocks of 4096 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuperBlock {
    /// UUID of the hash device.
    pub uuid: Uuid,
    /// Blocks that are hashed.
    pub data_blocks: u64,
    /// Salt, hashed before each block.
    pub salt: [u8; 32],
}

impl SuperBlock {
    /// On-disk form.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SUPER_SIZE] {
        let mut out = [0; SUPER_SIZE];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(8, &1_u32.to_le_bytes());
        put(12, &1_u32.to_le_bytes());
        put(16, self.uuid.as_bytes());
        put(32, b"sha256");
        put(64, &(BLOCK as u32).to_le_bytes());
        put(68, &(BLOCK as u32).to_le_bytes());
        put(72, &self.data_blocks.to_le_bytes());
        put(80, &(self.salt.len() as u16).to_le_bytes());
        put(88, &self.salt);
        out
    }
}

/// Blocks of each level for `data_blocks`, lowest level first. One data block needs no level.
#[must_use]
pub fn levels(data_blocks: u64) -> Vec<u64> {
    let mut out = Vec::new();
    let mut below = data_blocks;
    while below > 1 {
        below = below.div_ceil(PER_BLOCK);
        out.push(below);
    }
    out
}
