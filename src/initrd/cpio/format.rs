//! The "newc" format (kernel, `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! An entry is [`MAGIC`], thirteen fields of eight hexadecimal digits, the name with a NUL, padding
//! to four bytes, the content, padding to four bytes. Names of one inode carry the same number; the
//! content stands with the last of them. An entry named [`TRAILER`] ends the archive and makes the
//! kernel forget its inode numbers.

/// First six bytes of an entry.
pub const MAGIC: &[u8; 6] = b"070701";
/// The name that ends an archive.
pub const TRAILER: &str = "TRAILER!!!";
/// Bytes of magic and fields.
pub const HEADER: usize = 6 + FIELDS * 8;
/// Number of fields.
pub const FIELDS: usize = 13;
/// Longest name with its NUL (`PATH_MAX`).
pub const NAME_MAX: usize = 4096;

/// `S_IFMT`: the bits of the mode that say what the entry is.
pub const TYPE: u32 = 0o170_000;
/// A directory.
pub const DIRECTORY: u32 = 0o040_000;
/// A regular file.
pub const REGULAR: u32 = 0o100_000;
/// A symbolic link; the content is its target.
pub const SYMLINK: u32 = 0o120_000;
/// A character device.
pub const CHARACTER: u32 = 0o020_000;
/// A block device.
pub const BLOCK: u32 = 0o060_000;
/// A named pipe.
pub const FIFO: u32 = 0o010_000;

/// The fields of an entry, in their order; all numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Inode number.
    pub ino: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that the inode has in this archive.
    pub nlink: u32,
    /// Seconds since the epoch.
    pub mtime: u32,
    /// Bytes of content.
    pub size: u32,
    /// Device that holds the inode: major, minor.
    pub dev: (u32, u32),
    /// Device that the inode is: major, minor.
    pub rdev: (u32, u32),
    /// Bytes of the name with its NUL.
    pub name_len: u32,
}

impl Header {
    /// The fields as they stand in the file; the last one, a checksum, is unused.
    #[must_use]
    pub const fn fields(&self) -> [u32; FIELDS] {
        [
            self.ino,
            self.mode,
            self.uid,
            self.gid,
            self.nlink,
            self.mtime,
            self.size,
            self.dev.0,
            self.dev.1,
            self.rdev.0,
            self.rdev.1,
            self.name_len,
            0,
        ]
    }

    /// The header with these fields.
    #[must_use]
    pub const fn from_fields(fields: [u32; FIELDS]) -> Self {
        let [
            ino,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            size,
            dev0,
            dev1,
            rdev0,
            rdev1,
            name_len,
            _,
        ] = fields;
        Self {
            ino,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            size,
            dev: (dev0, dev1),
            rdev: (rdev0, rdev1),
            name_len,
        }
    }
}
