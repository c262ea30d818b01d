//! Decoding the blocks of an xz file in parallel.
//!
//! xz writes blocks that are independent of each other when it compresses with threads.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};

use super::decompress::Part;
use super::limits::{DECODER_MEMORY_KIB, XZ_PARALLEL_FROM, XZ_READ_AHEAD};
use crate::xz::{self, Block, blocks};

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
        let todo = blocks(part.rest()).filter(|_| xz::is_known(part.rest()))?;
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
                let _ = sender.send(xz::decode(&part, &block, DECODER_MEMORY_KIB));
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
