//! Builds the FAT32 image (Microsoft "FAT: General Overview of On-Disk Format", 1.03).
//!
//! Always FAT32: firmware of small boards reads nothing else from a GPT, and takes a volume with too
//! few clusters for FAT16 whatever its boot sector says.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time};

use super::sparse::{PageMap, SparseImage};
use crate::failure::{Failure, Kind};
use crate::stamp::Stamp;

const SECTOR: u64 = 512;
/// Reserved sectors as fatfs lays them out.
const RESERVED_SECTORS: u64 = 8;
/// Fewer clusters make a volume FAT16 by definition; the margin is for drivers that miscount, which
/// the specification warns of.
const MIN_CLUSTERS: u64 = 65_525 + 16;
const MAX_CLUSTERS: u64 = 0x0fff_fff4;
const DIRECTORY_ENTRY: u64 = 32;
/// Sectors of the FSInfo sector and of the copy that belongs to the backup boot sector.
const FS_INFO: u64 = 1;
const BACKUP_FS_INFO: u64 = 7;

/// A file on the partition.
#[derive(Debug, Clone)]
pub struct EspFile {
    /// Path from the root, with `/`; folders are made as needed.
    pub path: String,
    /// Content.
    pub data: Arc<[u8]>,
}

/// What to put on a partition, and every number that would otherwise be chance.
#[derive(Debug, Clone)]
pub struct EspContent {
    /// Files, written in this order.
    pub files: Vec<EspFile>,
    /// Length of the partition in bytes, a multiple of 512.
    pub size: u64,
    /// Volume label: up to eleven of `A-Z`, `0-9`, `-`, `_`.
    pub label: String,
    /// Volume serial number.
    pub serial: u32,
    /// Time of every file and folder.
    pub stamp: Stamp,
}

/// Cluster size and count of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Geometry {
    cluster: u64,
    count: u64,
}

/// The largest of 4 KiB and less that still makes FAT32; more than 4 KiB only for volumes whose FATs
/// would grow beyond 8 MiB.
fn geometry(size: u64) -> Option<Geometry> {
    const GIB: u64 = 1 << 30;
    let largest = match size / GIB {
        0..8 => 4096,
        8..16 => 8192,
        16..32 => 16_384,
        _ => 32_768,
    };
    std::iter::successors(Some(largest), |cluster| Some(cluster / 2))
        .take_while(|cluster| *cluster >= SECTOR)
        .map(|cluster| {
            let sectors = (size / SECTOR).saturating_sub(RESERVED_SECTORS);
            // Each cluster costs its bytes and an entry in both FATs.
            let count = sectors * SECTOR / (cluster + 8);
            Geometry { cluster, count }
        })
        .find(|g| (MIN_CLUSTERS..=MAX_CLUSTERS).contains(&g.count))
}

/// Bytes that files of these paths and lengths occupy in clusters of 4 KiB, with their folders and
/// the FAT of a volume of `size` bytes: to plan a partition before its files exist.
#[must_use]
pub fn required_bytes(files: &[(&str, u64)], size: u64) -> u64 {
    let cluster = geometry(size).map_or(4096, |g| g.cluster);
    // An entry of four bytes for each cluster and for the two reserved numbers, in both FATs.
    let count = geometry(size).map_or(size / cluster, |g| g.count);
    let fats = 2 * (4 * (count + 2)).next_multiple_of(SECTOR);
    clusters(files, cluster) * cluster + fats + RESERVED_SECTORS * SECTOR
}

/// Clusters of files and folders.
fn clusters(files: &[(&str, u64)], cluster: u64) -> u64 {
    // Short entry and one long-name entry for every 13 characters.
    let entry =
        |name: &str| (1 + name.encode_utf16().count().div_ceil(13) as u64) * DIRECTORY_ENTRY;
    let mut folders: std::collections::BTreeMap<&str, u64> = [("", DIRECTORY_ENTRY)].into();
    let mut total = 0;
    for (path, len) in files {
        total += len.div_ceil(cluster);
        let mut at = *path;
        loop {
            let (parent, name) = at.rsplit_once('/').unwrap_or(("", at));
            let known = folders.contains_key(parent);
            *folders.entry(parent).or_insert(2 * DIRECTORY_ENTRY) += entry(name);
            if known {
                break;
            }
            at = parent;
        }
    }
    total
        + folders
            .values()
            .map(|bytes| bytes.div_ceil(cluster))
            .sum::<u64>()
}

/// The partition's image.
///
/// # Errors
/// The partition is too small for FAT32 or for the files; a path or the label can't be stored.
pub fn build(content: &EspContent) -> Result<SparseImage> {
    let size = content.size;
    ensure!(
        size.is_multiple_of(SECTOR),
        "an ESP of {size} bytes does not end at a sector"
    );
    let Some(geometry) = geometry(size) else {
        return Err(Failure::new(
            Kind::DoesNotFit,
            format!(
                "an EFI system partition of {size} bytes can't be FAT32, which needs {MIN_CLUSTERS} \
                 clusters"
            ),
        )
        .hint("raise `disk.esp` to 33 MiB or more")
        .into());
    };
    check_paths(&content.files)?;
    let lens: Vec<_> = content
        .files
        .iter()
        .map(|f| (f.path.as_str(), f.data.len() as u64))
        .collect();
    let needed = clusters(&lens, geometry.cluster);

    set_time(content.stamp);
    let mut map = PageMap::new(size);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(geometry.cluster as u32)
        .volume_id(content.serial)
        .volume_label(label(&content.label)?);
    fatfs::format_volume(&mut map, options).context("formatting the EFI system partition")?;
    {
        let options = FsOptions::new().time_provider(&STAMPED);
        let fs = FileSystem::new(&mut map, options).context("opening the EFI system partition")?;
        let free = u64::from(
            fs.stats()
                .context("counting free clusters")?
                .free_clusters(),
        );
        // The root directory's first cluster is counted in `needed` and taken already.
        if needed > free + 1 {
            return Err(does_not_fit(
                &lens,
                needed * geometry.cluster,
                (free + 1) * geometry.cluster,
            ));
        }
        write_files(&fs, &content.files)?;
        fs.unmount().context("finishing the EFI system partition")?;
    }
    copy_fs_info(&mut map)?;
    Ok(map.finish())
}

fn write_files(fs: &FileSystem<&mut PageMap>, files: &[EspFile]) -> Result<()> {
    let root = fs.root_dir();
    let mut made = BTreeSet::new();
    for file in files {
        let path = &file.path;
        for (at, _) in path.match_indices('/') {
            // FAT names are equal whatever their case.
            if made.insert(path[..at].to_ascii_uppercase()) {
                root.create_dir(&path[..at])
                    .with_context(|| format!("creating {} on the ESP", &path[..at]))?;
            }
        }
        let write = || -> std::io::Result<()> {
            let mut target = root.create_file(path)?;
            target.write_all(&file.data)?;
            target.flush()
        };
        write().with_context(|| format!("writing {path} to the ESP"))?;
    }
    Ok(())
}

/// Paths are relative, without empty or dotted components, and unique without regard to case: two
/// that differ in case alone would be one file.
fn check_paths(files: &[EspFile]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for file in files {
        let path = &file.path;
        ensure!(
            path.split('/').all(|part| !matches!(part, "" | "." | "..")),
            "`{path}` is no path on an EFI system partition"
        );
        ensure!(
            seen.insert(path.to_ascii_uppercase()),
            "`{path}` occurs twice on the EFI system partition (FAT ignores case)"
        );
    }
    Ok(())
}

fn does_not_fit(files: &[(&str, u64)], needed: u64, room: u64) -> anyhow::Error {
    let mut largest = files.to_vec();
    largest.sort_by_key(|(path, len)| (std::cmp::Reverse(*len), *path));
    let list: Vec<_> = largest
        .iter()
        .take(3)
        .map(|(path, len)| format!("{path} ({len} bytes)"))
        .collect();
    Failure::new(
        Kind::DoesNotFit,
        format!(
            "the files of the EFI system partition need {needed} bytes, and it has room for {room}"
        ),
    )
    .hint(format!("the largest are {}", list.join(", ")))
    .hint("raise `disk.esp`")
    .into()
}

fn label(text: &str) -> Result<[u8; 11]> {
    let valid = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_');
    ensure!(
        (1..=11).contains(&text.len()) && text.bytes().all(valid),
        "`{text}` is no FAT volume label: expected 1 to 11 of A-Z, 0-9, `-` and `_`"
    );
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(label)
}

/// The backup boot sector comes with its own FSInfo (section 5), which fatfs leaves empty.
fn copy_fs_info(map: &mut PageMap) -> Result<()> {
    let mut sector = [0; SECTOR as usize];
    map.seek(SeekFrom::Start(FS_INFO * SECTOR))?;
    map.read_exact(&mut sector).context("reading FSInfo")?;
    map.seek(SeekFrom::Start(BACKUP_FS_INFO * SECTOR))?;
    map.write_all(&sector).context("writing the copy of FSInfo")
}

/// fatfs asks a `'static` provider for the time, so the stamp of the image being built waits in the
/// thread that builds it.
#[derive(Debug)]
struct Stamped;

static STAMPED: Stamped = Stamped;

thread_local! {
    static NOW: Cell<DateTime> = const { Cell::new(EPOCH) };
}

/// The first moment that FAT can store.
const EPOCH: DateTime = DateTime {
    date: Date {
        year: 1980,
        month: 1,
        day: 1,
    },
    time: Time {
        hour: 0,
        min: 0,
        sec: 0,
        millis: 0,
    },
};

fn set_time(stamp: Stamp) {
    NOW.set(fat_time(stamp));
}

/// UTC, in FAT's resolution of two seconds and range of 1980 to 2107.
fn fat_time(stamp: Stamp) -> DateTime {
    const FIRST: u64 = 315_532_800;
    const LAST: u64 = 4_354_819_198;
    let seconds = stamp.seconds().clamp(FIRST, LAST) & !1;
    der::DateTime::from_unix_duration(Duration::from_secs(seconds)).map_or(EPOCH, |at| DateTime {
        date: Date {
            year: at.year(),
            month: at.month().into(),
            day: at.day().into(),
        },
        time: Time {
            hour: at.hour().into(),
            min: at.minutes().into(),
            sec: at.seconds().into(),
            millis: 0,
        },
    })
}

impl fatfs::TimeProvider for Stamped {
    fn get_current_date(&self) -> Date {
        NOW.get().date
    }

    fn get_current_date_time(&self) -> DateTime {
        NOW.get()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::failure::kind_of;

    const MIB: u64 = 1 << 20;

    fn content(size: u64, files: &[(&str, usize)]) -> EspContent {
        EspContent {
            files: files
                .iter()
                .map(|(path, len)| EspFile {
                    path: (*path).into(),
                    data: (0..*len).map(|i| (i % 251) as u8 + 1).collect(),
                })
                .collect(),
            size,
            label: "ESP".into(),
            serial: 0x1234_5678,
            stamp: Stamp::from_seconds(1_767_225_601),
        }
    }

    fn flat(image: &SparseImage) -> Vec<u8> {
        let mut bytes = vec![0; image.size() as usize];
        for (at, data) in image.extents() {
            bytes[at as usize..at as usize + data.len()].copy_from_slice(data);
        }
        bytes
    }

    #[test]
    fn files_are_read_back_with_the_stamp() {
        let wanted = content(
            64 * MIB,
            &[
                ("EFI/BOOT/BOOTX64.EFI", 100_000),
                ("EFI/Linux/hullwright_1.0.0~rc.1+3-0.efi", 5_000_001),
                ("loader/loader.conf", 30),
                ("loader/empty", 0),
            ],
        );
        let image = build(&wanted).unwrap();
        assert_eq!(
            image,
            build(&wanted).unwrap(),
            "the same content gives the same bytes"
        );
        let bytes = flat(&image);
        assert_eq!(
            bytes[512..1024],
            bytes[7 * 512..8 * 512],
            "FSInfo has its copy"
        );
        let fs = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        assert_eq!(fs.fat_type(), FatType::Fat32);
        assert_eq!(fs.volume_id(), 0x1234_5678);
        assert_eq!(fs.volume_label(), "ESP");
        for file in &wanted.files {
            let mut data = Vec::new();
            fs.root_dir()
                .open_file(&file.path)
                .unwrap()
                .read_to_end(&mut data)
                .unwrap();
            assert!(data == *file.data, "{}", file.path);
        }
        let names: Vec<_> = fs
            .root_dir()
            .open_dir("EFI/Linux")
            .unwrap()
            .iter()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, [".", "..", "hullwright_1.0.0~rc.1+3-0.efi"]);
        let expected = Date {
            year: 2026,
            month: 1,
            day: 1,
        };
        for entry in fs.root_dir().iter() {
            let entry = entry.unwrap();
            assert_eq!(
                (entry.modified().date, entry.created().date),
                (expected, expected)
            );
        }
    }

    #[test]
    fn every_size_is_fat32_or_refused() {
        for (size, cluster) in [
            (33 * MIB, Some(512)),
            (256 * MIB, Some(2048)),
            (512 * MIB, Some(4096)),
            (1024 * MIB, Some(4096)),
            (100 * 1024 * MIB, Some(32_768)),
            (32 * MIB, None),
            (0, None),
        ] {
            assert_eq!(geometry(size).map(|g| g.cluster), cluster, "{size}");
            if let Some(cluster) = cluster {
                let image = build(&content(size, &[("a", 1)])).unwrap();
                let (_, first) = image.extents().next().unwrap();
                assert_eq!(u64::from(first[13]) * 512, cluster, "{size}");
            }
        }
        let error = build(&content(16 * MIB, &[])).unwrap_err();
        assert_eq!(kind_of(&error), Kind::DoesNotFit);
    }

    #[test]
    fn the_last_cluster_can_be_used_and_not_one_more() {
        let size = 40 * MIB;
        let geometry = geometry(size).unwrap();
        // What formatting really gives, from an image with one small file.
        let free = {
            let bytes = flat(&build(&content(size, &[("a", 1)])).unwrap());
            let fs = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
            u64::from(fs.stats().unwrap().free_clusters()) + 1
        };
        let full = (free * geometry.cluster) as usize;
        assert!(build(&content(size, &[("a", full)])).is_ok());
        let error = build(&content(size, &[("a", full + 1)])).unwrap_err();
        assert_eq!(kind_of(&error), Kind::DoesNotFit);
        assert!(required_bytes(&[("a", full as u64)], size) <= size);
        assert!(required_bytes(&[("a", size)], size) > size);
    }

    #[test]
    fn memory_grows_with_content_and_not_with_the_partition() {
        let image = build(&content(8 * 1024 * MIB - 512, &[("a", 10)])).unwrap();
        assert!(image.data_len() < 128 * 1024, "{}", image.data_len());
    }

    #[test]
    fn paths_and_labels_that_fat_cannot_hold_are_refused() {
        for path in ["", "/a", "a//b", "../a", "a/."] {
            assert!(build(&content(64 * MIB, &[(path, 1)])).is_err(), "{path}");
        }
        assert!(build(&content(64 * MIB, &[("a/B", 1), ("A/b", 1)])).is_err());
        for text in ["", "too long a label", "esp"] {
            assert!(label(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_outside_of_the_range_are_clamped() {
        let year = |seconds| fat_time(Stamp::from_seconds(seconds)).date.year;
        assert_eq!(
            (year(0), year(u64::MAX), year(1_767_225_600)),
            (1980, 2107, 2026)
        );
    }
}
