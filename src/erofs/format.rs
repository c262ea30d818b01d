//! EROFS on disk: constants and fixed-size records of `fs/erofs/erofs_fs.h`. Little-endian.
//!
//! Only what this crate writes has a record here: blocks of 4096 bytes, one device, compact
//! compression indexes, no 48-bit layout.

/// Bytes of a block.
pub const BLOCK: u32 = 4096;
/// The same as a power of two.
pub const BLOCK_BITS: u8 = 12;
/// Where the superblock begins.
pub const SUPER_OFFSET: u64 = 1024;
/// Its length without extension slots.
pub const SUPER_SIZE: usize = 128;
/// Its first four bytes.
pub const SUPER_MAGIC: u32 = 0xE0F5_E1E2;
/// Inode numbers count slots of this size from the start of the metadata.
pub const SLOT: u64 = 32;
/// "No block": the start of flat inodes that own none.
pub const NULL_BLOCK: u32 = u32::MAX;

/// Longest piece of data that is put behind an inode. The format wants it inside one block; what is
/// left of the block holds an extended inode, so that a place can always be found.
pub const INLINE_MAX: u32 = BLOCK - 64;

/// `EROFS_FEATURE_COMPAT_SB_CHKSUM`.
pub const COMPAT_SB_CHKSUM: u32 = 0x1;
/// `EROFS_FEATURE_COMPAT_MTIME`: times are modification times.
pub const COMPAT_MTIME: u32 = 0x2;

/// `EROFS_FEATURE_INCOMPAT_LZ4_0PADDING`.
pub const INCOMPAT_0PADDING: u32 = 0x1;
/// `EROFS_FEATURE_INCOMPAT_COMPR_CFGS` and `BIG_PCLUSTER`, one bit.
pub const INCOMPAT_COMPR_CFGS: u32 = 0x2;
/// `EROFS_FEATURE_INCOMPAT_ZTAILPACKING`.
pub const INCOMPAT_ZTAILPACKING: u32 = 0x10;
/// `EROFS_FEATURE_INCOMPAT_FRAGMENTS`: there may be a packed inode.
pub const INCOMPAT_FRAGMENTS: u32 = 0x20;
/// What the reader understands.
pub const INCOMPAT_KNOWN: u32 =
    INCOMPAT_0PADDING | INCOMPAT_COMPR_CFGS | INCOMPAT_ZTAILPACKING | INCOMPAT_FRAGMENTS;

/// `Z_EROFS_COMPRESSION_LZ4`.
pub const ALGORITHM_LZ4: u8 = 0;
/// `Z_EROFS_COMPRESSION_ZSTD`.
pub const ALGORITHM_ZSTD: u8 = 3;
/// The exponent of a zstd window is stored less this (`ZSTD_WINDOWLOG_ABSOLUTEMIN`).
pub const ZSTD_WINDOW_LOG_MIN: u8 = 10;

/// `EROFS_INODE_FLAT_PLAIN`.
pub const LAYOUT_FLAT_PLAIN: u8 = 0;
/// `EROFS_INODE_COMPRESSED_FULL`: indexes of 8 bytes each, which are not read here. `mkfs.erofs` uses
/// it for files that lie in the packed inode as a whole, which have no indexes.
pub const LAYOUT_FULL: u8 = 1;
/// `EROFS_INODE_FLAT_INLINE`: the last, partial block follows the inode.
pub const LAYOUT_FLAT_INLINE: u8 = 2;
/// `EROFS_INODE_COMPRESSED_COMPACT`.
pub const LAYOUT_COMPACT: u8 = 3;

/// `Z_EROFS_ADVISE_COMPACTED_2B`.
pub const ADVISE_COMPACTED_2B: u16 = 0x1;
/// `Z_EROFS_ADVISE_BIG_PCLUSTER_1` and `_2`; compact indexes want both or none.
pub const ADVISE_BIG_PCLUSTER: u16 = 0x2 | 0x4;
/// `Z_EROFS_ADVISE_INLINE_PCLUSTER`: the last cluster follows the indexes.
pub const ADVISE_INLINE_PCLUSTER: u16 = 0x8;
/// `Z_EROFS_ADVISE_FRAGMENT_PCLUSTER`: the last extent lies in the packed inode. The first four bytes
/// of the map header are its offset there (`h_fragmentoff`), and the extent's head must not be PLAIN
/// (`z_erofs_do_map_blocks` compares it with a physical length, which it lacks).
pub const ADVISE_FRAGMENT_PCLUSTER: u16 = 0x20;
/// `Z_EROFS_FRAGMENT_INODE_BIT` of `h_clusterbits`, which is the highest bit of the map header: all of
/// the file lies in the packed inode, and the other 63 bits are its offset there.
pub const FRAGMENT_INODE: u64 = 1 << 63;
/// Length of `struct z_erofs_map_header`.
pub const MAP_HEADER: u64 = 8;

/// `EROFS_FT_*` of a directory entry.
pub mod file_type {
    /// Regular file.
    pub const REGULAR: u8 = 1;
    /// Directory.
    pub const DIRECTORY: u8 = 2;
    /// Character device.
    pub const CHAR: u8 = 3;
    /// Block device.
    pub const BLOCK: u8 = 4;
    /// Named pipe.
    pub const FIFO: u8 = 5;
    /// Symbolic link.
    pub const SYMLINK: u8 = 7;
}

/// `S_IF*`: the type bits of a mode.
pub mod mode {
    /// Mask of the type bits.
    pub const TYPE: u16 = 0o170_000;
    /// Regular file.
    pub const REGULAR: u16 = 0o100_000;
    /// Directory.
    pub const DIRECTORY: u16 = 0o040_000;
    /// Character device.
    pub const CHAR: u16 = 0o020_000;
    /// Block device.
    pub const BLOCK: u16 = 0o060_000;
    /// Named pipe.
    pub const FIFO: u16 = 0o010_000;
    /// Symbolic link.
    pub const SYMLINK: u16 = 0o120_000;
}

/// `struct erofs_super_block`, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuperBlock {
    /// Checksum field; [`superblock_checksum`] of the first block, if the feature bit is set.
    pub checksum: u32,
    /// Compatible features.
    pub compat: u32,
    /// Inode number of the root.
    pub root_nid: u16,
    /// Number of inodes.
    pub inodes: u64,
    /// Seconds to which times of compact inodes are relative.
    pub epoch: u64,
    /// Blocks of the image.
    pub blocks: u32,
    /// Block where inode slots begin.
    pub meta_block: u32,
    /// Block where shared extended attributes begin.
    pub xattr_block: u32,
    /// UUID.
    pub uuid: [u8; 16],
    /// Label, padded with zeros.
    pub label: [u8; 16],
    /// Incompatible features.
    pub incompat: u32,
    /// Bit set of algorithms, whose configuration records follow the superblock.
    pub algorithms: u16,
    /// Inode number of the packed inode; 0 if there is none.
    pub packed_nid: u64,
}

impl SuperBlock {
    /// On-disk form.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SUPER_SIZE] {
        let mut out = [0; SUPER_SIZE];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &SUPER_MAGIC.to_le_bytes());
        put(4, &self.checksum.to_le_bytes());
        put(8, &self.compat.to_le_bytes());
        put(12, &[BLOCK_BITS, 0]);
        put(14, &self.root_nid.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(24, &self.epoch.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(40, &self.meta_block.to_le_bytes());
        put(44, &self.xattr_block.to_le_bytes());
        put(48, &self.uuid);
        put(64, &self.label);
        put(80, &self.incompat.to_le_bytes());
        put(84, &self.algorithms.to_le_bytes());
        put(96, &self.packed_nid.to_le_bytes());
        out
    }
}

/// `struct erofs_inode_compact` or `struct erofs_inode_extended`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// The 64-byte form.
    pub extended: bool,
    /// `LAYOUT_*`.
    pub layout: u8,
    /// `i_xattr_icount`.
    pub xattr_count: u16,
    /// Type and permissions.
    pub mode: u16,
    /// Names.
    pub nlink: u32,
    /// Bytes.
    pub size: u64,
    /// Compressed blocks, first block, or device number, by layout and type.
    pub data: u32,
    /// `i_ino`, for 32-bit `stat` only.
    pub ino: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970 (the compact form has the superblock's epoch).
    pub mtime: u64,
}

/// Length of the compact form.
pub const INODE_COMPACT: u64 = 32;
/// Length of the extended form.
pub const INODE_EXTENDED: u64 = 64;

impl Inode {
    /// Whether the values fit the compact form (its time being the epoch).
    #[must_use]
    pub const fn fits_compact(nlink: u32, size: u64, uid: u32, gid: u32) -> bool {
        nlink <= 0xFFFF && size <= 0xFFFF_FFFF && uid <= 0xFFFF && gid <= 0xFFFF
    }

    /// Appends the on-disk form.
    pub fn put(&self, out: &mut Vec<u8>) {
        let format = u16::from(self.extended) | u16::from(self.layout) << 1;
        out.extend(format.to_le_bytes());
        out.extend(self.xattr_count.to_le_bytes());
        out.extend(self.mode.to_le_bytes());
        if self.extended {
            out.extend([0; 2]);
            out.extend(self.size.to_le_bytes());
            out.extend(self.data.to_le_bytes());
            out.extend(self.ino.to_le_bytes());
            out.extend(self.uid.to_le_bytes());
            out.extend(self.gid.to_le_bytes());
            out.extend(self.mtime.to_le_bytes());
            out.extend([0; 4]);
            out.extend(self.nlink.to_le_bytes());
            out.extend([0; 16]);
        } else {
            out.extend((self.nlink as u16).to_le_bytes());
            out.extend((self.size as u32).to_le_bytes());
            out.extend([0; 4]);
            out.extend(self.data.to_le_bytes());
            out.extend(self.ino.to_le_bytes());
            out.extend((self.uid as u16).to_le_bytes());
            out.extend((self.gid as u16).to_le_bytes());
            out.extend([0; 4]);
        }
    }
}

/// Device numbers as `new_encode_dev` of the kernel packs them; `None` when out of range.
#[must_use]
pub const fn encode_device(major: u32, minor: u32) -> Option<u32> {
    if major >= 1 << 12 || minor >= 1 << 20 {
        return None;
    }
    Some((minor & 0xFF) | major << 8 | (minor & !0xFF) << 12)
}

/// The reverse of [`encode_device`].
#[must_use]
pub const fn decode_device(device: u32) -> (u32, u32) {
    (
        (device >> 8) & 0xFFF,
        (device & 0xFF) | (device >> 12) & 0xF_FF00,
    )
}

/// CRC-32C over the first block from the superblock on, with the checksum field zero; not inverted
/// at the end (`erofs_superblock_csum_verify`).
#[must_use]
pub fn superblock_checksum(block: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for (i, &byte) in block.iter().enumerate() {
        crc ^= if (4..8).contains(&i) {
            0
        } else {
            u32::from(byte)
        };
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_packing() {
        for (major, minor, packed) in [(1, 3, 0x103), (8, 0x1234, 0x0120_0834)] {
            assert_eq!(encode_device(major, minor), Some(packed));
            assert_eq!(decode_device(packed), (major, minor));
        }
        assert_eq!(
            decode_device(encode_device(4095, 0xF_FFFF).unwrap()),
            (4095, 0xF_FFFF)
        );
        assert_eq!(encode_device(4096, 0), None);
        assert_eq!(encode_device(0, 1 << 20), None);
    }

    #[test]
    fn the_checksum_is_crc32c_without_the_last_inversion() {
        // CRC-32C("123456789") is e3069283; bytes 4 to 7 count as zero here.
        let mut state = u32::MAX;
        for byte in [b'1', b'2', b'3', b'4', 0, 0, 0, 0, b'9'] {
            state ^= u32::from(byte);
            for _ in 0..8 {
                state = state >> 1 ^ (0x82F6_3B78 & (state & 1).wrapping_neg());
            }
        }
        assert_eq!(superblock_checksum(b"123456789"), state);
    }

    #[test]
    fn inodes_have_their_fixed_lengths() {
        for (extended, len) in [(false, INODE_COMPACT), (true, INODE_EXTENDED)] {
            let inode = Inode {
                extended,
                layout: LAYOUT_COMPACT,
                xattr_count: 0,
                mode: 0o100_644,
                nlink: 1,
                size: 5,
                data: 1,
                ino: 1,
                uid: 0,
                gid: 0,
                mtime: 9,
            };
            let mut out = Vec::new();
            inode.put(&mut out);
            assert_eq!(out.len() as u64, len);
        }
    }
}
