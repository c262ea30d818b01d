//! A throw-away copy of a disk image: sparse, and shared with the original where the file system can.
//!
//! A plain copy rather than a qcow2 overlay, so that the host can read the guest's ESP while it runs.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{SeekFrom as Hole, copy_file_range, ioctl_ficlone, seek};

/// Copies `from` to `to`, holes as holes.
///
/// # Errors
/// Reading, writing, or no space.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("copying {} to {}", from.display(), to.display());
    let source = File::open(from).with_context(doing)?;
    let target = File::create(to).with_context(doing)?;
    let length = source.metadata()?.len();
    if ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    target.set_len(length).with_context(doing)?;
    let mut at = 0;
    while at < length {
        let Ok(begin) = seek(&source, Hole::Data(at)) else {
            break;
        };
        let end = seek(&source, Hole::Hole(begin)).unwrap_or(length);
        copy_range(&source, &target, begin, end).with_context(doing)?;
        at = end;
    }
    Ok(())
}

fn copy_range(source: &File, target: &File, begin: u64, end: u64) -> Result<()> {
    let (mut read_at, mut write_at) = (begin, begin);
    while read_at < end {
        let want = usize::try_from(end - read_at)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        match copy_file_range(
            source,
            Some(&mut read_at),
            target,
            Some(&mut write_at),
            want,
        ) {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => return copy_by_hand(source, target, read_at, end),
        }
    }
    Ok(())
}

fn copy_by_hand(mut source: &File, mut target: &File, begin: u64, end: u64) -> Result<()> {
    source.seek(SeekFrom::Start(begin))?;
    target.seek(SeekFrom::Start(begin))?;
    let mut buffer = vec![0; 1 << 20];
    let mut left = end - begin;
    while left > 0 {
        let part = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        source.read_exact(&mut buffer[..part])?;
        target.write_all(&buffer[..part])?;
        left -= part as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    #[test]
    fn a_copy_has_the_same_bytes_and_stays_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let file = File::create(&a).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"head", 0).unwrap();
        file.write_all_at(b"tail", (48 << 20) + 5).unwrap();
        copy_sparse(&a, &b).unwrap();
        assert!(std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap());
        assert!(std::fs::metadata(&b).unwrap().blocks() * 512 < 8 << 20);
    }
}
