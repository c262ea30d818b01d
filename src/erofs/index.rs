//! Compact compression indexes: which cluster holds which 4 KiB of a file.
//!
//! A file is a row of logical clusters of 4 KiB. An extent begins at a HEAD (compressed) or PLAIN
//! entry and goes on over NONHEAD entries. Entries lie in packs: up to 8 entries in packs of two
//! (4 bytes each) until the position is 32-byte aligned, then packs of 16 (2 bytes each), then packs
//! of two. Each pack ends with a block address, from which the addresses of its heads follow by
//! adding the block counts before them. The first NONHEAD of an extent holds its block count; others
//! hold the distance back to the head, but the last of a pack the distance to the next head.
//! (`fs/erofs/zmap.c`, `z_erofs_load_compact_lcluster`.)

use super::format::BLOCK;

const PLAIN: u32 = 0;
const HEAD: u32 = 1;
const NONHEAD: u32 = 2;
/// `Z_EROFS_LI_D0_CBLKCNT`: the value is a block count.
const BLOCK_COUNT: u32 = 1 << 11;
/// Bits of the value; the type lies above them.
const VALUE_BITS: u32 = 12;

/// A run of a file that is stored as one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes of the file; a multiple of 4096, but for the last.
    pub len: u64,
    /// Stored as is, block by block.
    pub plain: bool,
    /// First block; `None` when it follows the indexes or lies in the packed inode (only the last
    /// extent).
    pub start: Option<u32>,
    /// Blocks; none in the packed inode.
    pub blocks: u32,
}

/// Where the last extent of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// In blocks, as the others.
    Blocks,
    /// Behind the indexes.
    Inline,
    /// In the packed inode.
    Fragment,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Head {
        plain: bool,
        offset: u32,
        block: Option<u32>,
    },
    Count(u32),
    Distance {
        back: u32,
        ahead: u32,
    },
}

/// The packs' division of `total` entries whose first pack begins at `position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Division {
    /// Entries in packs of two before the 32-byte boundary.
    pub initial: u64,
    /// Entries in packs of sixteen.
    pub middle: u64,
}

impl Division {
    /// The division for indexes at byte `position` (a multiple of 8).
    pub(super) const fn new(position: u64, total: u64) -> Self {
        let initial = ((32 - position % 32) / 4) % 8;
        if initial >= total {
            return Self {
                initial: 0,
                middle: 0,
            };
        }
        Self {
            initial,
            middle: (total - initial) / 16 * 16,
        }
    }

    /// Bytes of the indexes.
    pub(super) const fn size(self, total: u64) -> u64 {
        let pairs = (total - self.middle).div_ceil(2);
        self.middle * 2 + pairs * 8
    }
}

fn entries(extents: &[Extent]) -> Vec<Entry> {
    let block = u64::from(BLOCK);
    let mut out = Vec::new();
    for extent in extents {
        if extent.plain {
            for i in 0..extent.len.div_ceil(block) {
                out.push(Entry::Head {
                    plain: true,
                    offset: 0,
                    block: extent.start.map(|start| start + i as u32),
                });
            }
            continue;
        }
        out.push(Entry::Head {
            plain: false,
            offset: 0,
            block: extent.start,
        });
        // A file's last, partial cluster is closed by a PLAIN entry that begins at its end, so that
        // the extent's decoded length is exact; a NONHEAD would extend it to the cluster's end.
        let whole = (extent.len / block).max(1) as u32;
        for back in 1..whole {
            out.push(if back == 1 {
                Entry::Count(extent.blocks)
            } else {
                Entry::Distance {
                    back,
                    ahead: whole - back,
                }
            });
        }
        if extent.len > block && extent.len % block != 0 {
            out.push(Entry::Head {
                plain: true,
                offset: (extent.len % block) as u32,
                block: None,
            });
        }
    }
    out
}

fn put_pack(out: &mut Vec<u8>, pack: &[Entry], room: usize) {
    let (bits, payload) = if room == 16 { (14, 28) } else { (16, 4) };
    let mut before = 0;
    let mut base = None;
    let mut bytes = vec![0_u8; payload + 4];
    for (i, entry) in pack.iter().enumerate() {
        let (kind, value) = match *entry {
            Entry::Head {
                plain,
                offset,
                block,
            } => {
                if let (None, Some(block)) = (base, block) {
                    base = Some(block.wrapping_sub(before));
                }
                (if plain { PLAIN } else { HEAD }, offset)
            }
            Entry::Count(count) => {
                before += count;
                (NONHEAD, BLOCK_COUNT | count)
            }
            Entry::Distance { back, ahead } => {
                let distance = if i + 1 == room { ahead } else { back };
                (NONHEAD, distance.min(BLOCK_COUNT - 1))
            }
        };
        let value = (kind << VALUE_BITS | value) << (bits * i % 8);
        for (byte, part) in bytes[bits * i / 8..].iter_mut().zip(value.to_le_bytes()) {
            *byte |= part;
        }
    }
    bytes[payload..].copy_from_slice(&base.unwrap_or(0).to_le_bytes());
    out.extend(bytes);
}

/// Encodes the indexes of a file for byte `position` of the image.
pub(super) fn encode(extents: &[Extent], position: u64) -> Vec<u8> {
    let entries = entries(extents);
    let division = Division::new(position, entries.len() as u64);
    let (initial, rest) = entries.split_at(division.initial as usize);
    let (middle, last) = rest.split_at(division.middle as usize);
    let mut out = Vec::with_capacity(division.size(entries.len() as u64) as usize);
    for (part, room) in [(initial, 2), (middle, 16), (last, 2)] {
        for pack in part.chunks(room) {
            put_pack(&mut out, pack, room);
        }
    }
    out
}

/// What is wrong with indexes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The indexes end before the file does.
    #[error("the indexes are cut short")]
    Short,
    /// The file does not begin with a head.
    #[error("a run of clusters has no head")]
    NoHead,
    /// A head does not begin where a cluster does.
    #[error("a head begins inside a cluster")]
    Unaligned,
    /// An entry has a type that this reader does not know.
    #[error("entry type {0} is not supported")]
    Type(u32),
    /// A block count is missing, zero, or misplaced.
    #[error("an extent's block count is wrong")]
    Count,
    /// The kernel refuses it.
    #[error("the extent in the packed inode has a plain head")]
    Fragment,
}

/// Decodes indexes of a file of `size` bytes that lie at byte `position` of the image, and hands out
/// the extents in order; the last one has no start unless it is in blocks.
pub(super) fn decode<E: From<IndexError>>(
    bytes: &[u8],
    position: u64,
    size: u64,
    place: Last,
    emit: &mut dyn FnMut(Extent) -> Result<(), E>,
) -> Result<(), E> {
    let block = u64::from(BLOCK);
    let total = size.div_ceil(block);
    let division = Division::new(position, total);
    if division.size(total) > bytes.len() as u64 {
        return Err(IndexError::Short.into());
    }
    let mut current: Option<Extent> = None;
    // Whether the extent under way still lacks its block count.
    let mut count_next = false;
    let mut at = 0_u64;
    let mut rest = bytes;
    while at < total {
        let middle = at >= division.initial && at < division.initial + division.middle;
        let (room, bits, payload) = if middle { (16, 14, 28) } else { (2, 16, 4) };
        let (pack, after) = rest
            .split_at_checked(payload + 4)
            .ok_or(IndexError::Short)?;
        rest = after;
        let (payload, base) = pack.split_at(payload);
        let base = base.first_chunk().ok_or(IndexError::Short)?;
        // The address of the next head in this pack, but for the blocks of the head under way.
        let mut address = u32::from_le_bytes(*base);
        let mut pending = 0;
        for i in 0..room.min((total - at) as usize) {
            let mut word = [0; 4];
            let bytes = payload.get(bits * i / 8..).unwrap_or_default();
            for (to, from) in word.iter_mut().zip(bytes) {
                *to = *from;
            }
            let word = u32::from_le_bytes(word) >> (bits * i % 8);
            let value = word & ((1 << VALUE_BITS) - 1);
            let len = block.min(size - at * block);
            at += 1;
            match (word >> VALUE_BITS & 3, &mut current) {
                (PLAIN, Some(last)) if value != 0 => {
                    // The closing entry of a last cluster that is partial.
                    if at != total || u64::from(value) != size % block || last.plain {
                        return Err(IndexError::Unaligned.into());
                    }
                    last.len += u64::from(value);
                }
                (PLAIN | HEAD, _) if value != 0 => return Err(IndexError::Unaligned.into()),
                (kind @ (PLAIN | HEAD), _) => {
                    address = address.wrapping_add(pending);
                    pending = 1;
                    count_next = kind == HEAD;
                    let next = Extent {
                        len,
                        plain: kind == PLAIN,
                        start: Some(address),
                        blocks: 1,
                    };
                    if let Some(done) = current.replace(next) {
                        if done.blocks == 0 {
                            return Err(IndexError::Count.into());
                        }
                        emit(done)?;
                    }
                }
                (NONHEAD, None) => return Err(IndexError::NoHead.into()),
                (NONHEAD, Some(last)) => {
                    let count = value & !BLOCK_COUNT;
                    let is_count = value & BLOCK_COUNT != 0;
                    let none = count == 0 && place != Last::Fragment;
                    if last.plain || is_count != count_next || (is_count && none) {
                        return Err(IndexError::Count.into());
                    }
                    if is_count {
                        last.blocks = count;
                        address = address.wrapping_add(count);
                        pending = 0;
                        count_next = false;
                    }
                    last.len += len;
                }
                (kind, _) => return Err(IndexError::Type(kind).into()),
            }
        }
    }
    if let Some(mut last) = current {
        match place {
            Last::Blocks => {}
            Last::Inline => last.start = None,
            Last::Fragment if last.plain => return Err(IndexError::Fragment.into()),
            Last::Fragment => {
                last.start = None;
                last.blocks = 0;
            }
        }
        emit(last)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packs_divide_as_the_kernel_divides_them() {
        for (position, total, initial, middle, size) in [
            (0, 1, 0, 0, 8),
            (0, 16, 0, 16, 32),
            (0, 19, 0, 16, 48),
            (8, 22, 6, 16, 56),
            (24, 2, 0, 0, 8),
            (24, 3, 2, 0, 16),
            (24, 18, 2, 16, 40),
        ] {
            let division = Division::new(position, total);
            assert_eq!(
                (division.initial, division.middle, division.size(total)),
                (initial, middle, size),
                "{position} {total}"
            );
        }
    }

    fn extents() -> impl Strategy<Value = Vec<Extent>> {
        let one = (any::<bool>(), 2_u64..40, 1_u32..39);
        (
            proptest::collection::vec(one, 1..40),
            1_u64..4096,
            1_u32..100_000,
        )
            .prop_map(|(list, cut, start)| {
                let mut next = start;
                let mut out: Vec<Extent> = Vec::new();
                for (plain, clusters, blocks) in list {
                    let blocks = if plain {
                        clusters as u32
                    } else {
                        blocks.min(clusters as u32 - 1)
                    };
                    out.push(Extent {
                        len: clusters * 4096,
                        plain,
                        start: Some(next),
                        blocks,
                    });
                    next += blocks;
                }
                // Two clusters of which the last is partial leave room for one block only.
                let last = out.last_mut().unwrap();
                last.len -= cut;
                out
            })
    }

    fn decoded(
        bytes: &[u8],
        position: u64,
        size: u64,
        place: Last,
    ) -> Result<Vec<Extent>, IndexError> {
        let mut out = Vec::new();
        decode(bytes, position, size, place, &mut |extent| {
            out.push(extent);
            Ok::<_, IndexError>(())
        })?;
        Ok(out)
    }

    /// Plain extents come back cluster by cluster.
    fn split(extents: &[Extent]) -> Vec<Extent> {
        let mut out = Vec::new();
        for e in extents {
            if !e.plain {
                out.push(*e);
                continue;
            }
            let mut left = e.len;
            let mut start = e.start.unwrap();
            while left > 0 {
                let len = left.min(4096);
                out.push(Extent {
                    len,
                    plain: true,
                    start: Some(start),
                    blocks: 1,
                });
                left -= len;
                start += 1;
            }
        }
        out
    }

    proptest! {
        #[test]
        fn extents_survive_encoding_at_every_alignment(extents in extents(), slot in 0_u64..4) {
            let size: u64 = extents.iter().map(|e| e.len).sum();
            let bytes = encode(&extents, slot * 8);
            prop_assert_eq!(
                bytes.len() as u64,
                Division::new(slot * 8, size.div_ceil(4096)).size(size.div_ceil(4096))
            );
            prop_assert_eq!(decoded(&bytes, slot * 8, size, Last::Blocks).unwrap(), split(&extents));
        }

        #[test]
        fn an_extent_in_the_packed_inode_survives_encoding(
            mut extents in extents(),
            len in 1_u64..100_000,
            slot in 0_u64..4,
        ) {
            // Only the last extent ends inside a cluster.
            if let Some(last) = extents.last_mut() {
                last.len = last.len.next_multiple_of(4096);
            }
            extents.push(Extent { len, plain: false, start: None, blocks: 0 });
            let size: u64 = extents.iter().map(|e| e.len).sum();
            let bytes = encode(&extents, slot * 8);
            let found = decoded(&bytes, slot * 8, size, Last::Fragment).unwrap();
            let (last, before) = found.split_last().unwrap();
            prop_assert_eq!(Some(last), extents.last());
            prop_assert_eq!(before, split(&extents[..extents.len() - 1]));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            slot in 0_u64..4,
            size in any::<u64>(),
        ) {
            for size in [size, size % 500_000] {
                for place in [Last::Blocks, Last::Inline, Last::Fragment] {
                    if let Ok(extents) = decoded(&bytes, slot * 8, size, place) {
                        prop_assert_eq!(extents.iter().map(|e| e.len).sum::<u64>(), size);
                    }
                }
            }
        }
    }
}
