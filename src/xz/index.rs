//! The index at the end of an xz file (The .xz File Format 1.2.1, sections 2 and 4).

use std::ops::Range;

pub(super) const STREAM_HEADER_LEN: usize = 12;
const STREAM_FOOTER_LEN: usize = 12;
pub(super) const HEADER_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
pub(super) const FOOTER_MAGIC: &[u8] = b"YZ";

/// One block, from its header to its padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Where in the file it lies.
    pub range: Range<usize>,
    /// Its length without its padding.
    pub unpadded: u64,
    /// Length of what it holds.
    pub uncompressed: u64,
}

/// A variable-length integer (section 1.2): seven bits a byte, lowest first.
fn read_vli(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (byte != 0 || shift == 0).then_some(value);
        }
    }
    None
}

pub(super) fn write_vli(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

/// The blocks of a file that is one stream without padding; `None` for everything else, which the
/// ordinary decoder then reads or refuses.
#[must_use]
pub fn blocks(file: &[u8]) -> Option<Vec<Block>> {
    let footer_at = file.len().checked_sub(STREAM_FOOTER_LEN)?;
    let footer = file.get(footer_at..)?;
    if !file.starts_with(HEADER_MAGIC)
        || footer.get(10..12)? != FOOTER_MAGIC
        || footer.get(8..10)? != file.get(6..8)?
        || crc32fast::hash(footer.get(4..10)?) != u32_at(footer, 0)?
    {
        return None;
    }
    let index_len = usize::try_from((u64::from(u32_at(footer, 4)?) + 1) * 4).ok()?;
    let index_at = footer_at.checked_sub(index_len)?;
    let index = file.get(index_at..footer_at)?;
    let (body, crc) = index.split_at_checked(index_len.checked_sub(4)?)?;
    if crc32fast::hash(body) != u32_at(crc, 0)? {
        return None;
    }
    let mut rest = body.strip_prefix(&[0])?;
    let count = read_vli(&mut rest)?;
    let mut blocks = Vec::new();
    let mut at = STREAM_HEADER_LEN;
    for _ in 0..count {
        let unpadded = read_vli(&mut rest)?;
        let uncompressed = read_vli(&mut rest)?;
        let len = usize::try_from(unpadded.checked_next_multiple_of(4)?).ok()?;
        let end = at.checked_add(len)?;
        if len == 0 || end > index_at {
            return None;
        }
        blocks.push(Block {
            range: at..end,
            unpadded,
            uncompressed,
        });
        at = end;
    }
    (at == index_at && rest.len() < 4).then_some(blocks)
}
