//! Builds the FAT32 image: plan every cluster, then write each structure once.
//!
//! Always FAT32: firmware of small boards reads nothing else from a GPT, and takes a volume with too
//! few clusters for FAT16 whatever its boot sector says. Files lie in one piece, in the order given.
//! (fatfs 0.3 gives the dot entries of folders a long name, which fsck.vfat reports as damage, so it
//! serves for reading only.)

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use super::format::{
    ATTRIBUTE_ARCHIVE, ATTRIBUTE_DIRECTORY, ATTRIBUTE_LABEL, BACKUP, END_OF_CHAIN, ENTRY_LEN, FATS,
    FIRST_CLUSTER, FS_INFO, FatTime, Geometry, LONG_NAME_UNITS, MAX_CLUSTERS, MIN_CLUSTERS,
    MIN_RESERVED, RESERVED_ENTRIES, SECTOR, boot_sector, fs_info, long_entries, short_entry,
};
use super::names;
use super::sparse::{PageMap, SparseImage};
use crate::failure::{Failure, Kind};
use crate::stamp::Stamp;

/// A file on the partition.
#[derive(Debug, Clone)]
pub struct EspFile {
    /// Path from the root, with `/`; folders are made as needed.
    pub path: String,
    /// Content.
    pub data: Arc<Vec<u8>>,
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

/// The geometry with the largest clusters, up to 4 KiB, that still make FAT32; more than 4 KiB only
/// for volumes whose FATs would grow beyond 8 MiB.
fn geometry(size: u64) -> Option<Geometry> {
    const GIB: u64 = 1 << 30;
    let largest = match size / GIB {
        0..8 => 8,
        8..16 => 16,
        16..32 => 32,
        _ => 64,
    };
    let sectors = u32::try_from(size / SECTOR).ok()?;
    std::iter::successors(Some(largest), |n| Some(n / 2))
        .take_while(|per_cluster| *per_cluster >= 1)
        .find_map(|per_cluster| geometry_with(sectors, per_cluster))
}

fn geometry_with(sectors: u32, per_cluster: u8) -> Option<Geometry> {
    let total = u64::from(sectors);
    let per = u64::from(per_cluster);
    // Each cluster costs its sectors and an entry of four bytes in both FATs.
    let at_most = total.checked_sub(MIN_RESERVED)? * SECTOR / (per * SECTOR + 4 * FATS);
    let fat = (4 * (at_most + 2)).div_ceil(SECTOR);
    // Clusters begin at multiples of their size, which flash and page caches like.
    let data = (MIN_RESERVED + FATS * fat).next_multiple_of(per);
    let clusters = total.checked_sub(data)? / per;
    if !(MIN_CLUSTERS..=MAX_CLUSTERS).contains(&clusters) {
        return None;
    }
    Some(Geometry {
        sectors,
        sectors_per_cluster: per_cluster,
        reserved: u16::try_from(data - FATS * fat).ok()?,
        fat_sectors: u32::try_from(fat).ok()?,
        clusters: u32::try_from(clusters).ok()?,
    })
}

impl Geometry {
    /// Bytes of a cluster.
    fn cluster_len(&self) -> u64 {
        u64::from(self.sectors_per_cluster) * SECTOR
    }

    fn fat_offset(&self, number: u64) -> u64 {
        (u64::from(self.reserved) + number * u64::from(self.fat_sectors)) * SECTOR
    }

    fn cluster_offset(&self, cluster: u32) -> u64 {
        self.fat_offset(FATS) + u64::from(cluster - FIRST_CLUSTER) * self.cluster_len()
    }
}

/// Bytes of a partition of `size` bytes that files of these paths and lengths take, with folders and
/// FATs: to plan a partition before its files exist.
#[must_use]
pub fn required_bytes(files: &[(&str, u64)], size: u64) -> u64 {
    let (cluster, overhead) = geometry(size).map_or((4096, MIN_RESERVED * SECTOR), |g| {
        (g.cluster_len(), g.fat_offset(FATS))
    });
    clusters(files, cluster) * cluster + overhead
}

/// Clusters of files and folders.
fn clusters(files: &[(&str, u64)], cluster: u64) -> u64 {
    // A short entry and one for every 13 characters of the long name.
    let entry = |name: &str| {
        ((1 + name.encode_utf16().count().div_ceil(LONG_NAME_UNITS)) * ENTRY_LEN) as u64
    };
    let mut folders: BTreeMap<&str, u64> = [("", ENTRY_LEN as u64)].into();
    let mut total = 0;
    for (path, len) in files {
        total += len.div_ceil(cluster);
        let mut at = *path;
        loop {
            let (parent, name) = at.rsplit_once('/').unwrap_or(("", at));
            let known = folders.contains_key(parent);
            *folders.entry(parent).or_insert(2 * ENTRY_LEN as u64) += entry(name);
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

/// A folder being planned.
#[derive(Debug, Default)]
struct Folder {
    entries: Vec<(String, Node)>,
}

#[derive(Debug)]
enum Node {
    File(Arc<Vec<u8>>),
    Folder(Folder),
}

impl Folder {
    /// Adds a file below this folder. FAT ignores case: folders that differ in case alone are one,
    /// files that do are an error.
    fn add(&mut self, path: &str, data: &Arc<Vec<u8>>) -> Result<()> {
        let (name, rest) = match path.split_once('/') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        if let Some(problem) = names::problem(name) {
            anyhow::bail!("`{name}` can't be stored on the EFI system partition: {problem}");
        }
        let same = |known: &str| known.to_lowercase() == name.to_lowercase();
        let existing = self.entries.iter_mut().find(|(known, _)| same(known));
        match (existing, rest) {
            (Some((_, Node::Folder(folder))), Some(rest)) => folder.add(rest, data),
            (Some(_), _) => anyhow::bail!(
                "`{name}` occurs twice in a folder of the EFI system partition, where case is ignored"
            ),
            (None, Some(rest)) => {
                let mut folder = Self::default();
                folder.add(rest, data)?;
                self.entries.push((name.into(), Node::Folder(folder)));
                Ok(())
            }
            (None, None) => {
                u32::try_from(data.len()).context("a file on FAT can't be larger than 4 GiB")?;
                self.entries.push((name.into(), Node::File(data.clone())));
                Ok(())
            }
        }
    }

    /// Length of the folder's entries, `own` of which it has besides its content.
    fn len(&self, own: usize) -> usize {
        let mut taken = BTreeSet::new();
        let entries: usize = self
            .entries
            .iter()
            .map(|(name, _)| {
                let long = names::choose(name, &mut taken).needs_long;
                1 + if long {
                    name.encode_utf16().count().div_ceil(LONG_NAME_UNITS)
                } else {
                    0
                }
            })
            .sum();
        (own + entries) * ENTRY_LEN
    }
}

/// Writes structures to their places and hands out clusters.
struct Writer {
    geometry: Geometry,
    map: PageMap,
    fat: Vec<u8>,
    time: FatTime,
}

impl Writer {
    fn put(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.map.seek(SeekFrom::Start(offset))?;
        self.map
            .write_all(data)
            .with_context(|| format!("writing {} bytes at {offset} of the ESP", data.len()))
    }

    /// Takes the clusters for `len` bytes; no bytes have no cluster, which is number 0.
    fn allocate(&mut self, len: usize) -> u32 {
        let count = (len as u64).div_ceil(self.geometry.cluster_len()) as u32;
        if count == 0 {
            return 0;
        }
        let first = self.next_cluster();
        for number in first + 1..first + count {
            self.fat.extend_from_slice(&number.to_le_bytes());
        }
        self.fat.extend_from_slice(&END_OF_CHAIN.to_le_bytes());
        first
    }

    fn next_cluster(&self) -> u32 {
        (self.fat.len() / 4) as u32
    }

    /// Writes a folder whose clusters begin at `cluster`, beginning with the entries in `bytes`, then
    /// everything below it.
    fn folder(&mut self, folder: &Folder, cluster: u32, mut bytes: Vec<u8>) -> Result<()> {
        let mut taken = BTreeSet::new();
        let mut below = Vec::new();
        for (name, node) in &folder.entries {
            let names = names::choose(name, &mut taken);
            let (first, attribute, len) = match node {
                Node::File(data) => {
                    let first = self.allocate(data.len());
                    if first != 0 {
                        self.map
                            .place(self.geometry.cluster_offset(first), data)
                            .with_context(|| format!("writing `{name}` of the ESP"))?;
                    }
                    (first, ATTRIBUTE_ARCHIVE, data.len() as u32)
                }
                Node::Folder(child) => {
                    let first = self.allocate(child.len(2));
                    below.push((child, first));
                    (first, ATTRIBUTE_DIRECTORY, 0)
                }
            };
            if names.needs_long {
                bytes.extend(long_entries(name, &names.short).concat());
            }
            bytes.extend(short_entry(&names.short, attribute, first, len, self.time));
        }
        self.put(self.geometry.cluster_offset(cluster), &bytes)?;
        // The root is cluster 0 where it is somebody's parent (section 6.5).
        let parent = if cluster == FIRST_CLUSTER { 0 } else { cluster };
        for (child, first) in below {
            let mut dots = Vec::new();
            for (name, at) in [(b".          ", first), (b"..         ", parent)] {
                dots.extend(short_entry(name, ATTRIBUTE_DIRECTORY, at, 0, self.time));
            }
            self.folder(child, first, dots)?;
        }
        Ok(())
    }

    /// Writes what describes the volume, when all clusters are handed out.
    fn finish(mut self, serial: u32, label: [u8; 11]) -> Result<SparseImage> {
        let boot = boot_sector(&self.geometry, serial, label);
        let next = self.next_cluster();
        let free = self.geometry.clusters - (next - FIRST_CLUSTER);
        let info = fs_info(free, if free == 0 { u32::MAX } else { next });
        for at in [0, BACKUP] {
            self.put(at * SECTOR, &boot)?;
            self.put((at + FS_INFO) * SECTOR, &info)?;
        }
        let fat = std::mem::take(&mut self.fat);
        for number in 0..FATS {
            self.put(self.geometry.fat_offset(number), &fat)?;
        }
        Ok(self.map.finish())
    }
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
                "an EFI system partition of {size} bytes can't be FAT32: it needs {MIN_CLUSTERS} \
                 clusters of 512 bytes to 32 KiB"
            ),
        )
        .hint("set `disk.esp` to 33 MiB or more")
        .into());
    };
    let label = label(&content.label)?;
    let mut root = Folder::default();
    for file in &content.files {
        root.add(&file.path, &file.data)
            .with_context(|| format!("adding {} to the ESP", file.path))?;
    }
    let lens: Vec<_> = content
        .files
        .iter()
        .map(|f| (f.path.as_str(), f.data.len() as u64))
        .collect();
    let needed = clusters(&lens, geometry.cluster_len());
    if needed > geometry.clusters.into() {
        return Err(does_not_fit(&lens, needed, &geometry));
    }
    let mut writer = Writer {
        geometry,
        map: PageMap::new(size),
        fat: RESERVED_ENTRIES
            .iter()
            .flat_map(|e| e.to_le_bytes())
            .collect(),
        time: FatTime::new(content.stamp),
    };
    let first = writer.allocate(root.len(1));
    let label_entry = short_entry(&label, ATTRIBUTE_LABEL, 0, 0, writer.time);
    writer.folder(&root, first, label_entry.to_vec())?;
    writer.finish(content.serial, label)
}

fn does_not_fit(files: &[(&str, u64)], clusters: u64, geometry: &Geometry) -> anyhow::Error {
    let mut largest = files.to_vec();
    largest.sort_by_key(|(path, len)| (std::cmp::Reverse(*len), *path));
    let list: Vec<_> = largest
        .iter()
        .take(3)
        .map(|(path, len)| format!("{path} ({len} bytes)"))
        .collect();
    let needed = clusters * geometry.cluster_len();
    let room = u64::from(geometry.clusters) * geometry.cluster_len();
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

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use fatfs::{Date, FatType, FileSystem, FsOptions};
    use proptest::prelude::*;

    use super::*;
    use crate::failure::kind_of;

    const MIB: u64 = 1 << 20;

    fn content(size: u64, files: &[(&str, usize)]) -> EspContent {
        EspContent {
            files: files
                .iter()
                .map(|(path, len)| EspFile {
                    path: (*path).into(),
                    data: Arc::new((0..*len).map(|i| (i % 251) as u8 + 1).collect()),
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
        for run in image.runs() {
            let mut at = run.offset as usize;
            for piece in run.pieces() {
                bytes[at..at + piece.len()].copy_from_slice(piece);
                at += piece.len();
            }
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
            assert_eq!(geometry(size).map(|g| g.cluster_len()), cluster, "{size}");
            if let Some(cluster) = cluster {
                let image = build(&content(size, &[("a", 1)])).unwrap();
                let first = image.runs()[0].pieces().next().unwrap();
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
        let full = (free * geometry.cluster_len()) as usize;
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn whatever_is_written_reads_back(
            files in proptest::collection::btree_map(
                ("[a-c]{1,2}", "[a-zA-Z0-9 ._~+-]{0,20}[a-z0-9]"), 0..3000_usize, 0..40),
        ) {
            let mut seen = BTreeSet::new();
            let files: Vec<_> = files
                .into_iter()
                .map(|((dir, name), len)| (format!("{dir}/x{name}"), len))
                .filter(|(path, _)| seen.insert(path.to_lowercase()))
                .collect();
            let list: Vec<_> = files.iter().map(|(path, len)| (path.as_str(), *len)).collect();
            let wanted = content(33 * MIB, &list);
            let fs = FileSystem::new(Cursor::new(flat(&build(&wanted).unwrap())), FsOptions::new()).unwrap();
            for file in &wanted.files {
                let mut data = Vec::new();
                fs.root_dir().open_file(&file.path).unwrap().read_to_end(&mut data).unwrap();
                prop_assert!(data == *file.data, "{}", file.path);
            }
        }
    }
}
