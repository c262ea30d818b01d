//! Layout of `modules.*.bin` (kmod, `libkmod/libkmod-index.c`, "Index file searching").
//!
//! All numbers are big-endian. A file is [`MAGIC`], [`VERSION`], the offset of the root, then nodes,
//! parents before children. A node is, each part only where its flag is set in the offset that leads
//! to it:
//!
//! ```text
//! prefix    NUL-terminated bytes that all keys below share              FLAG_PREFIX
//! first     u8   lowest child byte                                      FLAG_CHILDREN
//! last      u8   highest child byte
//! children  u32 × (last - first + 1), 0 where there is none
//! count     u32                                                         FLAG_VALUES
//! values    count × (u32 priority, NUL-terminated text)
//! ```

/// First word.
pub const MAGIC: u32 = 0xB007_F457;
/// Second word: major 2 in the upper half, minor 1 in the lower.
pub const VERSION: u32 = 0x0002_0001;
/// Bytes of the header.
pub const HEADER: u32 = 12;
/// The node has a prefix.
pub const FLAG_PREFIX: u32 = 0x8000_0000;
/// The node has values.
pub const FLAG_VALUES: u32 = 0x4000_0000;
/// The node has children.
pub const FLAG_CHILDREN: u32 = 0x2000_0000;
/// The part of an offset that is a position in the file.
pub const OFFSET: u32 = 0x0FFF_FFFF;
/// Keys consist of bytes below this.
pub const CHILD_MAX: u8 = 128;
/// Longest key: kmod reads into buffers of `PATH_MAX`.
pub const KEY_MAX: usize = 4095;
