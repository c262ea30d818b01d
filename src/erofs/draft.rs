//! Inodes on their way into an image: what belongs behind each, and their on-disk form.

use std::collections::BTreeMap;

use super::blob::Codec;
use super::dirent;
use super::format::{self as fmt, BLOCK, INLINE_MAX, Inode, file_type, mode};
use super::index::{self, Division, Extent};
use super::placed::Contents;
use super::write::WriteError;
use super::xattr;
use crate::stamp::Stamp;
use crate::tree::{Kind, LinkGroup, Node, Tree, TreePath};

const BLOCK64: u64 = BLOCK as u64;

/// What follows an inode's fixed part and attributes, and where the rest of its data is.
pub(super) enum Body {
    /// No data; the number is the inode's data field.
    Nothing(u32),
    /// Bytes made by the writer: link targets; directories, whose bytes are known once every inode
    /// has its number.
    Own { len: u64, inline: bool },
    /// A blob as is.
    Flat { blob: usize },
    /// A blob with compression indexes.
    Compressed { blob: usize },
    /// A blob that lies in the packed inode as a whole.
    Fragment { blob: usize },
    /// The packed inode.
    Packed,
}

pub(super) struct Draft<'a> {
    pub path: &'a TreePath,
    pub node: &'a Node,
    pub nlink: u32,
    /// Name and inode of what is inside, if this is a directory; `.` and `..` included.
    pub children: Vec<(&'a [u8], usize)>,
    pub xattrs: Vec<u8>,
    pub body: Body,
    pub extended: bool,
    pub head: u64,
    pub tail: u64,
    pub offset: u64,
    pub block: u32,
}

impl<'a> Draft<'a> {
    pub(super) const fn new(path: &'a TreePath, node: &'a Node) -> Self {
        Self {
            path,
            node,
            nlink: if node.is_dir() { 2 } else { 1 },
            children: Vec::new(),
            xattrs: Vec::new(),
            body: Body::Nothing(0),
            extended: false,
            head: 0,
            tail: 0,
            offset: 0,
            block: 0,
        }
    }

    pub(super) fn file_type(&self) -> (u8, u16) {
        match self.node.kind {
            Kind::Dir => (file_type::DIRECTORY, mode::DIRECTORY),
            Kind::File { .. } => (file_type::REGULAR, mode::REGULAR),
            Kind::Symlink(_) => (file_type::SYMLINK, mode::SYMLINK),
            Kind::CharDevice { .. } => (file_type::CHAR, mode::CHAR),
            Kind::BlockDevice { .. } => (file_type::BLOCK, mode::BLOCK),
            Kind::Fifo => (file_type::FIFO, mode::FIFO),
        }
    }

    pub(super) fn size(&self, contents: &Contents) -> u64 {
        match self.body {
            Body::Nothing(_) => 0,
            Body::Own { len, .. } => len,
            Body::Flat { blob } | Body::Compressed { blob } | Body::Fragment { blob } => {
                contents.blobs[blob].blob.size()
            }
            Body::Packed => contents.packed_size(),
        }
    }

    pub(super) const fn nid(&self) -> u64 {
        self.offset / fmt::SLOT
    }

    /// Bytes of the inode's fixed part and attributes.
    fn fixed(&self) -> u64 {
        let inode = if self.extended {
            fmt::INODE_EXTENDED
        } else {
            fmt::INODE_COMPACT
        };
        inode + self.xattrs.len() as u64
    }

    /// Decides the inode's form and length.
    pub(super) fn measure(&mut self, contents: &Contents) {
        let size = self.size(contents);
        let meta = &self.node.meta;
        self.extended = !Inode::fits_compact(self.nlink, size, meta.uid, meta.gid);
        let fixed = self.fixed();
        let header = fixed.next_multiple_of(8) + fmt::MAP_HEADER;
        let total = size.div_ceil(BLOCK64);
        let indexed = header + Division::new(header, total).size(total);
        let inline = |blob: usize| u64::from(contents.blobs[blob].inline.unwrap_or(0));
        (self.head, self.tail) = match &mut self.body {
            Body::Nothing(_) => (fixed, 0),
            Body::Own { len, inline } => {
                let tail = *len % BLOCK64;
                // The kernel reads the target of a link from the block of its inode.
                let near = self.children.is_empty();
                *inline = (1..=u64::from(INLINE_MAX)).contains(&tail)
                    && (!near || fixed + tail <= BLOCK64);
                (fixed, if *inline { tail } else { 0 })
            }
            Body::Flat { blob } => (fixed, inline(*blob)),
            Body::Compressed { blob } => (indexed, inline(*blob)),
            Body::Fragment { .. } => (header, 0),
            Body::Packed if contents.packed_is_flat() => (fixed, 0),
            Body::Packed => (indexed, 0),
        };
    }

    /// Blocks of its own (not of a blob).
    pub(super) const fn own_blocks(&self) -> u64 {
        match self.body {
            Body::Own { len, inline: true } => len / BLOCK64,
            Body::Own { len, inline: false } => len.div_ceil(BLOCK64),
            _ => 0,
        }
    }

    /// The inode with everything that belongs behind it.
    pub(super) fn record(
        &self,
        ino: u32,
        stamp: Stamp,
        own: &[u8],
        contents: &Contents,
    ) -> Vec<u8> {
        let (layout, data) = match self.body {
            Body::Nothing(data) => (fmt::LAYOUT_FLAT_PLAIN, data),
            Body::Own { inline, .. } => (
                if inline {
                    fmt::LAYOUT_FLAT_INLINE
                } else {
                    fmt::LAYOUT_FLAT_PLAIN
                },
                if self.own_blocks() > 0 {
                    self.block
                } else {
                    fmt::NULL_BLOCK
                },
            ),
            Body::Flat { blob } => {
                let placed = &contents.blobs[blob];
                (
                    if placed.inline.is_some() {
                        fmt::LAYOUT_FLAT_INLINE
                    } else {
                        fmt::LAYOUT_FLAT_PLAIN
                    },
                    if placed.blocks > 0 {
                        placed.start
                    } else {
                        fmt::NULL_BLOCK
                    },
                )
            }
            Body::Compressed { blob } => (fmt::LAYOUT_COMPACT, contents.blobs[blob].blocks),
            Body::Fragment { .. } => (fmt::LAYOUT_FULL, 0),
            Body::Packed if contents.packed_is_flat() => (
                fmt::LAYOUT_FLAT_PLAIN,
                contents.packs.first().map_or(fmt::NULL_BLOCK, |p| p.start),
            ),
            Body::Packed => (fmt::LAYOUT_COMPACT, contents.packed_blocks() as u32),
        };
        let meta = &self.node.meta;
        let mut out = Vec::with_capacity((self.head + self.tail) as usize);
        Inode {
            extended: self.extended,
            layout,
            // The encoder has refused what does not fit.
            xattr_count: xattr::count(self.xattrs.len()).unwrap_or(0),
            mode: self.file_type().1 | meta.mode & 0o7777,
            nlink: self.nlink,
            size: self.size(contents),
            data,
            ino,
            uid: meta.uid,
            gid: meta.gid,
            mtime: stamp.seconds(),
        }
        .put(&mut out);
        out.extend_from_slice(&self.xattrs);
        match self.body {
            Body::Nothing(_) => {}
            Body::Own { len, inline } => {
                if inline {
                    let whole = (len / BLOCK64 * BLOCK64) as usize;
                    out.extend_from_slice(own.get(whole..).unwrap_or_default());
                }
            }
            Body::Flat { blob } => out.extend_from_slice(&contents.blobs[blob].inline_bytes),
            Body::Compressed { blob } => {
                let placed = &contents.blobs[blob];
                let codec = placed.blob.settings().codec;
                let (first, advise) = match (placed.fragment, placed.inline) {
                    (Some(offset), _) => (offset as u32, fmt::ADVISE_FRAGMENT_PCLUSTER),
                    // `h_idata_size` is the second half of the four bytes.
                    (None, Some(len)) => (len << 16, fmt::ADVISE_INLINE_PCLUSTER),
                    (None, None) => (0, 0),
                };
                self.put_indexes(&mut out, first, advise, codec, &placed.extents());
                out.extend_from_slice(&placed.inline_bytes);
            }
            Body::Fragment { blob } => {
                let offset = contents.blobs[blob].fragment.unwrap_or(0);
                out.resize(out.len().next_multiple_of(8), 0);
                out.extend((offset | fmt::FRAGMENT_INODE).to_le_bytes());
            }
            Body::Packed if contents.packed_is_flat() => {}
            Body::Packed => {
                let codec = contents
                    .packs
                    .first()
                    .map(|pack| pack.blob.settings().codec);
                let codec = codec.unwrap_or(Codec::None);
                self.put_indexes(&mut out, 0, 0, codec, &contents.packed_extents());
            }
        }
        debug_assert_eq!(out.len() as u64, self.head + self.tail);
        out
    }

    /// Appends map header and indexes to an inode's fixed part and attributes.
    fn put_indexes(
        &self,
        out: &mut Vec<u8>,
        first: u32,
        advise: u16,
        codec: Codec,
        extents: &[Extent],
    ) {
        let advise = advise | fmt::ADVISE_COMPACTED_2B | fmt::ADVISE_BIG_PCLUSTER;
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend(first.to_le_bytes());
        out.extend(advise.to_le_bytes());
        out.extend([algorithm(codec), 0]);
        let position = self.offset + out.len() as u64;
        out.extend(index::encode(extents, position));
    }
}

const fn algorithm(codec: Codec) -> u8 {
    match codec {
        Codec::Zstd => fmt::ALGORITHM_ZSTD,
        Codec::Lz4hc | Codec::None => fmt::ALGORITHM_LZ4,
    }
}

/// One draft an inode, in path order, with names linked to inodes.
pub(super) fn drafts(tree: &Tree) -> Result<Vec<Draft<'_>>, WriteError> {
    let mut out: Vec<Draft<'_>> = Vec::with_capacity(tree.len());
    let mut groups: BTreeMap<LinkGroup, usize> = BTreeMap::new();
    let mut dirs: BTreeMap<&TreePath, usize> = BTreeMap::new();
    for (path, node) in tree.iter() {
        let known = match &node.kind {
            Kind::File {
                link: Some(group), ..
            } => Some((*group, groups.get(group).copied())),
            _ => None,
        };
        let index = if let Some((_, Some(first))) = known {
            out[first].nlink += 1;
            first
        } else {
            let is_dir = node.is_dir();
            out.push(Draft::new(path, node));
            let index = out.len() - 1;
            if let Some((group, None)) = known {
                groups.insert(group, index);
            }
            if is_dir {
                dirs.insert(path, index);
                out[index].children.push((b".", index));
            }
            index
        };
        let parent = match path.parent() {
            Some(parent) => *dirs
                .get(&parent)
                .ok_or_else(|| WriteError::Parent(path.clone()))?,
            None => index,
        };
        if !path.is_root() {
            out[parent].children.push((path.name(), index));
            out[parent].nlink += u32::from(node.is_dir());
        }
        if node.is_dir() {
            out[index].children.push((b"..", parent));
        }
    }
    for draft in &mut out {
        draft.children.sort_unstable();
    }
    Ok(out)
}

/// Body of an inode that is no regular file.
pub(super) fn body_of(draft: &Draft<'_>) -> Result<Body, WriteError> {
    let path = || draft.path.clone();
    Ok(match &draft.node.kind {
        Kind::Dir => {
            let (counts, last) = dirent::divide(draft.children.iter().map(|(n, _)| n.len()));
            Body::Own {
                len: (counts.len() as u64 - 1) * BLOCK64 + last,
                inline: false,
            }
        }
        Kind::Symlink(target) => {
            if !(1..BLOCK as usize).contains(&target.len()) {
                return Err(WriteError::Target {
                    path: path(),
                    len: target.len(),
                });
            }
            Body::Own {
                len: target.len() as u64,
                inline: false,
            }
        }
        &Kind::CharDevice { major, minor } | &Kind::BlockDevice { major, minor } => Body::Nothing(
            fmt::encode_device(major, minor).ok_or_else(|| WriteError::Device {
                path: path(),
                major,
                minor,
            })?,
        ),
        Kind::Fifo => Body::Nothing(0),
        Kind::File { .. } => Body::Nothing(fmt::NULL_BLOCK),
    })
}
