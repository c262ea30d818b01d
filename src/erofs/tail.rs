//! The remainder of a file behind its last full chunk, kept raw so that an image can pack the tails
//! of many files together.

use super::blob::{BlobError, Codec, CodecSettings, Tails};
use super::data::BlobData;
use super::format::{INODE_COMPACT, SLOT};

/// A shorter file stays behind its inode, where it costs nothing: an inode whose content lies in a
/// pack takes two slots as well, for its map header.
const LEAST: usize = (2 * SLOT - INODE_COMPACT) as usize + 1;

/// Fewer bytes than this say little about how well they compress.
const NOISE_FROM: usize = 4096;

/// Raw bytes that await a pack.
#[derive(Debug, Clone)]
pub struct Tail {
    len: u32,
    hash: blake3::Hash,
    data: BlobData,
}

impl Tail {
    /// `hash` is that of `bytes`.
    pub(super) fn new(bytes: Vec<u8>, hash: blake3::Hash) -> Self {
        Self {
            len: bytes.len() as u32,
            hash,
            data: bytes.into(),
        }
    }

    /// Puts a stored tail together again. The content is not compared with the hash.
    ///
    /// # Errors
    /// The data has another length.
    pub fn from_parts(len: u32, hash: blake3::Hash, data: BlobData) -> Result<Self, BlobError> {
        if data.len() != u64::from(len) {
            return Err(BlobError::Parts("a tail is not as long as recorded"));
        }
        Ok(Self { len, hash, data })
    }

    /// Number of bytes; at least one.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no bytes, which no blob's tail has.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// BLAKE3 of the bytes.
    #[must_use]
    pub const fn hash(&self) -> blake3::Hash {
        self.hash
    }

    /// The bytes.
    #[must_use]
    pub const fn data(&self) -> &BlobData {
        &self.data
    }
}

impl CodecSettings {
    /// Whether a file can have a tail under these settings.
    pub(super) fn packs(&self) -> bool {
        self.tails == Tails::Packed && self.codec != Codec::None
    }

    /// Whether the last piece of a file becomes a tail.
    pub(super) fn is_tail(&self, piece: &[u8]) -> bool {
        self.packs()
            && (LEAST..self.chunk as usize).contains(&piece.len())
            && (piece.len() < NOISE_FROM || !is_noise(piece))
    }
}

/// Whether bytes look compressed or encrypted. Packing them gains nothing over storing them as they
/// are, and reading them out of a pack costs a copy.
///
/// The measure is the chance that two bytes of the piece are equal: 1/256 where every value is
/// equally frequent. Integers, so that every machine decides alike.
fn is_noise(bytes: &[u8]) -> bool {
    // Four counts side by side, as the same value twice in a row would wait for itself.
    let mut counts = [[0_u32; 256]; 4];
    let (fours, rest) = bytes.as_chunks::<4>();
    for four in fours {
        for (counts, &byte) in counts.iter_mut().zip(four) {
            counts[usize::from(byte)] += 1;
        }
    }
    for &byte in rest {
        counts[0][usize::from(byte)] += 1;
    }
    let counts = (0..256).map(|value| counts.iter().map(|counts| u64::from(counts[value])).sum());
    let len = bytes.len() as u64;
    let pairs: u64 = counts.map(|n: u64| n * n.saturating_sub(1)).sum();
    // 3/8 more than chance: data of xz is at most 1 % above it, text and machine code are at three
    // times and more.
    pairs * 256 * 8 < len * (len - 1) * 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_told_from_text_and_code() {
        let mut state = 1_u32;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        let noise: Vec<u8> = (0..5000).map(|_| random()).collect();
        assert!(is_noise(&noise));
        let base64: Vec<u8> = (0..5000).map(|_| b'A' + random() % 64).collect();
        assert!(!is_noise(&base64));
        assert!(!is_noise(&[0; 5000]));
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!is_noise(&program[..65536]));
    }
}
