//! The disk image of a release: unpacked on the fly, its data against the extents of the manifest, all
//! else against zero.

use std::io::{BufReader, Read};

use anyhow::{Context as _, Result, ensure};
use sha2::Digest as _;

use super::Check;
use super::hashing::{examine, load};
use super::payload::MAX_RECORD;
use crate::digest::Sha256;
use crate::disk::write::{Extent, disk_hash};
use crate::release::index::Release;
use crate::release::names::Role;
use crate::report::manifest::{DiskSummary, Manifest};
use crate::report::progress::Stage;

const CHUNK: usize = 1 << 20;
/// The largest window, as a power of two, for which memory is given (128 MiB, zstd's own default).
const WINDOW: u32 = 27;

/// Checks the disk image of `release`.
pub(super) fn check(check: &Check<'_>, stage: &Stage, folder: &str, release: &Release) {
    let path = |role: Role| {
        let file = release.present().find(|file| file.role == role)?;
        Some((format!("{folder}/{}", file.name), file))
    };
    let Some((image, file)) = path(Role::Disk) else {
        return;
    };
    // Whatever is wrong with the manifest is told where that is checked.
    let manifest = path(Role::Manifest).and_then(|(path, file)| {
        let quiet = check.quiet();
        let bytes = load(&quiet, stage, &path, file, MAX_RECORD)?;
        serde_json::from_slice::<Manifest>(&bytes).ok()
    });
    let unpacked = examine(check, stage, &image, file, |reader| {
        manifest.map(|manifest| unpack(reader, &manifest.disk))
    });
    if let Some(Some(Err(error))) = unpacked {
        check.find(image, format!("{error:#}"));
    }
}

/// Reads a compressed disk image to its end, which is where `disk` says.
fn unpack(reader: &mut dyn Read, disk: &DiskSummary) -> Result<()> {
    let extents: Vec<_> = disk.extents.iter().map(Extent::from).collect();
    ensure!(
        disk_hash(&extents) == disk.sha256,
        "the manifest's hash of the disk is not that of its extents"
    );
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(CHUNK, reader))
            .context("it can't be unpacked")?;
    decoder
        .window_log_max(WINDOW)
        .context("it can't be unpacked")?;
    let mut at = 0;
    for extent in &extents {
        ensure!(
            extent.offset >= at && extent.offset.checked_add(extent.len).is_some(),
            "the manifest's extents of the disk overlap"
        );
        zeros(&mut decoder, at, extent.offset)?;
        let found = hash(&mut decoder, extent)?;
        ensure!(
            found == extent.sha256,
            "the {} bytes at {} have SHA-256 {found}, and the manifest says {}",
            extent.len,
            extent.offset,
            extent.sha256
        );
        at = extent.offset + extent.len;
    }
    ensure!(
        at <= disk.size,
        "the manifest's extents exceed the disk of {} bytes",
        disk.size
    );
    zeros(&mut decoder, at, disk.size)?;
    let more = decoder.read(&mut [0]).context("it can't be unpacked")?;
    ensure!(more == 0, "it has more than {} bytes", disk.size);
    Ok(())
}

/// The next `want` bytes, at most a buffer full.
fn next<'b>(reader: &mut dyn Read, buffer: &'b mut [u8], want: u64) -> Result<&'b [u8]> {
    let len = usize::try_from(want).map_or(buffer.len(), |want| want.min(buffer.len()));
    let part = buffer.get_mut(..len).unwrap_or_default();
    reader.read_exact(part).context("it can't be unpacked")?;
    Ok(part)
}

fn hash(reader: &mut dyn Read, extent: &Extent) -> Result<Sha256> {
    let mut buffer = vec![0; CHUNK];
    let mut hash = sha2::Sha256::new();
    let mut left = extent.len;
    while left > 0 {
        let part = next(reader, &mut buffer, left)?;
        hash.update(part);
        left -= part.len() as u64;
    }
    Ok(Sha256(hash.finalize().into()))
}

fn zeros(reader: &mut dyn Read, from: u64, to: u64) -> Result<()> {
    let none = vec![0; CHUNK];
    let mut buffer = vec![0; CHUNK];
    let mut at = from;
    while at < to {
        let part = next(reader, &mut buffer, to - at)?;
        ensure!(
            none.starts_with(part),
            "between {at} and {} are bytes that the manifest does not have",
            at + part.len() as u64
        );
        at += part.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::manifest;

    fn image() -> (Vec<u8>, DiskSummary) {
        let mut disk = vec![0; 5_000_000];
        disk[..700].fill(1);
        disk[3_000_000..3_100_000].fill(2);
        let extents: Vec<_> = [(0, 700), (3_000_000, 100_000)]
            .map(|(offset, len)| Extent {
                offset,
                len,
                sha256: Sha256::of(&disk[offset as usize..(offset + len) as usize]),
            })
            .into();
        let summary = DiskSummary {
            size: disk.len() as u64,
            sha256: disk_hash(&extents),
            extents: extents.into_iter().map(manifest::Extent::from).collect(),
        };
        (disk, summary)
    }

    fn check(disk: &[u8], summary: &DiskSummary) -> Result<(), String> {
        let packed = zstd::bulk::compress(disk, 1).unwrap();
        unpack(&mut packed.as_slice(), summary).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn only_the_disk_of_the_manifest_passes() {
        let (disk, summary) = image();
        check(&disk, &summary).unwrap();
        for (at, words) in [
            (0, "the 700 bytes at 0"),
            (3_050_000, "bytes at 3000000"),
            (700, "that the manifest does not have"),
            (2_999_999, "that the manifest does not have"),
            (4_999_999, "that the manifest does not have"),
        ] {
            let mut bad = disk.clone();
            bad[at] ^= 1;
            let error = check(&bad, &summary).unwrap_err();
            assert!(error.contains(words), "{at}: {error}");
        }
        assert!(check(&disk[..4_000_000], &summary).is_err());
        let longer = [&disk[..], &[0]].concat();
        assert!(check(&longer, &summary).unwrap_err().contains("more than"));
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        let (disk, summary) = image();
        let mut hash = summary.clone();
        hash.sha256 = Sha256::of(b"");
        assert!(check(&disk, &hash).is_err());
        let mut order = summary.clone();
        order.extents.reverse();
        assert!(check(&disk, &order).is_err());
        let mut size = summary;
        size.size = 3_000_000;
        assert!(check(&disk, &size).unwrap_err().contains("exceed"));
        assert!(unpack(&mut &b"junk"[..], &size).is_err());
    }
}
