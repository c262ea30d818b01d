//! The file format of everything that the cache derives from downloads.
//!
//! ```text
//! 0     magic
//! 8     u32  version of this format
//! 12    u32  number of pieces
//! 16    16 B what it is ("package", "pack", …), NUL-padded
//! 32    32 B key
//! 64    u64  length of the head
//! 72    u64  length of the data
//! 80    32 B BLAKE3 of head and piece table
//! 112   16 B first half of the BLAKE3 of bytes 0 to 111
//! 128   head: bytes that mean something to whoever made the object
//!       piece table: for each piece of the data its u32 length and its BLAKE3
//!       zeros up to a multiple of 4096
//!       data
//! ```
//!
//! Numbers are little endian. The pieces follow each other without gaps. Data begins at a block of
//! the file system, so that blocks can be shared or copied without passing through memory.

use std::ops::Range;

/// Version of the file format; part of every key, so that another one finds nothing of this.
pub const VERSION: u32 = 1;
/// First bytes.
pub const MAGIC: [u8; 8] = *b"hullobj\n";
/// Bytes of the header.
pub const HEADER: usize = 128;
/// Bytes of the header that its checksum covers.
const SUMMED: usize = 112;
/// What data is aligned to.
pub const ALIGN: u64 = 4096;
/// Longest piece: what is read at least when one byte of it is wanted.
pub const PIECE: u64 = 1 << 20;
/// Bytes of an entry of the piece table.
pub const TABLE_ENTRY: usize = 36;
/// Longest name of a kind.
pub const KIND_MAX: usize = 16;

/// The header of an object file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Number of pieces.
    pub pieces: u32,
    /// What the object is.
    pub kind: [u8; KIND_MAX],
    /// Its key.
    pub key: [u8; 32],
    /// Length of the head.
    pub head_len: u64,
    /// Length of the data.
    pub data_len: u64,
    /// BLAKE3 of head and piece table.
    pub head_sum: [u8; 32],
}

/// A kind as it stands in a header. Longer names are cut; the store has refused them before.
#[must_use]
pub fn kind_bytes(kind: &str) -> [u8; KIND_MAX] {
    let mut out = [0; KIND_MAX];
    for (to, from) in out.iter_mut().zip(kind.bytes()) {
        *to = from;
    }
    out
}

impl Header {
    /// The bytes of the header.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.pieces.to_le_bytes());
        out.extend_from_slice(&self.kind);
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.head_len.to_le_bytes());
        out.extend_from_slice(&self.data_len.to_le_bytes());
        out.extend_from_slice(&self.head_sum);
        let sum = blake3::hash(&out);
        out.extend_from_slice(sum.as_bytes().get(..HEADER - SUMMED).unwrap_or_default());
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, &'static str> {
        let (body, sum) = bytes.split_at(SUMMED);
        if !body.starts_with(&MAGIC) {
            return Err("it does not begin like an object");
        }
        if !blake3::hash(body).as_bytes().starts_with(sum) {
            return Err("the checksum of its header does not match");
        }
        let short = "its header is too short";
        let mut rest = body.get(MAGIC.len()..).unwrap_or_default();
        let version = u32::from_le_bytes(take(&mut rest).ok_or(short)?);
        if version != VERSION {
            return Err("it is of another version of the format");
        }
        Ok(Self {
            pieces: u32::from_le_bytes(take(&mut rest).ok_or(short)?),
            kind: take(&mut rest).ok_or(short)?,
            key: take(&mut rest).ok_or(short)?,
            head_len: u64::from_le_bytes(take(&mut rest).ok_or(short)?),
            data_len: u64::from_le_bytes(take(&mut rest).ok_or(short)?),
            head_sum: take(&mut rest).ok_or(short)?,
        })
    }

    /// Bytes of head and piece table; `None` when no file can have so many.
    #[must_use]
    pub fn front_len(&self) -> Option<u64> {
        let table = u64::from(self.pieces) * TABLE_ENTRY as u64;
        self.head_len.checked_add(table)
    }

    /// Where the data begins.
    #[must_use]
    pub fn data_at(&self) -> Option<u64> {
        self.front_len()?
            .checked_add(HEADER as u64)?
            .checked_next_multiple_of(ALIGN)
    }

    /// Length of the file.
    #[must_use]
    pub fn file_len(&self) -> Option<u64> {
        self.data_at()?.checked_add(self.data_len)
    }
}

/// The next `N` bytes.
pub fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, others) = rest.split_first_chunk()?;
    *rest = others;
    Some(*first)
}

/// The pieces that a part of `len` bytes is checked in. The last block is one of its own, as images
/// take it apart from the others.
pub fn pieces(len: u64) -> impl Iterator<Item = Range<u64>> {
    let last = len.saturating_sub(1) / ALIGN * ALIGN;
    let body = (0..last.div_ceil(PIECE)).map(move |n| n * PIECE..last.min((n + 1) * PIECE));
    body.chain((len > 0).then_some(last..len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_and_every_flipped_bit_is_noticed() {
        let header = Header {
            pieces: 3,
            kind: kind_bytes("package"),
            key: [7; 32],
            head_len: 1000,
            data_len: 8192,
            head_sum: [9; 32],
        };
        let bytes: [u8; HEADER] = header.encode().try_into().unwrap();
        assert_eq!(Header::decode(&bytes).unwrap(), header);
        assert_eq!(header.data_at(), Some(4096));
        assert_eq!(header.file_len(), Some(4096 + 8192));
        for bit in 0..HEADER * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn pieces_cover_a_part_and_its_last_block_is_apart() {
        for len in [
            0,
            1,
            4095,
            4096,
            4097,
            PIECE,
            PIECE + 1,
            PIECE + 4096,
            3 * PIECE + 5,
        ] {
            let mut at = 0;
            for piece in pieces(len) {
                assert_eq!(piece.start, at);
                assert!(piece.end > piece.start && piece.end - piece.start <= PIECE);
                at = piece.end;
            }
            assert_eq!(at, len);
            if let Some(last) = pieces(len).last() {
                assert!(last.start % ALIGN == 0 && last.end - last.start <= ALIGN);
            }
        }
    }
}
