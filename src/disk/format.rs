//! GUID partition table (UEFI 2.10, chapter 5): structures and constants, all little-endian.

use uuid::Uuid;

/// Logical block size of the images.
pub const SECTOR: u64 = 512;
/// Signature of the header.
pub const SIGNATURE: [u8; 8] = *b"EFI PART";
/// Revision 1.0.
pub const REVISION: u32 = 0x0001_0000;
/// Length of the header that its CRC covers.
pub const HEADER_LEN: usize = 92;
/// Length of a partition entry.
pub const ENTRY_LEN: usize = 128;
/// Entries of the table: the minimum that the specification asks for.
pub const ENTRIES: usize = 128;
/// Sectors of the entry array.
pub const ENTRY_SECTORS: u64 = (ENTRIES * ENTRY_LEN) as u64 / SECTOR;
/// Sectors before the first usable one: protective MBR, header, entries.
pub const FIRST_USABLE: u64 = 2 + ENTRY_SECTORS;
/// Sectors of the backup at the end: entries, header.
pub const BACKUP_SECTORS: u64 = ENTRY_SECTORS + 1;
/// Characters of a partition's name, in UTF-16 code units.
pub const NAME_UNITS: usize = 36;
/// Attribute bit: mount read-only (Discoverable Partitions Specification).
pub const READ_ONLY: u64 = 1 << 60;
/// Partition type of the protective MBR.
pub const PROTECTIVE_TYPE: u8 = 0xee;
/// MBR type of FAT32 with LBA.
pub const FAT32_TYPE: u8 = 0x0c;

/// A partition's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Type GUID.
    pub type_guid: Uuid,
    /// Unique GUID: the PARTUUID.
    pub guid: Uuid,
    /// First sector.
    pub first: u64,
    /// Last sector, inclusive.
    pub last: u64,
    /// Attribute bits.
    pub attributes: u64,
    /// Label.
    pub name: String,
}

impl Entry {
    /// Offset of the partition in bytes.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.first.saturating_mul(SECTOR)
    }

    /// Length of the partition in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        (self.last.saturating_sub(self.first))
            .saturating_add(1)
            .saturating_mul(SECTOR)
    }

    /// Whether the entry covers no sector, which none of a valid table does.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.last < self.first
    }

    /// The entry's bytes; a name longer than the field is cut.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..16].copy_from_slice(&self.type_guid.to_bytes_le());
        bytes[16..32].copy_from_slice(&self.guid.to_bytes_le());
        bytes[32..40].copy_from_slice(&self.first.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.last.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.attributes.to_le_bytes());
        for (unit, field) in self
            .name
            .encode_utf16()
            .take(NAME_UNITS)
            .zip(bytes[56..].chunks_exact_mut(2))
        {
            field.copy_from_slice(&unit.to_le_bytes());
        }
        bytes
    }

    /// Reads an entry; an unused one has a type of zeros and is `None`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; ENTRY_LEN]) -> Option<Self> {
        let guid = |at: usize| {
            let mut field = [0; 16];
            field.copy_from_slice(&bytes[at..at + 16]);
            Uuid::from_bytes_le(field)
        };
        let number = |at: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(field)
        };
        let type_guid = guid(0);
        if type_guid.is_nil() {
            return None;
        }
        let units = bytes[56..]
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .take_while(|unit| *unit != 0);
        Some(Self {
            type_guid,
            guid: guid(16),
            first: number(32),
            last: number(40),
            attributes: number(48),
            name: char::decode_utf16(units)
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect(),
        })
    }
}

/// A header. `crc` of the header itself is computed when it is written and checked when it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Sector of this header.
    pub at: u64,
    /// Sector of the other header.
    pub other: u64,
    /// First sector that partitions may use.
    pub first_usable: u64,
    /// Last sector that partitions may use.
    pub last_usable: u64,
    /// The disk's GUID.
    pub disk_guid: Uuid,
    /// First sector of the entry array.
    pub entries_at: u64,
    /// Number of entries.
    pub entries: u32,
    /// Length of an entry.
    pub entry_len: u32,
    /// CRC-32 of the entry array.
    pub entries_crc: u32,
}

impl Header {
    /// The header's bytes with its CRC.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&SIGNATURE);
        bytes[8..12].copy_from_slice(&REVISION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(HEADER_LEN as u32).to_le_bytes());
        bytes[24..32].copy_from_slice(&self.at.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.other.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_usable.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.last_usable.to_le_bytes());
        bytes[56..72].copy_from_slice(&self.disk_guid.to_bytes_le());
        bytes[72..80].copy_from_slice(&self.entries_at.to_le_bytes());
        bytes[80..84].copy_from_slice(&self.entries.to_le_bytes());
        bytes[84..88].copy_from_slice(&self.entry_len.to_le_bytes());
        bytes[88..92].copy_from_slice(&self.entries_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// A hybrid MBR: it lists the FAT32 partition of `sectors` sectors that begins at `first`, and covers
/// what lies before it. UEFI knows none of the kind, but reads the GPT all the same, as Linux does;
/// firmware that knows no GPT finds the partition here.
#[must_use]
pub fn hybrid_mbr(first: u64, sectors: u64) -> [u8; SECTOR as usize] {
    let mut mbr = [0; SECTOR as usize];
    let mut put = |slot: usize, kind: u8, first: u64, sectors: u64| {
        let entry = &mut mbr[446 + 16 * slot..][..16];
        // Too large for cylinders and heads, so that LBA counts.
        entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
        entry[4] = kind;
        entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
        let number = |n| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        entry[8..12].copy_from_slice(&number(first));
        entry[12..16].copy_from_slice(&number(sectors));
    };
    put(0, FAT32_TYPE, first, sectors);
    put(1, PROTECTIVE_TYPE, 1, first - 1);
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

/// The protective MBR of a disk with `sectors` sectors (section 5.2.3).
#[must_use]
pub fn protective_mbr(sectors: u64) -> [u8; SECTOR as usize] {
    let mut mbr = [0; SECTOR as usize];
    let len = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    mbr[446 + 1..446 + 4].copy_from_slice(&[0x00, 0x02, 0x00]);
    mbr[446 + 4] = PROTECTIVE_TYPE;
    mbr[446 + 5..446 + 8].copy_from_slice(&[0xff, 0xff, 0xff]);
    mbr[446 + 8..446 + 12].copy_from_slice(&1_u32.to_le_bytes());
    mbr[446 + 12..446 + 16].copy_from_slice(&len.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}
