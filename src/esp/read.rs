//! Reads files from a FAT32 partition of a disk image without mounting it, whatever the bytes are.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};

use super::format::{
    ATTRIBUTE_DIRECTORY, ATTRIBUTE_LABEL, ATTRIBUTE_LONG_NAME, ENTRY_LEN, FIRST_CLUSTER,
    LONG_NAME_PLACES, SECTOR,
};

/// Longest file that is read: several times the largest UKI.
const MAX_FILE: u64 = 1 << 30;
/// Longest directory that is read; the specification's limit is 2 MiB.
const MAX_DIRECTORY: u64 = 2 << 20;
/// UTF-16 units of the longest name: twenty parts of thirteen.
const MAX_NAME_UNITS: usize = 260;

/// Why a partition can't be read.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    /// The disk can't be read, or ends inside the partition.
    #[error("reading the ESP: {0}")]
    Io(#[from] io::Error),
    /// There is no FAT32 with sectors of 512 bytes.
    #[error("the ESP is not FAT32: {0}")]
    NotFat32(&'static str),
    /// A cluster chain leads nowhere, in a circle, or is longer than what it belongs to.
    #[error("the ESP is damaged: the cluster chain of `{0}` is broken")]
    BrokenChain(String),
    /// No such file or folder.
    #[error("there is no `{0}` on the ESP")]
    NotFound(String),
    /// A folder where a file was expected, or the reverse.
    #[error("`{0}` on the ESP is not a {1}")]
    WrongKind(String, &'static str),
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The long name where there is one, else the short one.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Length of a file in bytes.
    pub len: u32,
    cluster: u32,
}

/// A FAT32 partition.
#[derive(Debug)]
pub struct EspReader<R> {
    disk: R,
    offset: u64,
    cluster_len: u64,
    fat_at: u64,
    data_at: u64,
    clusters: u32,
    root: u32,
    serial: u32,
}

impl<R: Read + Seek> EspReader<R> {
    /// Opens the partition at `offset` of `disk`.
    ///
    /// # Errors
    /// There is no FAT32 there.
    pub fn open(mut disk: R, offset: u64) -> Result<Self, FatError> {
        let mut boot = [0; SECTOR as usize];
        disk.seek(SeekFrom::Start(offset))?;
        disk.read_exact(&mut boot)?;
        let u16_at = |at: usize| u16::from_le_bytes([boot[at], boot[at + 1]]);
        let u32_at = |at: usize| u64::from(u16_at(at)) | u64::from(u16_at(at + 2)) << 16;
        if boot[510..] != [0x55, 0xaa] {
            return Err(FatError::NotFat32("its boot sector has no signature"));
        }
        if u64::from(u16_at(11)) != SECTOR {
            return Err(FatError::NotFat32("its sectors do not have 512 bytes"));
        }
        let per_cluster = u64::from(boot[13]);
        if !per_cluster.is_power_of_two() {
            return Err(FatError::NotFat32("its cluster size is no power of two"));
        }
        let fat_sectors = u32_at(36);
        if u16_at(17) != 0 || u16_at(22) != 0 || fat_sectors == 0 {
            return Err(FatError::NotFat32("it has the structures of FAT16"));
        }
        let reserved = u64::from(u16_at(14));
        let data = reserved + u64::from(boot[16]) * fat_sectors;
        let clusters = u32_at(32)
            .checked_sub(data)
            .map(|sectors| sectors / per_cluster)
            // The FAT bounds the numbers that can be looked up.
            .map(|count| count.min((fat_sectors * SECTOR / 4).saturating_sub(2)))
            .and_then(|count| u32::try_from(count).ok())
            .ok_or(FatError::NotFat32("its FATs are larger than the volume"))?;
        Ok(Self {
            disk,
            offset,
            cluster_len: per_cluster * SECTOR,
            fat_at: reserved * SECTOR,
            data_at: data * SECTOR,
            clusters,
            root: u32_at(44) as u32,
            serial: u32_at(67) as u32,
        })
    }

    /// The volume's serial number.
    #[must_use]
    pub const fn serial(&self) -> u32 {
        self.serial
    }

    /// Where the content of a file begins, counted from the beginning of the volume, and its length;
    /// `None` where it is empty or does not lie in one piece.
    ///
    /// # Errors
    /// As [`EspReader::read`].
    pub fn location(&mut self, path: &str) -> Result<Option<(u64, u64)>, FatError> {
        let entry = match self.find(path)? {
            Some(entry) if !entry.is_dir => entry,
            _ => return Err(FatError::WrongKind(path.into(), "file")),
        };
        let count = u64::from(entry.len).div_ceil(self.cluster_len);
        let Some(index) = entry.cluster.checked_sub(FIRST_CLUSTER) else {
            return Ok(None);
        };
        if u64::from(index) + count > u64::from(self.clusters) {
            return Err(FatError::BrokenChain(path.into()));
        }
        let at = self.fat_at + u64::from(entry.cluster) * 4;
        self.disk
            .seek(SeekFrom::Start(self.offset.saturating_add(at)))?;
        for number in 1..count {
            let mut next = [0; 4];
            self.disk.read_exact(&mut next)?;
            let next = u32::from_le_bytes(next) & 0x0fff_ffff;
            if u64::from(next) != u64::from(entry.cluster) + number {
                return Ok(None);
            }
        }
        let start = self.data_at + u64::from(index) * self.cluster_len;
        Ok(Some((start, entry.len.into())))
    }

    /// The entries of a folder in their order, without the dot entries; `""` is the root.
    ///
    /// # Errors
    /// The folder does not exist or is damaged.
    pub fn list(&mut self, path: &str) -> Result<Vec<DirEntry>, FatError> {
        let cluster = match self.find(path)? {
            None => self.root,
            Some(entry) if entry.is_dir => entry.cluster,
            Some(_) => return Err(FatError::WrongKind(path.into(), "folder")),
        };
        self.entries(path, cluster)
    }

    /// The content of a file.
    ///
    /// # Errors
    /// The file does not exist or is damaged.
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>, FatError> {
        match self.find(path)? {
            Some(entry) if !entry.is_dir => {
                let len = u64::from(entry.len);
                let mut data = self.chain(path, entry.cluster, Some(len))?;
                data.truncate(entry.len as usize);
                Ok(data)
            }
            _ => Err(FatError::WrongKind(path.into(), "file")),
        }
    }

    /// The entry at `path`; `None` for the root.
    fn find(&mut self, path: &str) -> Result<Option<DirEntry>, FatError> {
        let mut found: Option<DirEntry> = None;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let cluster = match &found {
                None => self.root,
                Some(entry) if entry.is_dir => entry.cluster,
                Some(_) => return Err(FatError::NotFound(path.into())),
            };
            let entry = self
                .entries(path, cluster)?
                .into_iter()
                .find(|entry| entry.name.to_lowercase() == part.to_lowercase())
                .ok_or_else(|| FatError::NotFound(path.into()))?;
            found = Some(entry);
        }
        Ok(found)
    }

    fn entries(&mut self, path: &str, cluster: u32) -> Result<Vec<DirEntry>, FatError> {
        let bytes = self.chain(path, cluster, None)?;
        let mut entries = Vec::new();
        let mut long: Vec<u16> = Vec::new();
        for entry in bytes.as_chunks::<ENTRY_LEN>().0 {
            let attribute = entry[11];
            match entry[0] {
                0 => break,
                0xe5 => long.clear(),
                order if attribute & 0x3f == ATTRIBUTE_LONG_NAME => {
                    // The last part comes first and begins a new name.
                    if order & 0x40 != 0 {
                        long.clear();
                    }
                    let part = LONG_NAME_PLACES
                        .iter()
                        .map(|at| u16::from_le_bytes([entry[*at], entry[*at + 1]]));
                    long.splice(0..0, part);
                    // No name has more; a folder full of parts would take the square of its length.
                    long.truncate(MAX_NAME_UNITS);
                }
                _ => {
                    let units: Vec<u16> = std::mem::take(&mut long)
                        .into_iter()
                        .take_while(|unit| *unit != 0)
                        .collect();
                    let name = if units.is_empty() {
                        short_name(entry)
                    } else {
                        String::from_utf16_lossy(&units)
                    };
                    if attribute & ATTRIBUTE_LABEL == 0 && !matches!(&*name, "." | "..") {
                        entries.push(DirEntry {
                            name,
                            is_dir: attribute & ATTRIBUTE_DIRECTORY != 0,
                            len: u32::from_le_bytes([entry[28], entry[29], entry[30], entry[31]]),
                            cluster: u32::from_le_bytes([
                                entry[26], entry[27], entry[20], entry[21],
                            ]),
                        });
                    }
                }
            }
        }
        Ok(entries)
    }

    /// The bytes of a cluster chain: of `len` bytes, or to the chain's end for a folder.
    fn chain(&mut self, path: &str, first: u32, len: Option<u64>) -> Result<Vec<u8>, FatError> {
        let broken = || FatError::BrokenChain(path.into());
        let limit = len.unwrap_or(MAX_DIRECTORY);
        if limit > MAX_FILE {
            return Err(broken());
        }
        let mut data = Vec::new();
        let mut seen = BTreeSet::new();
        let mut cluster = first;
        while len.is_none_or(|len| (data.len() as u64) < len) {
            let index = cluster.checked_sub(FIRST_CLUSTER).ok_or_else(broken)?;
            if index >= self.clusters || !seen.insert(cluster) || data.len() as u64 > limit {
                return Err(broken());
            }
            let at = self.data_at + u64::from(index) * self.cluster_len;
            let start = data.len();
            data.resize(start + self.cluster_len as usize, 0);
            self.disk
                .seek(SeekFrom::Start(self.offset.saturating_add(at)))?;
            self.disk.read_exact(&mut data[start..])?;

            let mut next = [0; 4];
            let at = self.fat_at + u64::from(cluster) * 4;
            self.disk
                .seek(SeekFrom::Start(self.offset.saturating_add(at)))?;
            self.disk.read_exact(&mut next)?;
            cluster = u32::from_le_bytes(next) & 0x0fff_ffff;
            if cluster >= 0x0fff_fff8 {
                break;
            }
        }
        if len.is_some_and(|len| (data.len() as u64) < len) {
            return Err(broken());
        }
        Ok(data)
    }
}

fn short_name(entry: &[u8; ENTRY_LEN]) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_string();
    match (part(&entry[..8]), part(&entry[8..11])) {
        (base, extension) if extension.is_empty() => base,
        (base, extension) => format!("{base}.{extension}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::esp::{EspContent, EspFile, build};
    use crate::stamp::Stamp;

    const UKI: &str = "EFI/Linux/hullwright_1.0.0~rc.1+3-0.efi";

    /// The volume without the zeros at its end.
    static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let file = |path: &str, len: usize| EspFile {
            path: path.into(),
            data: std::sync::Arc::new((0..len).map(|i| (i % 251) as u8).collect()),
        };
        let image = build(&EspContent {
            files: vec![
                file("EFI/BOOT/BOOTX64.EFI", 700),
                file(UKI, 20_000),
                file("empty", 0),
            ],
            size: 33 << 20,
            label: "ESP".into(),
            serial: 7,
            stamp: Stamp::from_seconds(1_800_000_000),
        })
        .unwrap();
        let mut bytes = Vec::new();
        for run in image.runs() {
            bytes.resize(run.offset as usize, 0);
            bytes.extend(run.pieces().flatten());
        }
        bytes
    });

    #[test]
    fn files_of_a_partition_in_the_middle_of_a_disk_are_read() {
        let disk = [&[0; 4096], IMAGE.as_slice()].concat();
        let mut esp = EspReader::open(Cursor::new(disk), 4096).unwrap();
        let names = |esp: &mut EspReader<_>, path: &str| -> Vec<_> {
            esp.list(path)
                .unwrap()
                .into_iter()
                .map(|e| (e.name, e.is_dir, e.len))
                .collect()
        };
        assert_eq!(
            names(&mut esp, ""),
            [("EFI".into(), true, 0), ("empty".into(), false, 0)]
        );
        assert_eq!(
            names(&mut esp, "EFI/Linux"),
            [("hullwright_1.0.0~rc.1+3-0.efi".into(), false, 20_000)]
        );
        assert_eq!(esp.read(UKI).unwrap().len(), 20_000);
        assert_eq!(esp.serial(), 7);
        let (at, len) = esp.location(UKI).unwrap().unwrap();
        assert_eq!(IMAGE[at as usize..][..len as usize], esp.read(UKI).unwrap());
        assert_eq!(esp.location("empty").unwrap(), None);
        assert!(esp.location("EFI").is_err());
        assert_eq!(esp.read("/efi/boot/bootx64.efi").unwrap()[..3], [0, 1, 2]);
        assert!(esp.read("empty").unwrap().is_empty());
        assert!(matches!(
            esp.read("EFI"),
            Err(FatError::WrongKind(_, "file"))
        ));
        assert!(matches!(
            esp.list("empty"),
            Err(FatError::WrongKind(_, "folder"))
        ));
        assert!(matches!(esp.read("EFI/none"), Err(FatError::NotFound(_))));
        assert!(EspReader::open(Cursor::new(vec![0; 1024]), 0).is_err());
    }

    proptest! {
        #[test]
        fn no_damaged_volume_makes_the_reader_panic(
            changes in proptest::collection::vec(
                (prop_oneof![0..96_usize, 16_384..16_800_usize, 540_000..560_000_usize], any::<u8>()),
                1..24,
            ),
            len in 0..700_000_usize,
        ) {
            let mut bytes = IMAGE.clone();
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(len);
            if let Ok(mut esp) = EspReader::open(Cursor::new(bytes), 0) {
                let _ = (esp.list(""), esp.list("EFI/Linux"), esp.read(UKI));
            }
        }
    }
}
