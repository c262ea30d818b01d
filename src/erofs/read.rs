//! The image reader, for `inspect` and verification. It reads every layout that the writer makes and
//! says so when it meets another. Nothing in an image is trusted: arithmetic is checked, memory is
//! bounded by the image's own length or the caller's limit, every walk ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::blob::Codec;
use super::codec::{self, DecodeError};
use super::dirent::{self, DirEntry};
use super::format::{self as fmt, BLOCK, SuperBlock, mode};
use super::index::{self, Division, Extent, IndexError, Last};
use super::packed::PackedInode;
use super::source::ReadAt;
use super::xattr;
use crate::tree::TreePath;

const BLOCK64: u64 = BLOCK as u64;
/// `Z_EROFS_PCLUSTER_MAX_DSIZE`: most bytes that one cluster decodes to.
const MAX_DECODED: u64 = 12 << 20;
/// `Z_EROFS_PCLUSTER_MAX_SIZE` in blocks.
const MAX_BLOCKS: u32 = 256;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading failed, or the image ends early.
    #[error("reading the image")]
    Io(#[from] io::Error),
    /// There is no EROFS superblock.
    #[error("this is no EROFS image: no superblock at byte 1024")]
    Magic,
    /// The superblock's checksum is wrong.
    #[error("the superblock's checksum is {found:08x}, its content has {expected:08x}")]
    Checksum {
        /// As stored.
        found: u32,
        /// As computed.
        expected: u32,
    },
    /// A feature that this reader does not have.
    #[error("{what} {value:#x} is not supported by this reader")]
    Unsupported {
        /// Of what.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// An inode or what belongs to it is damaged.
    #[error("inode {nid} is damaged: {what}")]
    Corrupt {
        /// The inode.
        nid: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Compression indexes are damaged.
    #[error("compression indexes are damaged")]
    Index(#[from] IndexError),
    /// Compressed data is damaged.
    #[error("compressed data is damaged")]
    Decode(#[from] DecodeError),
    /// The caller's limit.
    #[error("inode {nid} has {size} bytes, more than the {limit} asked for")]
    TooLarge {
        /// The inode.
        nid: u64,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
}

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InodeKind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Character device with major and minor number.
    CharDevice(u32, u32),
    /// Block device with major and minor number.
    BlockDevice(u32, u32),
    /// Named pipe.
    Fifo,
}

/// An inode as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InodeInfo {
    /// Its number.
    pub nid: u64,
    /// Type.
    pub kind: InodeKind,
    /// Permission bits, at most `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names.
    pub nlink: u32,
    /// Bytes.
    pub size: u64,
    /// Modification time in seconds.
    pub mtime: u64,
    layout: u8,
    data: u32,
    xattr_count: u16,
    /// Offset of what follows the fixed part.
    after: u64,
}

impl InodeInfo {
    /// Name of the data layout.
    #[must_use]
    pub const fn layout(&self) -> &'static str {
        match self.layout {
            fmt::LAYOUT_FLAT_PLAIN => "plain",
            fmt::LAYOUT_FLAT_INLINE => "inline",
            fmt::LAYOUT_COMPACT | fmt::LAYOUT_FULL => "compressed",
            _ => "unsupported",
        }
    }

    /// Whether a map header follows.
    pub(super) const fn is_indexed(&self) -> bool {
        matches!(self.layout, fmt::LAYOUT_COMPACT | fmt::LAYOUT_FULL)
    }
}

/// An image that is being read.
#[derive(Debug)]
pub struct Image<R> {
    data: R,
    size: u64,
    super_block: SuperBlock,
    packed: Option<PackedInode>,
}

/// A stretch of a compressed file.
enum Piece {
    /// One cluster; the last field is where it is when it has no block of its own: offset and length.
    Cluster(Codec, Extent, (u64, u64)),
    /// Bytes of the packed inode.
    Fragment { offset: u64, len: u64 },
}

/// How a compressed file is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub plain: u64,
    pub compressed: u64,
    pub blocks: u64,
    /// Offset and length in the packed inode.
    pub fragment: Option<(u64, u64)>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn parse_super(bytes: &[u8]) -> Option<SuperBlock> {
    Some(SuperBlock {
        checksum: u32_at(bytes, 4)?,
        compat: u32_at(bytes, 8)?,
        root_nid: u16_at(bytes, 14)?,
        inodes: u64_at(bytes, 16)?,
        epoch: u64_at(bytes, 24)?,
        blocks: u32_at(bytes, 36)?,
        meta_block: u32_at(bytes, 40)?,
        xattr_block: u32_at(bytes, 44)?,
        uuid: *bytes.get(48..)?.first_chunk()?,
        label: *bytes.get(64..)?.first_chunk()?,
        incompat: u32_at(bytes, 80)?,
        algorithms: u16_at(bytes, 84)?,
        packed_nid: u64_at(bytes, 96)?,
    })
}

impl<R: ReadAt> Image<R> {
    /// Reads and checks the superblock, and the indexes of the packed inode.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn open(data: R) -> Result<Self, ReadError> {
        let size = data.size()?;
        let mut block = vec![0; (BLOCK64 - fmt::SUPER_OFFSET) as usize];
        if size < BLOCK64 {
            return Err(ReadError::Magic);
        }
        data.read_exact_at(fmt::SUPER_OFFSET, &mut block)?;
        if u32_at(&block, 0) != Some(fmt::SUPER_MAGIC) {
            return Err(ReadError::Magic);
        }
        let super_block = parse_super(&block).ok_or(ReadError::Magic)?;
        let bits = block.get(12).copied().unwrap_or(0);
        for (what, value) in [
            ("block size exponent", u64::from(bits ^ fmt::BLOCK_BITS)),
            (
                "feature set",
                u64::from(super_block.incompat & !fmt::INCOMPAT_KNOWN),
            ),
        ] {
            if value != 0 {
                return Err(ReadError::Unsupported { what, value });
            }
        }
        if super_block.compat & fmt::COMPAT_SB_CHKSUM != 0 {
            let expected = fmt::superblock_checksum(&block);
            if super_block.checksum != expected {
                return Err(ReadError::Checksum {
                    found: super_block.checksum,
                    expected,
                });
            }
        }
        let mut image = Self {
            data,
            size,
            super_block,
            packed: None,
        };
        let nid = image.super_block.packed_nid;
        if image.super_block.incompat & fmt::INCOMPAT_FRAGMENTS != 0 && nid != 0 {
            let inode = image.inode(nid)?;
            image.packed = Some(PackedInode::load(&image, inode)?);
        }
        Ok(image)
    }

    /// The inode that the tails of files lie in, if there is one.
    #[must_use]
    pub const fn packed_inode(&self) -> Option<&InodeInfo> {
        match &self.packed {
            Some(packed) => Some(packed.inode()),
            None => None,
        }
    }

    /// The superblock.
    #[must_use]
    pub const fn super_block(&self) -> &SuperBlock {
        &self.super_block
    }

    /// The bytes at `at`; checked against the image's length before they are allocated.
    pub(super) fn bytes(&self, nid: u64, at: u64, len: u64) -> Result<Vec<u8>, ReadError> {
        let outside = ReadError::Corrupt {
            nid,
            what: "its data lies outside the image",
        };
        if at.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(outside);
        }
        let Ok(len) = usize::try_from(len) else {
            return Err(outside);
        };
        let mut buffer = vec![0; len];
        self.data.read_exact_at(at, &mut buffer)?;
        Ok(buffer)
    }

    /// The root directory.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn root(&self) -> Result<InodeInfo, ReadError> {
        self.inode(u64::from(self.super_block.root_nid))
    }

    /// The inode with number `nid`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn inode(&self, nid: u64) -> Result<InodeInfo, ReadError> {
        let corrupt = |what| ReadError::Corrupt { nid, what };
        let at = nid
            .checked_mul(fmt::SLOT)
            .and_then(|at| at.checked_add(u64::from(self.super_block.meta_block) * BLOCK64))
            .ok_or_else(|| corrupt("its number is out of range"))?;
        let compact = self.bytes(nid, at, fmt::INODE_COMPACT)?;
        let format = u16_at(&compact, 0).unwrap_or(0);
        if format >> 4 != 0 {
            return Err(ReadError::Unsupported {
                what: "inode format",
                value: u64::from(format),
            });
        }
        let extended = format & 1 == 1;
        let bytes = if extended {
            self.bytes(nid, at, fmt::INODE_EXTENDED)?
        } else {
            compact
        };
        let parse = || -> Option<(u16, InodeInfo)> {
            let mode = u16_at(&bytes, 4)?;
            let wide = |narrow: usize, broad: usize| -> Option<u32> {
                if extended {
                    u32_at(&bytes, broad)
                } else {
                    Some(u32::from(u16_at(&bytes, narrow)?))
                }
            };
            let info = InodeInfo {
                nid,
                kind: InodeKind::File,
                mode: mode & 0o7777,
                uid: wide(24, 24)?,
                gid: wide(26, 28)?,
                nlink: wide(6, 44)?,
                size: if extended {
                    u64_at(&bytes, 8)?
                } else {
                    u64::from(u32_at(&bytes, 8)?)
                },
                mtime: if extended {
                    u64_at(&bytes, 32)?
                } else {
                    self.super_block
                        .epoch
                        .wrapping_add(u64::from(u32_at(&bytes, 12)?))
                },
                layout: (format >> 1 & 7) as u8,
                data: u32_at(&bytes, 16)?,
                xattr_count: u16_at(&bytes, 2)?,
                after: at + bytes.len() as u64,
            };
            Some((mode, info))
        };
        let (mode, mut info) = parse().ok_or_else(|| corrupt("it is cut short"))?;
        let (major, minor) = fmt::decode_device(info.data);
        info.kind = match mode & mode::TYPE {
            mode::REGULAR => InodeKind::File,
            mode::DIRECTORY => InodeKind::Dir,
            mode::SYMLINK => InodeKind::Symlink,
            mode::CHAR => InodeKind::CharDevice(major, minor),
            mode::BLOCK => InodeKind::BlockDevice(major, minor),
            mode::FIFO => InodeKind::Fifo,
            _ => return Err(corrupt("its type is unknown")),
        };
        Ok(info)
    }

    /// Extended attributes by full name.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn xattrs(&self, inode: &InodeInfo) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ReadError> {
        let bytes = self.bytes(inode.nid, inode.after, xattr::size(inode.xattr_count))?;
        xattr::decode(&bytes).ok_or(ReadError::Corrupt {
            nid: inode.nid,
            what: "its extended attributes do not parse",
        })
    }

    /// The data of a flat inode; never more than the image has.
    fn flat(&self, inode: &InodeInfo) -> Result<Vec<u8>, ReadError> {
        let nid = inode.nid;
        let inline = match inode.layout {
            fmt::LAYOUT_FLAT_PLAIN => 0,
            fmt::LAYOUT_FLAT_INLINE => inode.size % BLOCK64,
            layout => {
                return Err(ReadError::Unsupported {
                    what: "data layout",
                    value: u64::from(layout),
                });
            }
        };
        let whole = inode.size - inline;
        let mut out = if whole > 0 {
            self.bytes(nid, u64::from(inode.data) * BLOCK64, whole)?
        } else {
            Vec::new()
        };
        if inline > 0 {
            let at = inode.after + xattr::size(inode.xattr_count);
            if at % BLOCK64 + inline > BLOCK64 {
                return Err(ReadError::Corrupt {
                    nid,
                    what: "its inline data crosses a block",
                });
            }
            out.extend(self.bytes(nid, at, inline)?);
        }
        Ok(out)
    }

    /// The entries of a directory but `.` and `..`, in order.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_dir(&self, inode: &InodeInfo) -> Result<Vec<DirEntry>, ReadError> {
        let corrupt = |what| ReadError::Corrupt {
            nid: inode.nid,
            what,
        };
        if inode.kind != InodeKind::Dir {
            return Err(corrupt("it is not a directory"));
        }
        let mut out: Vec<DirEntry> = Vec::new();
        for block in self.flat(inode)?.chunks(BLOCK as usize) {
            let entries = dirent::decode_block(block)
                .ok_or_else(|| corrupt("a block of directory entries does not parse"))?;
            for entry in entries {
                if out.last().is_some_and(|last| last.name >= entry.name) {
                    return Err(corrupt("its directory entries are not sorted"));
                }
                out.push(entry);
            }
        }
        out.retain(|entry| entry.name != b"." && entry.name != b"..");
        Ok(out)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_link(&self, inode: &InodeInfo) -> Result<Vec<u8>, ReadError> {
        if inode.kind != InodeKind::Symlink || inode.size > BLOCK64 {
            return Err(ReadError::Corrupt {
                nid: inode.nid,
                what: "it is not a symbolic link of at most 4096 bytes",
            });
        }
        self.flat(inode)
    }

    /// The content of a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_file(&self, inode: &InodeInfo, limit: u64) -> Result<Vec<u8>, ReadError> {
        if inode.size > limit {
            return Err(ReadError::TooLarge {
                nid: inode.nid,
                size: inode.size,
                limit,
            });
        }
        let mut out = Vec::new();
        self.copy_file(inode, &mut |piece| {
            out.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(out)
    }

    /// Hands the content of a regular file to `sink`, piece by piece; pieces of compressed files have
    /// at most 12 MiB.
    ///
    /// # Errors
    /// See [`ReadError`]; what `sink` returns.
    pub fn copy_file(
        &self,
        inode: &InodeInfo,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ReadError> {
        if inode.kind != InodeKind::File {
            return Err(ReadError::Corrupt {
                nid: inode.nid,
                what: "it is not a regular file",
            });
        }
        if !inode.is_indexed() {
            sink(&self.flat(inode)?)?;
            return Ok(());
        }
        self.pieces(inode, &mut |piece| match piece {
            Piece::Cluster(codec, extent, inline) => {
                sink(&self.extent(inode, codec, extent, inline)?)?;
                Ok(())
            }
            Piece::Fragment { offset, len } => {
                let packed = self.packed.as_ref().ok_or(ReadError::Corrupt {
                    nid: inode.nid,
                    what: "its end is in the packed inode, and the image has none",
                })?;
                packed.copy(self, offset, len, &mut |bytes| Ok(sink(bytes)?))
            }
        })
    }

    /// Walks through the extents of an inode that needs nothing but blocks: the packed one.
    pub(super) fn stretches(
        &self,
        inode: &InodeInfo,
        emit: &mut dyn FnMut(Codec, Extent) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let corrupt = |what| ReadError::Corrupt {
            nid: inode.nid,
            what,
        };
        if inode.kind != InodeKind::File {
            return Err(corrupt("the packed inode is not a regular file"));
        }
        if inode.layout == fmt::LAYOUT_FLAT_PLAIN {
            let outside = (u64::from(inode.data) * BLOCK64)
                .checked_add(inode.size)
                .is_none_or(|end| end > self.size);
            if outside {
                return Err(corrupt("its data lies outside the image"));
            }
            let extent = Extent {
                len: inode.size,
                plain: true,
                start: Some(inode.data),
                blocks: 0,
            };
            return emit(Codec::None, extent);
        }
        if !inode.is_indexed() {
            return Err(ReadError::Unsupported {
                what: "data layout of the packed inode",
                value: u64::from(inode.layout),
            });
        }
        self.pieces(inode, &mut |piece| match piece {
            Piece::Cluster(codec, extent, _) if extent.start.is_some() => emit(codec, extent),
            _ => Err(ReadError::Unsupported {
                what: "end of the packed inode",
                value: inode.size,
            }),
        })
    }

    /// Walks through a compressed inode.
    fn pieces(
        &self,
        inode: &InodeInfo,
        emit: &mut dyn FnMut(Piece) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let nid = inode.nid;
        let start = (inode.after + xattr::size(inode.xattr_count)).next_multiple_of(8);
        let header = self.bytes(nid, start, fmt::MAP_HEADER)?;
        let all = u64_at(&header, 0).unwrap_or(0);
        if all & fmt::FRAGMENT_INODE != 0 {
            return emit(Piece::Fragment {
                offset: all & !fmt::FRAGMENT_INODE,
                len: inode.size,
            });
        }
        if inode.layout != fmt::LAYOUT_COMPACT {
            return Err(ReadError::Unsupported {
                what: "data layout",
                value: u64::from(inode.layout),
            });
        }
        let offset = u32_at(&header, 0).unwrap_or(0);
        let inline_len = u16_at(&header, 2).unwrap_or(0);
        let advise = u16_at(&header, 4).unwrap_or(0);
        let algorithm = header.get(6).copied().unwrap_or(0);
        let cluster_bits = header.get(7).copied().unwrap_or(0);
        let wanted = fmt::ADVISE_COMPACTED_2B | fmt::ADVISE_BIG_PCLUSTER;
        let last = match advise ^ wanted {
            0 => Some(Last::Blocks),
            fmt::ADVISE_INLINE_PCLUSTER => Some(Last::Inline),
            fmt::ADVISE_FRAGMENT_PCLUSTER => Some(Last::Fragment),
            _ => None,
        };
        let Some(last) = last.filter(|_| cluster_bits == 0) else {
            return Err(ReadError::Unsupported {
                what: "compression layout",
                value: u64::from(advise) << 8 | u64::from(cluster_bits),
            });
        };
        let codec = match algorithm {
            fmt::ALGORITHM_LZ4 => Codec::Lz4hc,
            fmt::ALGORITHM_ZSTD => Codec::Zstd,
            other => {
                return Err(ReadError::Unsupported {
                    what: "compression algorithm",
                    value: u64::from(other),
                });
            }
        };
        let position = start + fmt::MAP_HEADER;
        let total = inode.size.div_ceil(BLOCK64);
        let len = Division::new(position, total).size(total);
        let bytes = self.bytes(nid, position, len)?;
        let place = (position + len, u64::from(inline_len));
        if last == Last::Inline && place.0 % BLOCK64 + place.1 > BLOCK64 {
            return Err(ReadError::Corrupt {
                nid,
                what: "its inline cluster crosses a block",
            });
        }
        index::decode(&bytes, position, inode.size, last, &mut |extent| {
            emit(if last == Last::Fragment && extent.start.is_none() {
                Piece::Fragment {
                    offset: u64::from(offset),
                    len: extent.len,
                }
            } else {
                Piece::Cluster(codec, extent, place)
            })
        })
    }

    pub(super) fn extent(
        &self,
        inode: &InodeInfo,
        codec: Codec,
        extent: Extent,
        inline: (u64, u64),
    ) -> Result<Vec<u8>, ReadError> {
        let nid = inode.nid;
        if extent.len > MAX_DECODED || extent.blocks > MAX_BLOCKS {
            return Err(ReadError::Corrupt {
                nid,
                what: "a compressed cluster is too large",
            });
        }
        let (at, stored_len) = match extent.start {
            Some(block) => (
                u64::from(block) * BLOCK64,
                u64::from(extent.blocks) * BLOCK64,
            ),
            None => inline,
        };
        let mut stored = self.bytes(nid, at, stored_len)?;
        let short = ReadError::Corrupt {
            nid,
            what: "a plain cluster is cut short",
        };
        if extent.plain {
            if (stored.len() as u64) < extent.len {
                return Err(short);
            }
            stored.truncate(extent.len as usize);
            return Ok(stored);
        }
        let padding = stored.iter().take_while(|&&byte| byte == 0).count();
        let mut out = vec![0; extent.len as usize];
        codec::decode(codec, &stored[padding..], &mut out)?;
        Ok(out)
    }

    /// How a compressed file is stored.
    pub(super) fn shape(&self, inode: &InodeInfo) -> Result<Shape, ReadError> {
        let mut shape = Shape::default();
        self.pieces(inode, &mut |piece| {
            match piece {
                Piece::Fragment { offset, len } => shape.fragment = Some((offset, len)),
                Piece::Cluster(_, extent, _) => {
                    shape.plain += u64::from(extent.plain);
                    shape.compressed += u64::from(!extent.plain);
                    if extent.start.is_some() {
                        shape.blocks += u64::from(extent.blocks);
                    }
                }
            }
            Ok(())
        })?;
        Ok(shape)
    }

    /// The inode at `path`; symbolic links are not followed. `None` when there is none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn lookup(&self, path: &TreePath) -> Result<Option<InodeInfo>, ReadError> {
        let mut at = self.root()?;
        for name in path.components() {
            if at.kind != InodeKind::Dir {
                return Ok(None);
            }
            let entries = self.read_dir(&at)?;
            let found = entries.binary_search_by(|entry| entry.name.as_slice().cmp(name));
            let Ok(index) = found else { return Ok(None) };
            at = self.inode(entries[index].nid)?;
        }
        Ok(Some(at))
    }

    /// Every path with its inode, in path order, the root first. A directory that is met twice is an
    /// error, and so are more names than an image of this length can hold.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn walk(&self) -> Result<Vec<(TreePath, InodeInfo)>, ReadError> {
        let mut out = Vec::new();
        let mut seen = BTreeSet::new();
        let mut todo = vec![(TreePath::root(), self.root()?)];
        let most = self.size / 12;
        let mut directories = 0_u64;
        while let Some((path, inode)) = todo.pop() {
            let corrupt = |what| ReadError::Corrupt {
                nid: inode.nid,
                what,
            };
            if inode.kind == InodeKind::Dir {
                if !seen.insert(inode.nid) {
                    return Err(corrupt("the directory has two names"));
                }
                directories = directories.saturating_add(inode.size);
                if directories > self.size {
                    return Err(corrupt("directories are larger than the image"));
                }
                for entry in self.read_dir(&inode)?.into_iter().rev() {
                    let path = path
                        .join(&entry.name)
                        .map_err(|_| corrupt("a name in it is not allowed"))?;
                    todo.push((path, self.inode(entry.nid)?));
                }
            }
            out.push((path, inode));
            if (out.len() + todo.len()) as u64 > most {
                return Err(ReadError::Corrupt {
                    nid: u64::from(self.super_block.root_nid),
                    what: "there are more names than the image can hold",
                });
            }
        }
        Ok(out)
    }
}
