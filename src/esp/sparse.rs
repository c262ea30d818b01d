//! An image in memory that holds only what was written, so that it costs what its content costs.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

/// Granularity of writing: large enough that a map of pages is cheap.
const PAGE: u64 = 64 * 1024;
/// Granularity of holes in the finished image.
pub const BLOCK: usize = 4096;

/// A finished image: runs of data, everything between them zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseImage {
    size: u64,
    runs: Vec<Run>,
}

/// Data without a hole in it. It begins and ends at blocks of 4 KiB that are not all zero.
#[derive(Debug, Clone)]
pub struct Run {
    /// Where it begins, in bytes.
    pub offset: u64,
    pieces: Vec<Piece>,
}

/// A part of a run.
#[derive(Debug, Clone)]
enum Piece {
    Own(Vec<u8>),
    Shared(Arc<Vec<u8>>, Range<usize>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes, range) => &bytes[range.clone()],
        }
    }
}

impl Run {
    /// Its length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no run is empty")]
    pub fn len(&self) -> u64 {
        self.pieces().map(|piece| piece.len() as u64).sum()
    }

    /// Its bytes: one piece after the other, all of whole blocks but perhaps the image's last.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(Piece::bytes)
    }
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        // How the bytes are cut into pieces does not count.
        self.offset == other.offset && self.pieces().flatten().eq(other.pieces().flatten())
    }
}

impl Eq for Run {}

impl SparseImage {
    /// Length of the whole image in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The runs of data, ascending, never adjacent.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Bytes in the runs.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.runs.iter().map(Run::len).sum()
    }
}

/// A page map that reads and writes like a file of fixed length.
#[derive(Debug)]
pub struct PageMap {
    size: u64,
    position: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
    /// Whole blocks that lie elsewhere, by their offsets. No page has anything there.
    shared: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl PageMap {
    /// `size` zero bytes.
    #[must_use]
    pub const fn new(size: u64) -> Self {
        Self {
            size,
            position: 0,
            pages: BTreeMap::new(),
            shared: BTreeMap::new(),
        }
    }

    /// Puts `data` at `offset`, where nothing is and nothing will be written: its whole blocks as they
    /// lie, without a copy, if `offset` is at one.
    ///
    /// # Errors
    /// It does not fit.
    pub fn place(&mut self, offset: u64, data: &Arc<Vec<u8>>) -> io::Result<()> {
        let room = self.size.checked_sub(offset);
        if room.is_none_or(|room| room < data.len() as u64) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let whole = if offset.is_multiple_of(BLOCK as u64) {
            whole_blocks(data).len()
        } else {
            0
        };
        if whole > 0 {
            self.shared.insert(offset, Arc::clone(data));
        }
        self.seek(SeekFrom::Start(offset + whole as u64))?;
        self.write_all(data.get(whole..).unwrap_or_default())
    }

    /// The data as runs, without the zeros.
    #[must_use]
    pub fn finish(self) -> SparseImage {
        let mut pieces = BTreeMap::new();
        for (offset, data) in &self.shared {
            for range in filled(whole_blocks(data)) {
                let piece = Piece::Shared(Arc::clone(data), range.clone());
                pieces.insert(offset + range.start as u64, piece);
            }
        }
        for (index, page) in self.pages {
            let offset = index * PAGE;
            let len = PAGE.min(self.size - offset) as usize;
            let page = page.get(..len).unwrap_or_default();
            for range in filled(page) {
                let bytes = page.get(range.clone()).unwrap_or_default();
                pieces.insert(offset + range.start as u64, Piece::Own(bytes.to_vec()));
            }
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut end = 0;
        for (offset, piece) in pieces {
            let len = piece.bytes().len() as u64;
            match runs.last_mut() {
                Some(last) if end == offset => last.pieces.push(piece),
                _ => runs.push(Run {
                    offset,
                    pieces: vec![piece],
                }),
            }
            end = offset + len;
        }
        SparseImage {
            size: self.size,
            runs,
        }
    }

    /// Number of the page at the position, the offset in it, and how many of `wanted` bytes are left
    /// in page and image.
    fn span(&self, wanted: usize) -> (u64, usize, usize) {
        let offset = self.position % PAGE;
        let left = (PAGE - offset).min(self.size.saturating_sub(self.position));
        let len = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        (self.position / PAGE, offset as usize, len)
    }
}

/// The runs of blocks in `bytes` that are not all zero.
fn filled(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        let start = number * BLOCK;
        let end = start + block.len();
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}

/// The whole blocks of `data`.
fn whole_blocks(data: &[u8]) -> &[u8] {
    data.get(..data.len() - data.len() % BLOCK)
        .unwrap_or_default()
}

impl Read for PageMap {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (index, offset, len) = self.span(buffer.len());
        let before = self.shared.range(..=self.position).next_back();
        let shared = before.and_then(|(at, data)| {
            let data = whole_blocks(data).get((self.position - at) as usize..)?;
            (!data.is_empty()).then_some(data)
        });
        if let Some(data) = shared {
            let len = len.min(data.len());
            buffer[..len].copy_from_slice(&data[..len]);
            self.position += len as u64;
            return Ok(len);
        }
        let next = self.shared.range(self.position..).next();
        let left = next.map_or(u64::MAX, |(at, _)| at - self.position);
        let len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
        let target = &mut buffer[..len];
        match self.pages.get(&index) {
            Some(page) => target.copy_from_slice(&page[offset..offset + len]),
            None => target.fill(0),
        }
        self.position += len as u64;
        Ok(len)
    }
}

impl Write for PageMap {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let (index, offset, len) = self.span(data.len());
        let data = &data[..len];
        if let Some(page) = self.pages.get_mut(&index) {
            page[offset..offset + len].copy_from_slice(data);
        } else if data.iter().any(|byte| *byte != 0) {
            // Zeros over nothing stay nothing: formatting clears areas as large as the FATs.
            let mut page = vec![0; PAGE as usize].into_boxed_slice();
            page[offset..offset + len].copy_from_slice(data);
            self.pages.insert(index, page);
        }
        self.position += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for PageMap {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
            SeekFrom::End(delta) => self.size.checked_add_signed(delta),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u64 = 300_000;

    /// The image as bytes, whose runs are as they should be.
    fn flat(image: &SparseImage) -> Vec<u8> {
        let mut bytes = vec![0; image.size() as usize];
        let mut end = None;
        for run in image.runs() {
            assert!(end.is_none_or(|end| end < run.offset));
            let mut at = run.offset as usize;
            for piece in run.pieces() {
                assert!(at.is_multiple_of(BLOCK));
                assert!(piece.chunks(BLOCK).all(|b| b.iter().any(|b| *b != 0)));
                bytes[at..at + piece.len()].copy_from_slice(piece);
                at += piece.len();
            }
            assert_eq!(run.offset + run.len(), at as u64);
            end = Some(at as u64);
        }
        bytes
    }

    proptest! {
        #[test]
        fn a_page_map_is_a_file_with_holes(
            writes in proptest::collection::vec((0..SIZE, 0..9000_usize, 0..3_u8), 0..12),
        ) {
            let mut map = PageMap::new(SIZE);
            let mut plain = vec![0; SIZE as usize];
            for (at, len, value) in writes {
                let len = len.min((SIZE - at) as usize);
                map.seek(SeekFrom::Start(at)).unwrap();
                map.write_all(&vec![value; len]).unwrap();
                plain[at as usize..at as usize + len].fill(value);
            }
            let mut read = Vec::new();
            map.rewind().unwrap();
            map.read_to_end(&mut read).unwrap();
            prop_assert_eq!(&read, &plain);
            prop_assert_eq!(flat(&map.finish()), plain);
        }

        #[test]
        fn what_is_placed_is_as_if_it_were_written(
            files in proptest::collection::vec(
                (0..200_u64, proptest::collection::vec((0..6000_usize, 0..2_u8), 0..9)), 0..5),
        ) {
            let (mut placed, mut written) = (PageMap::new(SIZE), PageMap::new(SIZE));
            let mut at = 0;
            for (gap, parts) in files {
                // At blocks or not, behind each other or not.
                at += gap.saturating_sub(100) * 512;
                let data: Vec<u8> = parts.iter().flat_map(|(len, b)| vec![*b; *len]).collect();
                let data = Arc::new(data);
                if at + data.len() as u64 > SIZE {
                    prop_assert!(placed.place(at, &data).is_err());
                    break;
                }
                placed.place(at, &data).unwrap();
                written.seek(SeekFrom::Start(at)).unwrap();
                written.write_all(&data).unwrap();
                at += data.len().next_multiple_of(512) as u64;
            }
            let read = |map: &mut PageMap| {
                let mut bytes = Vec::new();
                map.rewind().unwrap();
                map.read_to_end(&mut bytes).unwrap();
                bytes
            };
            prop_assert_eq!(read(&mut placed), read(&mut written));
            let (placed, written) = (placed.finish(), written.finish());
            prop_assert_eq!(flat(&placed), flat(&written));
            prop_assert_eq!(&placed, &written);
            let ends = |image: &SparseImage| -> Vec<(u64, u64)> {
                image.runs().iter().map(|run| (run.offset, run.len())).collect()
            };
            prop_assert_eq!(ends(&placed), ends(&written));
        }
    }

    #[test]
    fn writing_past_the_end_fails() {
        let mut map = PageMap::new(10);
        map.seek(SeekFrom::Start(8)).unwrap();
        assert!(map.write_all(&[1; 3]).is_err());
    }
}
