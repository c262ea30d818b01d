//! `disk.raw.zst`: a disk image as zstd frames (RFC 8878), one for each 8 MiB of it.
//!
//! A decoder reads frames one after the other as one stream. The grid is fixed and every frame depends
//! on its bytes only, so neither the number of threads nor the file system's idea of holes changes
//! the result. A cell of zeros, which most are, is the same frame each time; where the file system
//! knows a hole, it is not even read.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rayon::prelude::*;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

/// Bytes of a frame's content. Each frame is a single segment, whose window is its content, and
/// 8 MiB is what every decoder is asked to support (section 3.1.1.1.2).
const CELL: usize = 8 << 20;
/// `/usr`, initrd, kernel and modules are compressed already, which higher levels hardly change.
const LEVEL: i32 = 3;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the disk.
    pub raw: u64,
    /// Bytes of the frames.
    pub compressed: u64,
}

/// Writes the disk image `raw` to `to`.
///
/// # Errors
/// Reading, writing, or a disk image that changes meanwhile.
pub fn write(raw: &Path, to: &mut impl Write) -> Result<Written> {
    let context = || format!("compressing {}", raw.display());
    let disk = File::open(raw).with_context(context)?;
    let size = disk.metadata().with_context(context)?.len();
    let cells: Vec<(u64, usize)> = (0..size)
        .step_by(CELL)
        .map(|offset| {
            let left = usize::try_from(size - offset).unwrap_or(CELL);
            (offset, left.min(CELL))
        })
        .collect();
    let zeros = compress(&vec![0; CELL]).with_context(context)?;
    let mut compressed = 0;
    // A batch is what waits in memory to be written.
    let batch = rayon::current_num_threads().saturating_mul(4).max(1);
    for cells in cells.chunks(batch) {
        let frames: Vec<Option<Vec<u8>>> = cells
            .par_iter()
            .map(|(offset, len)| frame(&disk, *offset, *len))
            .collect::<Result<_>>()
            .with_context(context)?;
        for frame in &frames {
            let frame = frame.as_deref().unwrap_or(&zeros);
            to.write_all(frame).with_context(context)?;
            compressed += frame.len() as u64;
        }
    }
    to.flush().with_context(context)?;
    Ok(Written {
        raw: size,
        compressed,
    })
}

/// The frame of a cell; `None` for a whole one of zeros.
fn frame(disk: &File, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
    let whole = len == CELL;
    if whole && is_hole(disk, offset, len) {
        return Ok(None);
    }
    let mut data = vec![0; len];
    disk.read_exact_at(&mut data, offset)
        .with_context(|| format!("reading {len} bytes at {offset}"))?;
    if whole && data.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    compress(&data).map(Some)
}

/// Whether the file system knows that there is nothing but zeros.
fn is_hole(disk: &File, offset: u64, len: usize) -> bool {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;

    // Seeking moves the position that all threads share; nobody reads by it.
    match seek(disk, SeekFrom::Data(offset)) {
        Ok(data) => data >= offset + len as u64,
        Err(Errno::NXIO) => true,
        Err(_) => false,
    }
}

fn compress(data: &[u8]) -> Result<Vec<u8>> {
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(compressor.compress(data)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn disk(size: u64, data: &[(u64, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        for (at, bytes) in data {
            file.as_file().write_all_at(bytes, *at).unwrap();
        }
        file
    }

    fn compressed(path: &Path) -> Vec<u8> {
        let mut out = Vec::new();
        let written = write(path, &mut out).unwrap();
        assert_eq!(written.compressed, out.len() as u64);
        assert_eq!(written.raw, std::fs::metadata(path).unwrap().len());
        out
    }

    #[test]
    fn holes_and_written_zeros_are_the_same_and_nearly_nothing() {
        let zeros = vec![0; CELL];
        let data: &[(u64, &[u8])] = &[(3, b"gpt"), (40 * MIB - 1, b"x"), (130 * MIB, b"end")];
        let sparse = disk(256 * MIB + 5, data);
        let mut filled = vec![(64 * MIB, zeros.as_slice()), (9 * MIB, &zeros[..4096])];
        filled.extend(data);
        let filled = disk(256 * MIB + 5, &filled);
        let bytes = compressed(sparse.path());
        assert_eq!(bytes, compressed(filled.path()));
        assert!(bytes.len() < 16 << 10, "{}", bytes.len());
        let plain = zstd::decode_all(bytes.as_slice()).unwrap();
        assert!(plain == std::fs::read(sparse.path()).unwrap());
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let noise: Vec<u8> = (0..3 * CELL as u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let disk = disk(64 * MIB, &[(5 * MIB, &noise)]);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            pool.install(|| compressed(disk.path()))
        };
        assert!(with(1) == with(7));
    }

    #[test]
    fn a_changed_byte_fails_the_checksum() {
        let disk = disk(1000, &[(0, &[7; 900])]);
        let good = compressed(disk.path());
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        assert!(zstd::decode_all(good.as_slice()).is_ok());
        assert!(zstd::decode_all(bad.as_slice()).is_err());
    }

    #[test]
    fn a_missing_disk_is_named() {
        let error = write(Path::new("/nonexistent/disk.raw"), &mut Vec::new()).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/disk.raw"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn any_disk_reads_back(
            size in 0..3 * CELL as u64,
            data in proptest::collection::vec((0..3 * CELL as u64, 1..60_000_usize, any::<u8>()), 0..4),
        ) {
            let disk = disk(size, &[]);
            for (at, len, byte) in data {
                let len = len.min(usize::try_from(size.saturating_sub(at)).unwrap());
                disk.as_file().write_all_at(&vec![byte; len], at.min(size)).unwrap();
            }
            let bytes = compressed(disk.path());
            prop_assert!(zstd::decode_all(bytes.as_slice()).unwrap() == std::fs::read(disk.path()).unwrap());
        }
    }
}
