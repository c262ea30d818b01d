//! Reading xz files that are in memory, block by block.
//!
//! Files of one stream without padding, which is what Debian's packages and kernel modules are, are
//! read by their index, so that blocks can be read side by side and their checks are made quickly.
//! Everything else goes to the ordinary decoder, which then reads or refuses it.

mod block;
mod index;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;

use block::{BlockReader, Kind};
pub use index::{Block, blocks};

/// A file in memory of which readers can be cut.
pub trait File {
    /// Reads a range.
    type Cut: Read;

    /// The whole file.
    fn whole(&self) -> &[u8];

    /// A reader of `range`, which lies inside.
    fn cut(&self, range: Range<usize>) -> Self::Cut;
}

impl<'a> File for &'a [u8] {
    type Cut = &'a [u8];

    fn whole(&self) -> &[u8] {
        self
    }

    fn cut(&self, range: Range<usize>) -> &'a [u8] {
        self.get(range).unwrap_or_default()
    }
}

/// A reader of `file`, decompressed, whose decoder takes at most `memory_kib`.
pub fn reader<'a, F: File + Read + 'a>(file: F, memory_kib: u32) -> Box<dyn Read + 'a> {
    match (Kind::of(file.whole()), blocks(file.whole())) {
        (Some(kind), Some(todo)) => Box::new(Blocks {
            file,
            kind,
            memory_kib,
            todo: todo.into(),
            now: None,
        }),
        _ => Box::new(lzma_rust2::XzReader::new_mem_limit(file, true, memory_kib)),
    }
}

/// What `block` of `file` holds. The caller has bounded its length: so much memory is taken at once.
///
/// # Errors
/// The block is damaged, or does not have the length that the index says.
pub fn decode<F: File>(file: &F, block: &Block, memory_kib: u32) -> io::Result<Vec<u8>> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let kind = Kind::of(file.whole()).ok_or_else(|| damaged("an xz check of unknown kind"))?;
    let cut = |range| file.cut(range);
    let mut reader = BlockReader::new(file.whole(), block, kind, memory_kib, cut)?;
    let mut out = Vec::with_capacity(usize::try_from(block.uncompressed).unwrap_or(0));
    let most = block.uncompressed.saturating_add(1);
    reader.by_ref().take(most).read_to_end(&mut out)?;
    if out.len() as u64 != block.uncompressed {
        return Err(damaged("an xz block is longer than the index says"));
    }
    Ok(out)
}

/// Whether [`decode`] knows how the blocks of `file` are checked.
pub fn is_known(file: &[u8]) -> bool {
    Kind::of(file).is_some()
}

/// One block after another.
struct Blocks<F: File> {
    file: F,
    kind: Kind,
    memory_kib: u32,
    todo: VecDeque<Block>,
    now: Option<BlockReader<F::Cut>>,
}

impl<F: File> Read for Blocks<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(now) = &mut self.now {
                let n = now.read(buf)?;
                if n > 0 || buf.is_empty() {
                    return Ok(n);
                }
            }
            let Some(block) = self.todo.pop_front() else {
                self.now = None;
                return Ok(0);
            };
            let cut = |range| self.file.cut(range);
            let bytes = self.file.whole();
            let next = BlockReader::new(bytes, &block, self.kind, self.memory_kib, cut)?;
            self.now = Some(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use lzma_rust2::{CheckType, XzOptions, XzWriter};
    use proptest::prelude::*;

    use super::*;

    fn packed(plain: &[u8], check: CheckType, block: Option<u64>) -> Vec<u8> {
        let mut options = XzOptions::with_preset(1);
        options.check_type = check;
        options.block_size = block.and_then(std::num::NonZeroU64::new);
        let mut writer = XzWriter::new(Vec::new(), options).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn read(file: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        reader(file, 1 << 16).read_to_end(&mut out)?;
        Ok(out)
    }

    /// The writer makes no smaller blocks.
    const BLOCK: u64 = 1 << 20;

    fn sample(words: u32) -> Vec<u8> {
        (0..words)
            .flat_map(|i| (i / 3).wrapping_mul(2_654_435_761).to_le_bytes())
            .collect()
    }

    const CHECKS: [CheckType; 4] = [
        CheckType::None,
        CheckType::Crc32,
        CheckType::Crc64,
        CheckType::Sha256,
    ];

    #[test]
    fn files_of_every_check_and_of_several_blocks_are_read() {
        let plain = sample(600_000);
        for check in CHECKS {
            for block in [None, Some(BLOCK)] {
                let file = packed(&plain, check, block);
                assert_eq!(blocks(&file).unwrap().len() > 1, block.is_some());
                assert!(read(&file).unwrap() == plain, "{check:?} {block:?}");
                let twice = [file.clone(), file].concat();
                assert!(read(&twice).unwrap() == plain.repeat(2), "{check:?}");
            }
            assert_eq!(read(&packed(b"", check, None)).unwrap(), b"");
        }
    }

    #[test]
    fn a_wrong_check_is_an_error() {
        let plain = sample(600_000);
        for check in CHECKS.into_iter().skip(1) {
            let file = packed(&plain, check, Some(BLOCK));
            for block in blocks(&file).unwrap() {
                let mut file = file.clone();
                file[block.range.end - 1] ^= 1;
                assert!(read(&file).is_err(), "{check:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn damage_is_told_or_does_no_harm(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let plain = &sample(1250);
            let mut file = packed(plain, CheckType::Crc64, None);
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
            if let Ok(read) = read(&file) {
                prop_assert!(read == *plain);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            flags in 0_u8..16, bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut file = packed(b"some content", CheckType::Crc32, None);
            file[7] = flags;
            file.extend_from_slice(&bytes);
            let _ = read(&file);
            let _ = read(&bytes);
        }
    }
}
