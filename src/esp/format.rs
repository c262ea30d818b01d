//! FAT32 structures (Microsoft "FAT: General Overview of On-Disk Format", 1.03), all little-endian.

use std::time::Duration;

use crate::stamp::Stamp;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Sectors before the first FAT at least: boot sector, FSInfo, their copies, and what loaders expect.
pub const MIN_RESERVED: u64 = 32;
/// Sector of the FSInfo structure.
pub const FS_INFO: u64 = 1;
/// Sector of the boot sector's copy, followed by that of FSInfo.
pub const BACKUP: u64 = 6;
/// Number of FATs.
pub const FATS: u64 = 2;
/// The first cluster, which is the root directory's.
pub const FIRST_CLUSTER: u32 = 2;
/// Entry of the last cluster of a chain.
pub const END_OF_CHAIN: u32 = 0x0fff_ffff;
/// The FAT's first two entries: media byte; clean, without errors.
pub const RESERVED_ENTRIES: [u32; 2] = [0x0fff_fff8, 0x0fff_ffff];
/// Fewer clusters make a volume FAT16 by definition; the margin is for drivers that miscount, which
/// the specification warns of.
pub const MIN_CLUSTERS: u64 = 65_525 + 16;
/// More clusters have no numbers.
pub const MAX_CLUSTERS: u64 = 0x0fff_fff4;
/// Bytes of a directory entry.
pub const ENTRY_LEN: usize = 32;
/// UTF-16 units in a long-name entry.
pub const LONG_NAME_UNITS: usize = 13;

/// Attribute of a volume label.
pub const ATTRIBUTE_LABEL: u8 = 0x08;
/// Attribute of a directory.
pub const ATTRIBUTE_DIRECTORY: u8 = 0x10;
/// Attribute of a file that was written.
pub const ATTRIBUTE_ARCHIVE: u8 = 0x20;
/// Attribute of a long-name entry.
pub const ATTRIBUTE_LONG_NAME: u8 = 0x0f;
/// Where a long-name entry has its UTF-16 units.
pub const LONG_NAME_PLACES: [usize; LONG_NAME_UNITS] =
    [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// What the boot sector says of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Sectors of the volume.
    pub sectors: u32,
    /// Sectors of a cluster.
    pub sectors_per_cluster: u8,
    /// Sectors before the first FAT.
    pub reserved: u16,
    /// Sectors of one FAT.
    pub fat_sectors: u32,
    /// Data clusters.
    pub clusters: u32,
}

/// The boot sector.
#[must_use]
pub fn boot_sector(geometry: &Geometry, serial: u32, label: [u8; 11]) -> [u8; SECTOR as usize] {
    let mut bytes = [0; SECTOR as usize];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &[0xeb, 0x58, 0x90]);
    put(3, b"MSWIN4.1");
    put(11, &(SECTOR as u16).to_le_bytes());
    put(13, &[geometry.sectors_per_cluster]);
    put(14, &geometry.reserved.to_le_bytes());
    put(16, &[FATS as u8]);
    put(21, &[0xf8]);
    // Tracks and heads mean nothing today; these are what formatters write for disks.
    put(24, &63_u16.to_le_bytes());
    put(26, &255_u16.to_le_bytes());
    put(32, &geometry.sectors.to_le_bytes());
    put(36, &geometry.fat_sectors.to_le_bytes());
    put(44, &FIRST_CLUSTER.to_le_bytes());
    put(48, &(FS_INFO as u16).to_le_bytes());
    put(50, &(BACKUP as u16).to_le_bytes());
    put(64, &[0x80, 0, 0x29]);
    put(67, &serial.to_le_bytes());
    put(71, &label);
    put(82, b"FAT32   ");
    put(510, &[0x55, 0xaa]);
    bytes
}

/// The FSInfo sector.
#[must_use]
pub fn fs_info(free: u32, next_free: u32) -> [u8; SECTOR as usize] {
    let mut bytes = [0; SECTOR as usize];
    bytes[..4].copy_from_slice(&0x4161_5252_u32.to_le_bytes());
    bytes[484..488].copy_from_slice(&0x6141_7272_u32.to_le_bytes());
    bytes[488..492].copy_from_slice(&free.to_le_bytes());
    bytes[492..496].copy_from_slice(&next_free.to_le_bytes());
    bytes[508..].copy_from_slice(&0xaa55_0000_u32.to_le_bytes());
    bytes
}

/// A date and time as FAT stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FatTime {
    /// Years since 1980, month, day.
    pub date: u16,
    /// Hours, minutes, seconds halved.
    pub time: u16,
}

impl FatTime {
    /// The stamp in UTC, at FAT's resolution of two seconds and in its range of 1980 to 2107.
    #[must_use]
    pub fn new(stamp: Stamp) -> Self {
        const FIRST: u64 = 315_532_800;
        const LAST: u64 = 4_354_819_198;
        let seconds = stamp.seconds().clamp(FIRST, LAST);
        der::DateTime::from_unix_duration(Duration::from_secs(seconds)).map_or(
            Self {
                date: 0x21,
                time: 0,
            },
            |at| Self {
                date: (at.year() - 1980) << 9 | u16::from(at.month()) << 5 | u16::from(at.day()),
                time: u16::from(at.hour()) << 11
                    | u16::from(at.minutes()) << 5
                    | u16::from(at.seconds() / 2),
            },
        )
    }
}

/// A short directory entry.
#[must_use]
pub fn short_entry(
    name: &[u8; 11],
    attribute: u8,
    cluster: u32,
    len: u32,
    at: FatTime,
) -> [u8; ENTRY_LEN] {
    let mut bytes = [0; ENTRY_LEN];
    let (date, time) = (at.date.to_le_bytes(), at.time.to_le_bytes());
    let cluster = cluster.to_le_bytes();
    bytes[..11].copy_from_slice(name);
    bytes[11] = attribute;
    bytes[14..16].copy_from_slice(&time);
    bytes[16..18].copy_from_slice(&date);
    bytes[18..20].copy_from_slice(&date);
    bytes[20..22].copy_from_slice(&cluster[2..]);
    bytes[22..24].copy_from_slice(&time);
    bytes[24..26].copy_from_slice(&date);
    bytes[26..28].copy_from_slice(&cluster[..2]);
    bytes[28..].copy_from_slice(&len.to_le_bytes());
    bytes
}

/// The entries of a long name, in the order of the disk: the last part first.
#[must_use]
pub fn long_entries(name: &str, short: &[u8; 11]) -> Vec<[u8; ENTRY_LEN]> {
    let checksum = short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let units: Vec<u16> = name.encode_utf16().collect();
    let parts = units.len().div_ceil(LONG_NAME_UNITS);
    let entry = |(index, part): (usize, &[u16])| {
        let mut bytes = [0; ENTRY_LEN];
        let last = if index + 1 == parts { 0x40 } else { 0 };
        bytes[0] = (index + 1) as u8 | last;
        bytes[11] = ATTRIBUTE_LONG_NAME;
        bytes[13] = checksum;
        // A name that does not fill its last entry ends with a zero; ones follow.
        let padded = part
            .iter()
            .copied()
            .chain([0])
            .chain(std::iter::repeat(0xffff));
        for (at, unit) in LONG_NAME_PLACES.into_iter().zip(padded) {
            bytes[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        bytes
    };
    let mut entries: Vec<_> = units
        .chunks(LONG_NAME_UNITS)
        .enumerate()
        .map(entry)
        .collect();
    entries.reverse();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_clamped_to_the_range() {
        let of = |seconds| FatTime::new(Stamp::from_seconds(seconds));
        assert_eq!(
            of(0),
            FatTime {
                date: 1 << 5 | 1,
                time: 0
            }
        );
        assert_eq!(
            of(1_767_225_601),
            FatTime {
                date: 46 << 9 | 1 << 5 | 1,
                time: 0
            }
        );
        assert_eq!(
            of(u64::MAX),
            FatTime {
                date: 127 << 9 | 12 << 5 | 31,
                time: 23 << 11 | 59 << 5 | 29
            }
        );
    }

    #[test]
    fn a_name_that_fills_its_entries_has_no_terminator() {
        let entries = long_entries("abcdefghijklm", b"ABCDEF~1   ");
        assert_eq!(entries.len(), 1);
        assert_eq!(
            (entries[0][0], &entries[0][28..]),
            (0x41, b"l\0m\0".as_slice())
        );
        let entries = long_entries("abcdefghijklmn", b"ABCDEF~1   ");
        assert_eq!((entries[0][0], entries[1][0]), (0x42, 1));
        assert_eq!(entries[0][1..7], [b'n', 0, 0, 0, 0xff, 0xff]);
    }
}
