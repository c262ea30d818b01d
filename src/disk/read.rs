//! Reads a partition table, whatever the bytes are; the backup where the primary is damaged.

use std::io::{self, Read, Seek, SeekFrom};

use uuid::Uuid;

use super::format::{ENTRY_LEN, Entry, HEADER_LEN, Header, SECTOR, SIGNATURE};

/// Entries that are read at most; sixteen times what anybody writes.
const MAX_ENTRIES: u32 = 2048;
/// Longest entry that is read; longer ones have never been defined.
const MAX_ENTRY_LEN: u32 = 4096;

/// Why a partition table can't be used.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// The disk can't be read.
    #[error("reading the partition table: {0}")]
    Io(#[from] io::Error),
    /// There is no header where one belongs.
    #[error("there is no GPT header at sector {0}")]
    NoHeader(u64),
    /// A checksum does not match.
    #[error("the {what} of the GPT at sector {at} is damaged: its checksum does not match")]
    Checksum {
        /// Header or entries.
        what: &'static str,
        /// Sector of the header.
        at: u64,
    },
    /// A field has an impossible value.
    #[error("the GPT header at sector {at} has {value} in its field {field}")]
    BadField {
        /// Sector of the header.
        at: u64,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GptTable {
    /// The disk's GUID.
    pub disk_guid: Uuid,
    /// Used entries with their numbers, from 1.
    pub partitions: Vec<(u32, Entry)>,
    /// Whether the primary table was damaged, so that this is the backup.
    pub from_backup: bool,
}

impl GptTable {
    /// Reads the table of a disk image with sectors of 512 bytes.
    ///
    /// # Errors
    /// Neither the primary nor the backup table is usable; the error is the primary's.
    pub fn read<R: Read + Seek>(disk: &mut R) -> Result<Self, GptError> {
        let sectors = disk.seek(SeekFrom::End(0))? / SECTOR;
        let primary = match Self::read_at(disk, 1, sectors) {
            Ok(table) => return Ok(table),
            Err(error) => error,
        };
        match Self::read_at(disk, sectors.saturating_sub(1), sectors) {
            Ok(table) => Ok(Self {
                from_backup: true,
                ..table
            }),
            Err(_) => Err(primary),
        }
    }

    /// The first partition whose label is `name`.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Entry> {
        self.partitions
            .iter()
            .map(|(_, entry)| entry)
            .find(|entry| entry.name == name)
    }

    /// The first partition of a type.
    #[must_use]
    pub fn by_type(&self, type_guid: Uuid) -> Option<&Entry> {
        self.partitions
            .iter()
            .map(|(_, entry)| entry)
            .find(|entry| entry.type_guid == type_guid)
    }

    fn read_at<R: Read + Seek>(disk: &mut R, at: u64, sectors: u64) -> Result<Self, GptError> {
        if at == 0 || at >= sectors {
            return Err(GptError::NoHeader(at));
        }
        let mut sector = [0; SECTOR as usize];
        disk.seek(SeekFrom::Start(at.saturating_mul(SECTOR)))?;
        disk.read_exact(&mut sector)?;
        let header = parse_header(&sector, at)?;
        let bad = |field, value| GptError::BadField { at, field, value };
        if header.at != at {
            return Err(bad("MyLBA", header.at));
        }
        if header.entries > MAX_ENTRIES {
            return Err(bad("NumberOfPartitionEntries", header.entries.into()));
        }
        let entry_len = header.entry_len;
        if !(ENTRY_LEN as u32..=MAX_ENTRY_LEN).contains(&entry_len) || !entry_len.is_power_of_two()
        {
            return Err(bad("SizeOfPartitionEntry", entry_len.into()));
        }
        let array_len = u64::from(header.entries) * u64::from(entry_len);
        let end = header
            .entries_at
            .saturating_mul(SECTOR)
            .saturating_add(array_len);
        if header.entries_at < 2 || end > sectors.saturating_mul(SECTOR) {
            return Err(bad("PartitionEntryLBA", header.entries_at));
        }
        let mut array = vec![0; array_len as usize];
        disk.seek(SeekFrom::Start(header.entries_at * SECTOR))?;
        disk.read_exact(&mut array)?;
        if crc32fast::hash(&array) != header.entries_crc {
            return Err(GptError::Checksum {
                what: "entries",
                at,
            });
        }
        let mut partitions = Vec::new();
        for (number, bytes) in (1..).zip(array.chunks_exact(entry_len as usize)) {
            let Some(entry) = bytes.first_chunk::<ENTRY_LEN>().and_then(Entry::from_bytes) else {
                continue;
            };
            // The rest of the program may count on partitions that lie on the disk.
            if entry.is_empty() || entry.first == 0 || entry.last >= sectors {
                return Err(bad("EndingLBA", entry.last));
            }
            partitions.push((number, entry));
        }
        Ok(Self {
            disk_guid: header.disk_guid,
            partitions,
            from_backup: false,
        })
    }
}

fn parse_header(sector: &[u8; SECTOR as usize], at: u64) -> Result<Header, GptError> {
    let u32_at = |at: usize| {
        u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]])
    };
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if sector[..8] != SIGNATURE {
        return Err(GptError::NoHeader(at));
    }
    let len = u32_at(12) as usize;
    if !(HEADER_LEN..=sector.len()).contains(&len) {
        return Err(GptError::BadField {
            at,
            field: "HeaderSize",
            value: len as u64,
        });
    }
    let mut covered = *sector;
    covered[16..20].fill(0);
    if crc32fast::hash(covered.get(..len).unwrap_or_default()) != u32_at(16) {
        return Err(GptError::Checksum { what: "header", at });
    }
    let mut guid = [0; 16];
    guid.copy_from_slice(&sector[56..72]);
    Ok(Header {
        at: u64_at(24),
        other: u64_at(32),
        first_usable: u64_at(40),
        last_usable: u64_at(48),
        disk_guid: Uuid::from_bytes_le(guid),
        entries_at: u64_at(72),
        entries: u32_at(80),
        entry_len: u32_at(84),
        entries_crc: u32_at(88),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::arch::Arch;
    use crate::digest::Sha256;
    use crate::disk::layout::{ContentSizes, ImageLayout};
    use crate::disk::table::{self, Identity};
    use crate::profile::schema::{ByteSize, Disk, DiskSize, MIB};
    use crate::stamp::Seed;

    fn small_disk() -> (Vec<u8>, Vec<Entry>) {
        let one = ByteSize(MIB);
        let disk = Disk {
            size: DiskSize::Auto,
            esp: one,
            usr: one,
            verity: one,
            signature: one,
            slack: one,
        };
        let layout = ImageLayout::plan(&disk, Arch::Arm64, ContentSizes::default()).unwrap();
        let identity = Identity {
            os_id: "os",
            version: "1",
            root_hash: Sha256::of(b"x"),
            seed: Seed::new(&[]),
        };
        let table = table::bytes(&layout, &identity);
        let mut bytes = vec![0; layout.disk_size() as usize];
        bytes[..table.primary.len()].copy_from_slice(&table.primary);
        bytes[table.backup_offset as usize..].copy_from_slice(&table.backup);
        (bytes, table::entries(&layout, &identity))
    }

    #[test]
    fn the_table_reads_back_and_the_backup_stands_in() {
        let (mut bytes, entries) = small_disk();
        let read = GptTable::read(&mut Cursor::new(&bytes)).unwrap();
        let back: Vec<_> = read.partitions.iter().map(|(_, e)| e.clone()).collect();
        assert_eq!(back, entries);
        assert_eq!(read.partitions[6].0, 7);
        assert_eq!(read.by_name("esp"), Some(&entries[0]));
        for at in [512, 512 + 40, 1024 + 130] {
            bytes[at] ^= 1;
            let backup = GptTable::read(&mut Cursor::new(&bytes)).unwrap();
            assert!(backup.from_backup);
            assert_eq!(backup.partitions, read.partitions);
        }
        let end = bytes.len();
        bytes[end - 512] ^= 1;
        assert!(GptTable::read(&mut Cursor::new(&bytes)).is_err());
    }

    proptest! {
        #[test]
        fn no_damaged_table_makes_the_reader_panic(
            changes in proptest::collection::vec((512..4096_usize, any::<u8>()), 1..20),
            fix_checksums: bool,
            len in 0..20_000_usize,
        ) {
            let (mut bytes, _) = small_disk();
            for (at, value) in changes {
                bytes[at] = value;
            }
            if fix_checksums {
                let crc = crc32fast::hash(&bytes[1024..1024 + 16_384]);
                bytes[512 + 88..512 + 92].copy_from_slice(&crc.to_le_bytes());
                bytes[512 + 16..512 + 20].fill(0);
                let crc = crc32fast::hash(&bytes[512..512 + 92]);
                bytes[512 + 16..512 + 20].copy_from_slice(&crc.to_le_bytes());
            }
            let _ = GptTable::read(&mut Cursor::new(&bytes));
            bytes.truncate(len);
            let _ = GptTable::read(&mut Cursor::new(&bytes));
        }
    }
}
