//! PE/COFF structures and constants (Microsoft "PE Format", sections "COFF File Header",
//! "Optional Header" and "Section Table"); all numbers are little-endian.

/// First bytes of the file.
pub const DOS_MAGIC: [u8; 2] = *b"MZ";
/// Where the offset of the PE signature is stored.
pub const PE_OFFSET_AT: usize = 0x3c;
/// The PE signature; the COFF header follows.
pub const PE_MAGIC: [u8; 4] = *b"PE\0\0";
/// Length of the COFF header.
pub const COFF_LEN: usize = 20;
/// Magic of a 64-bit optional header.
pub const PE32_PLUS: u16 = 0x20b;
/// Length of a section header.
pub const SECTION_HEADER_LEN: usize = 40;
/// Length of a data directory entry.
pub const DIRECTORY_LEN: usize = 8;
/// Sections that a file may have; the Windows loader's limit.
pub const MAX_SECTIONS: u16 = 96;

/// Offsets in the COFF header.
pub mod coff {
    /// `Machine`, u16.
    pub const MACHINE: usize = 0;
    /// `NumberOfSections`, u16.
    pub const NUMBER_OF_SECTIONS: usize = 2;
    /// `PointerToSymbolTable`, u32.
    pub const SYMBOL_TABLE: usize = 8;
    /// `SizeOfOptionalHeader`, u16.
    pub const OPTIONAL_LEN: usize = 16;
    /// `Characteristics`, u16.
    pub const CHARACTERISTICS: usize = 18;
}

/// Offsets in a PE32+ optional header.
pub mod optional {
    /// `Magic`, u16.
    pub const MAGIC: usize = 0;
    /// `SizeOfCode`, u32.
    pub const SIZE_OF_CODE: usize = 4;
    /// `SizeOfInitializedData`, u32.
    pub const SIZE_OF_INITIALIZED_DATA: usize = 8;
    /// `AddressOfEntryPoint`, u32.
    pub const ENTRY_POINT: usize = 16;
    /// `BaseOfCode`, u32.
    pub const BASE_OF_CODE: usize = 20;
    /// `SectionAlignment`, u32.
    pub const SECTION_ALIGNMENT: usize = 32;
    /// `FileAlignment`, u32.
    pub const FILE_ALIGNMENT: usize = 36;
    /// `SizeOfImage`, u32.
    pub const SIZE_OF_IMAGE: usize = 56;
    /// `SizeOfHeaders`, u32.
    pub const SIZE_OF_HEADERS: usize = 60;
    /// `CheckSum`, u32.
    pub const CHECKSUM: usize = 64;
    /// `Subsystem`, u16.
    pub const SUBSYSTEM: usize = 68;
    /// `DllCharacteristics`, u16.
    pub const DLL_CHARACTERISTICS: usize = 70;
    /// `NumberOfRvaAndSizes`, u32.
    pub const NUMBER_OF_DIRECTORIES: usize = 108;
    /// The data directories.
    pub const DIRECTORIES: usize = 112;
}

/// Index of the certificate table among the data directories. Its address is a file offset.
pub const DIRECTORY_CERTIFICATES: usize = 4;

/// `IMAGE_DLLCHARACTERISTICS_NX_COMPAT`.
pub const NX_COMPAT: u16 = 0x0100;

/// Section characteristics.
pub mod characteristics {
    /// `IMAGE_SCN_CNT_CODE`.
    pub const CODE: u32 = 0x0000_0020;
    /// `IMAGE_SCN_CNT_INITIALIZED_DATA`.
    pub const INITIALIZED_DATA: u32 = 0x0000_0040;
    /// `IMAGE_SCN_MEM_READ`.
    pub const READ: u32 = 0x4000_0000;
}

/// A section header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionHeader {
    /// Name, padded with zeros.
    pub name: [u8; 8],
    /// `VirtualSize`: length in memory.
    pub virtual_size: u32,
    /// `VirtualAddress`: offset from the image's base.
    pub virtual_address: u32,
    /// `SizeOfRawData`: length in the file, a multiple of the file alignment.
    pub raw_size: u32,
    /// `PointerToRawData`: offset in the file.
    pub raw_pointer: u32,
    /// `Characteristics`.
    pub characteristics: u32,
}

impl SectionHeader {
    /// Reads a header; relocations and line numbers have no meaning in an image and are dropped.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; SECTION_HEADER_LEN]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut name = [0; 8];
        name.copy_from_slice(&bytes[..8]);
        Self {
            name,
            virtual_size: word(8),
            virtual_address: word(12),
            raw_size: word(16),
            raw_pointer: word(20),
            characteristics: word(36),
        }
    }

    /// The header's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SECTION_HEADER_LEN] {
        let mut bytes = [0; SECTION_HEADER_LEN];
        bytes[..8].copy_from_slice(&self.name);
        bytes[8..12].copy_from_slice(&self.virtual_size.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.virtual_address.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.raw_size.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.raw_pointer.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.characteristics.to_le_bytes());
        bytes
    }

    /// The name without its padding.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(8);
        &self.name[..end]
    }
}
