//! Decoding the blocks of an xz file in parallel.
//!
//! xz writes blocks that are independent of each other when it compresses with threads, and an
//! index of them at the end of the file (The .xz File Format 1.2.1, sections 2 and 4). Each block
//! is handed to a decoder as a stream of its own, with the file's stream header before it and an
//! index of one record behind it, so that the decoder verifies the block's check: a decoder of bare
//! blocks would not.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

use super::decompress::Part;
use super::limits::{DECODER_MEMORY, XZ_PARALLEL_FROM, XZ_READ_AHEAD};

const STREAM_HEADER_LEN: usize = 12;
const STREAM_FOOTER_LEN: usize = 12;
const HEADER_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const FOOTER_MAGIC: &[u8] = b"YZ";

/// One block, from its header to its padding.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    range: Range<usize>,
    unpadded: u64,
    uncompressed: u64,
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

fn write_vli(out: &mut Vec<u8>, mut value: u64) {
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
fn blocks(file: &[u8]) -> Option<Vec<Block>> {
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

/// Index and footer of a stream that holds nothing but `block`.
fn tail(block: &Block, flags: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    write_vli(&mut out, 1);
    write_vli(&mut out, block.unpadded);
    write_vli(&mut out, block.uncompressed);
    out.resize(out.len().next_multiple_of(4), 0);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    let backward = (out.len() / 4 - 1) as u32;
    let mut fields = backward.to_le_bytes().to_vec();
    fields.extend_from_slice(flags);
    out.extend_from_slice(&crc32fast::hash(&fields).to_le_bytes());
    out.extend_from_slice(&fields);
    out.extend_from_slice(FOOTER_MAGIC);
    out
}

fn decode(part: &Part, block: &Block) -> io::Result<Vec<u8>> {
    let file = part.rest();
    let outside = || io::Error::other("an xz block outside the file");
    let header = file.get(..STREAM_HEADER_LEN).ok_or_else(outside)?;
    let body = file.get(block.range.clone()).ok_or_else(outside)?;
    let tail = tail(block, file.get(6..8).ok_or_else(outside)?);
    let memory_kib = u32::try_from(DECODER_MEMORY / 1024).unwrap_or(u32::MAX);
    let stream = header.chain(body).chain(tail.as_slice());
    let mut decoder = lzma_rust2::XzReader::new_mem_limit(stream, false, memory_kib);
    // `open` has bounded the size that the index declares.
    let mut out = Vec::with_capacity(usize::try_from(block.uncompressed).unwrap_or(0));
    decoder
        .by_ref()
        .take(block.uncompressed.saturating_add(1))
        .read_to_end(&mut out)?;
    if out.len() as u64 != block.uncompressed {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "an xz block is longer than the index says",
        ));
    }
    Ok(out)
}

type Decoded = io::Result<Vec<u8>>;

/// Reads an xz file whose blocks are decoded by rayon's threads.
#[derive(Debug)]
pub(super) struct ParallelReader {
    part: Part,
    todo: VecDeque<Block>,
    under_way: VecDeque<Receiver<Decoded>>,
    window: usize,
    now: io::Cursor<Vec<u8>>,
}

impl ParallelReader {
    /// A reader where that pays and can be done: several blocks, none of them larger than may be
    /// read ahead, more than one thread, and a caller that may block (a thread of the pool that
    /// waited for the pool could wait for itself).
    pub(super) fn open(part: &Part) -> Option<Self> {
        let threads = rayon::current_num_threads();
        if part.rest().len() < XZ_PARALLEL_FROM
            || threads < 2
            || rayon::current_thread_index().is_some()
        {
            return None;
        }
        Self::with_threads(part, threads)
    }

    fn with_threads(part: &Part, threads: usize) -> Option<Self> {
        let todo = blocks(part.rest())?;
        let largest = todo.iter().map(|b| b.uncompressed).max()?.max(1);
        // The block being read counts as well.
        let window = usize::try_from(XZ_READ_AHEAD / largest).ok()?.min(threads);
        if todo.len() < 2 || window < 2 {
            return None;
        }
        Some(Self {
            part: part.clone(),
            todo: todo.into(),
            under_way: VecDeque::new(),
            window,
            now: io::Cursor::default(),
        })
    }

    fn hand_out(&mut self) {
        while self.under_way.len() + 1 < self.window.max(2) {
            let Some(block) = self.todo.pop_front() else {
                return;
            };
            let (sender, receiver) = sync_channel(1);
            let part = self.part.clone();
            rayon::spawn(move || {
                // Nobody listens any more when the reader was dropped.
                let _ = sender.send(decode(&part, &block));
            });
            self.under_way.push_back(receiver);
        }
    }
}

impl Read for ParallelReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.now.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            self.now = io::Cursor::default();
            self.hand_out();
            let Some(next) = self.under_way.pop_front() else {
                return Ok(0);
            };
            let block = next
                .recv()
                .map_err(|_| io::Error::other("the thread that decoded an xz block is gone"))?;
            self.now = io::Cursor::new(block?);
            self.hand_out();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::package::decompress::{Codec, open};
    use crate::package::testing::compress;

    fn sample() -> Vec<u8> {
        // Not compressible, so that the packed form is large enough for the parallel reader.
        let mut state = 1_u32;
        (0..1_500_000)
            .flat_map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8).to_le_bytes()
            })
            .collect()
    }

    #[test]
    fn blocks_in_parallel_give_the_same_bytes_and_their_checks_are_verified() {
        let plain = sample();
        let packed = compress(Codec::Xz, &plain, Some(1 << 20));
        let count = blocks(&packed).unwrap().len();
        assert!(count >= 5, "{count} blocks");

        let read = |file: Vec<u8>| {
            let range = 0..file.len();
            let mut out = Vec::new();
            open(Codec::Xz, &Arc::new(file), range, 1 << 30)?.read_to_end(&mut out)?;
            io::Result::Ok(out)
        };
        assert!(read(packed.clone()).unwrap() == plain);

        // The last bytes of the first block's check.
        let mut broken = packed.clone();
        let first = blocks(&packed).unwrap()[0].clone();
        let check_end = first.range.start + usize::try_from(first.unpadded).unwrap();
        broken[check_end - 1] ^= 1;
        assert!(read(broken).is_err());
    }

    #[test]
    fn a_file_that_is_no_single_stream_is_left_to_the_ordinary_decoder() {
        let packed = compress(Codec::Xz, b"hello", None);
        assert_eq!(blocks(&packed).unwrap().len(), 1);
        for file in [
            &packed[..packed.len() - 4],
            &[packed.as_slice(), &[0; 4]].concat(),
            b"",
            b"7z",
        ] {
            assert_eq!(blocks(file), None);
        }
    }
}
