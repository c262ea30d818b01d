//! An image in memory that holds only what was written, so that it costs what its content costs.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// Granularity of writing: large enough that a map of pages is cheap.
const PAGE: u64 = 64 * 1024;
/// Granularity of holes in the finished image.
pub const BLOCK: usize = 4096;

/// A finished image: runs of data, everything between them zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseImage {
    size: u64,
    runs: Vec<(u64, Vec<u8>)>,
}

impl SparseImage {
    /// Length of the whole image in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The runs of data with their offsets, ascending, never adjacent. A run begins and ends at
    /// blocks of 4 KiB that are not all zero.
    pub fn extents(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.runs
            .iter()
            .map(|(offset, data)| (*offset, data.as_slice()))
    }

    /// Bytes in the runs.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.runs.iter().map(|(_, data)| data.len() as u64).sum()
    }
}

/// A page map that reads and writes like a file of fixed length.
#[derive(Debug)]
pub struct PageMap {
    size: u64,
    position: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl PageMap {
    /// `size` zero bytes.
    #[must_use]
    pub const fn new(size: u64) -> Self {
        Self {
            size,
            position: 0,
            pages: BTreeMap::new(),
        }
    }

    /// The data as runs, without the zeros.
    #[must_use]
    pub fn finish(self) -> SparseImage {
        // First how long they are: a run that grows moves, and the longest is a whole UKI.
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (index, page) in &self.pages {
            for (number, block) in page.chunks(BLOCK).enumerate() {
                let offset = index * PAGE + (number * BLOCK) as u64;
                let end = self.size.min(offset + block.len() as u64);
                if offset >= end || block.iter().all(|byte| *byte == 0) {
                    continue;
                }
                match ranges.last_mut() {
                    Some(last) if last.end == offset => last.end = end,
                    _ => ranges.push(offset..end),
                }
            }
        }
        let runs = ranges.into_iter().map(|range| {
            let mut data = Vec::with_capacity((range.end - range.start) as usize);
            for (index, page) in self
                .pages
                .range(range.start / PAGE..=(range.end - 1) / PAGE)
            {
                let start = index * PAGE;
                let from = range.start.saturating_sub(start).min(PAGE) as usize;
                let to = (range.end - start).min(PAGE) as usize;
                data.extend_from_slice(&page[from..to]);
            }
            (range.start, data)
        });
        SparseImage {
            size: self.size,
            runs: runs.collect(),
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

impl Read for PageMap {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (index, offset, len) = self.span(buffer.len());
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

    proptest! {
        #[test]
        fn a_page_map_is_a_file_with_holes(
            writes in proptest::collection::vec((0..300_000_u64, 0..9000_usize, 0..3_u8), 0..12),
        ) {
            let size = 300_000_u64;
            let mut map = PageMap::new(size);
            let mut plain = vec![0; size as usize];
            for (at, len, value) in writes {
                let len = len.min((size - at) as usize);
                map.seek(SeekFrom::Start(at)).unwrap();
                map.write_all(&vec![value; len]).unwrap();
                plain[at as usize..at as usize + len].fill(value);
            }
            let mut read = Vec::new();
            map.rewind().unwrap();
            map.read_to_end(&mut read).unwrap();
            prop_assert_eq!(&read, &plain);

            let image = map.finish();
            let mut rebuilt = vec![0; size as usize];
            let mut last_end = None;
            for (at, data) in image.extents() {
                prop_assert!(last_end.is_none_or(|end| end < at));
                prop_assert!(data[..data.len().min(BLOCK)].iter().any(|b| *b != 0));
                rebuilt[at as usize..at as usize + data.len()].copy_from_slice(data);
                last_end = Some(at + data.len() as u64);
            }
            prop_assert_eq!(rebuilt, plain);
        }
    }

    #[test]
    fn writing_past_the_end_fails() {
        let mut map = PageMap::new(10);
        map.seek(SeekFrom::Start(8)).unwrap();
        assert!(map.write_all(&[1; 3]).is_err());
    }
}
