//! The image writer: a plan, in which every offset is known, and its emission as one stream.
//!
//! Block 0 holds the superblock and the first inodes; the metadata area goes on behind it, then come
//! directory blocks, then the blocks of files in path order. Identical files share their blocks.
//! Nothing in a plan depends on anything but the tree and the options.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use rayon::prelude::*;
use uuid::Uuid;

use super::blob::{Blob, ChunkForm, Codec, CodecSettings};
use super::codec::window_log;
use super::dirent::{self, DirEntry};
use super::format::{self as fmt, BLOCK, INLINE_MAX, Inode, SuperBlock, file_type, mode};
use super::index::{self, Division, Extent};
use super::place::Placer;
use super::xattr::{self, XattrError};
use crate::failure::{Failure, Kind as FailureKind};
use crate::stamp::Stamp;
use crate::store::DamagedObject;
use crate::store::format::pieces;
use crate::tree::{Content, Kind, LinkGroup, Node, Tree, TreePath};

const BLOCK64: u64 = BLOCK as u64;

/// What an image is beside its tree.
#[derive(Debug, Clone)]
pub struct ImageOptions {
    /// Modification time of every inode.
    pub stamp: Stamp,
    /// File system UUID.
    pub uuid: Uuid,
    /// Label, at most 16 bytes.
    pub label: String,
    /// How content that is not compiled yet gets compiled.
    pub settings: CodecSettings,
}

/// Why a tree cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The label is too long.
    #[error("file system label `{0}` is longer than 16 bytes")]
    Label(String),
    /// The settings are out of range.
    #[error(transparent)]
    Settings(#[from] super::blob::BlobError),
    /// An attribute cannot be stored.
    #[error("{path}: {source}")]
    Xattr {
        /// The file.
        path: TreePath,
        /// What is wrong.
        source: XattrError,
    },
    /// A device number does not fit 12 and 20 bits.
    #[error("{path}: device number {major}:{minor} is out of range (4095:1048575)")]
    Device {
        /// The node.
        path: TreePath,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A symbolic link's target is empty or longer than 4095 bytes.
    #[error("{path}: a symbolic link's target must have 1 to 4095 bytes, this one has {len}")]
    Target {
        /// The link.
        path: TreePath,
        /// Its length.
        len: usize,
    },
    /// A node lies in something that is no directory.
    #[error("{0}: its parent is not a directory")]
    Parent(TreePath),
    /// Stored content is damaged.
    #[error(transparent)]
    Damaged(#[from] DamagedObject),
    /// More blocks than 32 bits count.
    #[error("the image would have {0} blocks of 4096 bytes, more than EROFS can address")]
    TooLarge(u64),
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let kind = match error {
            WriteError::TooLarge(_) => FailureKind::DoesNotFit,
            WriteError::Parent(_) => FailureKind::Bug,
            WriteError::Damaged(_) => FailureKind::Environment,
            _ => FailureKind::Usage,
        };
        Self::new(kind, error.to_string())
    }
}

/// Where the bytes of an image go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanStats {
    /// Inodes.
    pub inodes: u64,
    /// Bytes of superblock, inodes, indexes and inline data.
    pub metadata: u64,
    /// Bytes of directory blocks.
    pub directories: u64,
    /// Bytes of file blocks.
    pub data: u64,
    /// Bytes of file blocks that were not needed because an identical file has them.
    pub shared: u64,
    /// Bytes of data behind inodes (part of `metadata`).
    pub inline: u64,
}

/// A piece of an image, in order of emission.
#[derive(Debug, Clone, Copy)]
pub enum Segment<'a> {
    /// Superblock, inodes, directories.
    Metadata(&'a [u8]),
    /// The leading blocks of a blob (all but what went inline).
    Blob {
        /// The blob.
        blob: &'a Arc<Blob>,
        /// How many of its bytes are in the image.
        len: u64,
    },
}

impl Segment<'_> {
    /// Bytes in the image.
    #[must_use]
    pub const fn len(self) -> u64 {
        match self {
            Self::Metadata(bytes) => bytes.len() as u64,
            Self::Blob { len, .. } => len,
        }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// An image whose every offset is decided.
#[derive(Debug)]
pub struct Plan {
    metadata: Vec<u8>,
    blobs: Vec<(Arc<Blob>, u64)>,
    stats: PlanStats,
}

/// What follows an inode's fixed part and attributes, and where the rest of its data is.
enum Body {
    /// No data; the number is the inode's data field.
    Nothing(u32),
    /// Bytes made by the writer: link targets; directories, whose bytes are known once every inode
    /// has its number.
    Own { len: u64, inline: bool },
    /// A blob as is.
    Flat { blob: usize },
    /// A blob with compression indexes.
    Compressed { blob: usize },
}

struct Draft<'a> {
    path: &'a TreePath,
    node: &'a Node,
    nlink: u32,
    /// Name and inode of what is inside, if this is a directory; `.` and `..` included.
    children: Vec<(&'a [u8], usize)>,
    xattrs: Vec<u8>,
    body: Body,
    extended: bool,
    head: u64,
    tail: u64,
    offset: u64,
    block: u32,
}

/// A blob of the image and where it begins.
struct Placed {
    blob: Arc<Blob>,
    /// Length of the last chunk's stored form, when it goes behind inodes.
    inline: Option<u32>,
    /// The bytes that go behind each inode of this content.
    inline_bytes: Vec<u8>,
    /// Blocks that are emitted.
    blocks: u32,
    start: u32,
}

impl Placed {
    fn new(blob: Arc<Blob>) -> Self {
        let inline = blob.chunks().last().and_then(|last| {
            let len = match last.form {
                ChunkForm::Compressed { len } => len,
                // Plain clusters are extents of one block each, so the last can go alone.
                ChunkForm::Plain => last.raw_len % BLOCK,
            };
            (1..=INLINE_MAX).contains(&len).then_some(len)
        });
        let blocks = blob.blocks() as u32 - u32::from(inline.is_some());
        Self {
            blob,
            inline,
            inline_bytes: Vec::new(),
            blocks,
            start: 0,
        }
    }

    /// Reads what goes behind inodes.
    fn read_inline(&mut self) -> Result<(), DamagedObject> {
        let Some(len) = self.inline else {
            return Ok(());
        };
        let data = self.blob.data();
        let block = data.range(data.len().saturating_sub(BLOCK64)..data.len())?;
        let compressed = self
            .blob
            .chunks()
            .last()
            .is_some_and(|last| last.form != ChunkForm::Plain);
        let len = len as usize;
        let range = if compressed {
            block.len().saturating_sub(len)..block.len()
        } else {
            0..len
        };
        self.inline_bytes = block.get(range).unwrap_or_default().to_vec();
        Ok(())
    }

    fn extents(&self) -> Vec<Extent> {
        let chunks = self.blob.chunks();
        let mut start = self.start;
        let mut out = Vec::with_capacity(chunks.len());
        for (i, chunk) in chunks.iter().enumerate() {
            let plain = chunk.form == ChunkForm::Plain;
            let inline = self.inline.filter(|_| i + 1 == chunks.len());
            // What goes inline: all of a compressed chunk, the last block of a plain one.
            let (tail, tail_blocks) = match inline {
                Some(len) if plain => (len, 1),
                Some(_) => (chunk.raw_len, chunk.blocks),
                None => (0, 0),
            };
            let extent = |len: u32, start, blocks| Extent {
                len: u64::from(len),
                plain,
                start,
                blocks,
            };
            if chunk.raw_len > tail {
                let blocks = chunk.blocks - tail_blocks;
                out.push(extent(chunk.raw_len - tail, Some(start), blocks));
            }
            if tail > 0 {
                out.push(extent(tail, None, tail_blocks));
            }
            start += chunk.blocks;
        }
        out
    }
}

impl Draft<'_> {
    fn file_type(&self) -> (u8, u16) {
        match self.node.kind {
            Kind::Dir => (file_type::DIRECTORY, mode::DIRECTORY),
            Kind::File { .. } => (file_type::REGULAR, mode::REGULAR),
            Kind::Symlink(_) => (file_type::SYMLINK, mode::SYMLINK),
            Kind::CharDevice { .. } => (file_type::CHAR, mode::CHAR),
            Kind::BlockDevice { .. } => (file_type::BLOCK, mode::BLOCK),
            Kind::Fifo => (file_type::FIFO, mode::FIFO),
        }
    }

    fn size(&self, blobs: &[Placed]) -> u64 {
        match self.body {
            Body::Nothing(_) => 0,
            Body::Own { len, .. } => len,
            Body::Flat { blob } | Body::Compressed { blob } => blobs[blob].blob.size(),
        }
    }

    const fn nid(&self) -> u64 {
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
    fn measure(&mut self, blobs: &[Placed]) {
        let size = self.size(blobs);
        let meta = &self.node.meta;
        self.extended = !Inode::fits_compact(self.nlink, size, meta.uid, meta.gid);
        let fixed = self.fixed();
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
            Body::Flat { blob } => (fixed, u64::from(blobs[*blob].inline.unwrap_or(0))),
            Body::Compressed { blob } => {
                let indexes = fixed.next_multiple_of(8) + fmt::MAP_HEADER;
                let total = size.div_ceil(BLOCK64);
                let head = indexes + Division::new(indexes, total).size(total);
                (head, u64::from(blobs[*blob].inline.unwrap_or(0)))
            }
        };
    }

    /// Blocks of its own (not of a blob).
    const fn own_blocks(&self) -> u64 {
        match self.body {
            Body::Own { len, inline: true } => len / BLOCK64,
            Body::Own { len, inline: false } => len.div_ceil(BLOCK64),
            _ => 0,
        }
    }

    /// The inode with everything that belongs behind it.
    fn record(&self, ino: u32, stamp: Stamp, own: &[u8], blobs: &[Placed]) -> Vec<u8> {
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
                let placed = &blobs[blob];
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
            Body::Compressed { blob } => (fmt::LAYOUT_COMPACT, blobs[blob].blocks),
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
            size: self.size(blobs),
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
            Body::Flat { blob } => out.extend_from_slice(&blobs[blob].inline_bytes),
            Body::Compressed { blob } => {
                let placed = &blobs[blob];
                out.resize(out.len().next_multiple_of(8), 0);
                let mut advise = fmt::ADVISE_COMPACTED_2B | fmt::ADVISE_BIG_PCLUSTER;
                if placed.inline.is_some() {
                    advise |= fmt::ADVISE_INLINE_PCLUSTER;
                }
                out.extend([0; 2]);
                out.extend((placed.inline.unwrap_or(0) as u16).to_le_bytes());
                out.extend(advise.to_le_bytes());
                out.extend([algorithm(placed.blob.settings().codec), 0]);
                let position = self.offset + out.len() as u64;
                out.extend(index::encode(&placed.extents(), position));
                out.extend_from_slice(&placed.inline_bytes);
            }
        }
        debug_assert_eq!(out.len() as u64, self.head + self.tail);
        out
    }
}

const fn algorithm(codec: Codec) -> u8 {
    match codec {
        Codec::Zstd => fmt::ALGORITHM_ZSTD,
        Codec::Lz4hc | Codec::None => fmt::ALGORITHM_LZ4,
    }
}

/// One draft an inode, in path order, with names linked to inodes.
fn drafts(tree: &Tree) -> Result<Vec<Draft<'_>>, WriteError> {
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
            out.push(Draft {
                path,
                node,
                nlink: if is_dir { 2 } else { 1 },
                children: Vec::new(),
                xattrs: Vec::new(),
                body: Body::Nothing(0),
                extended: false,
                head: 0,
                tail: 0,
                offset: 0,
                block: 0,
            });
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

/// The compiled content of each file among `drafts`; what is plain bytes gets compiled here.
fn contents(drafts: &[Draft<'_>], settings: &CodecSettings) -> Vec<Option<Arc<Blob>>> {
    drafts
        .par_iter()
        .map(|draft| match draft.node.content()? {
            Content::Blob(blob) => Some(blob.clone()),
            Content::Bytes(bytes) => Some(Arc::new(Blob::compile(bytes, settings))),
        })
        .collect()
}

/// Body of an inode that is no regular file.
fn body_of(draft: &Draft<'_>) -> Result<Body, WriteError> {
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

/// The configuration records that follow the superblock, and the set of algorithms they are for.
fn configurations(blobs: &[Placed]) -> (u16, Vec<u8>) {
    let mut lz4_blocks = 0_u32;
    let mut zstd_window = 0_u8;
    for placed in blobs.iter().filter(|p| !p.blob.is_plain()) {
        match placed.blob.settings().codec {
            Codec::None => {}
            Codec::Zstd => {
                zstd_window = zstd_window.max(window_log(placed.blob.settings().chunk) as u8);
            }
            Codec::Lz4hc => {
                let most = placed.blob.chunks().iter().map(|c| match c.form {
                    ChunkForm::Compressed { .. } => c.blocks,
                    ChunkForm::Plain => 1,
                });
                lz4_blocks = lz4_blocks.max(most.max().unwrap_or(0));
            }
        }
    }
    let mut set = 0;
    let mut out = Vec::new();
    if lz4_blocks > 0 {
        set |= 1 << fmt::ALGORITHM_LZ4;
        out.extend(14_u16.to_le_bytes());
        out.extend(u16::MAX.to_le_bytes());
        out.extend((lz4_blocks as u16).to_le_bytes());
        out.extend([0; 10]);
    }
    if zstd_window > 0 {
        set |= 1 << fmt::ALGORITHM_ZSTD;
        out.extend(6_u16.to_le_bytes());
        out.extend([0, zstd_window - fmt::ZSTD_WINDOW_LOG_MIN, 0, 0, 0, 0]);
    }
    (set, out)
}

impl Plan {
    /// Lays out `tree`. Content that is not compiled yet is compiled here, on all threads.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn new(tree: &Tree, options: &ImageOptions) -> Result<Self, WriteError> {
        options.settings.check()?;
        let mut label = [0; 16];
        label
            .get_mut(..options.label.len())
            .ok_or_else(|| WriteError::Label(options.label.clone()))?
            .copy_from_slice(options.label.as_bytes());

        let mut drafts = drafts(tree)?;
        let mut stats = PlanStats {
            inodes: drafts.len() as u64,
            ..PlanStats::default()
        };
        let mut blobs: Vec<Placed> = Vec::new();
        let mut known: BTreeMap<([u8; 32], u64), usize> = BTreeMap::new();
        let contents = contents(&drafts, &options.settings);
        for (draft, content) in drafts.iter_mut().zip(contents) {
            draft.xattrs =
                xattr::encode(&draft.node.meta.xattrs).map_err(|source| WriteError::Xattr {
                    path: draft.path.clone(),
                    source,
                })?;
            draft.body = match content {
                Some(blob) if blob.size() > 0 => {
                    let key = (*blob.hash().as_bytes(), blob.size());
                    let index = match known.get(&key) {
                        Some(&index) => {
                            stats.shared += u64::from(blobs[index].blocks) * BLOCK64;
                            index
                        }
                        None => {
                            blobs.push(Placed::new(blob));
                            known.insert(key, blobs.len() - 1);
                            blobs.len() - 1
                        }
                    };
                    if blobs[index].blob.is_plain() {
                        Body::Flat { blob: index }
                    } else {
                        Body::Compressed { blob: index }
                    }
                }
                _ => body_of(draft)?,
            };
            draft.measure(&blobs);
        }

        blobs.par_iter_mut().try_for_each(Placed::read_inline)?;
        let (algorithms, configurations) = configurations(&blobs);
        let super_end = fmt::SUPER_OFFSET + fmt::SUPER_SIZE as u64 + configurations.len() as u64;
        let mut placer = Placer::new(super_end);
        for draft in &mut drafts {
            draft.offset = placer.place(draft.head, draft.tail);
            stats.inline += draft.tail;
        }
        stats.metadata = placer.end();
        let mut next = placer.end() / BLOCK64;
        for draft in &mut drafts {
            draft.block = next as u32;
            next += draft.own_blocks();
        }
        stats.directories = next * BLOCK64 - stats.metadata;
        let metadata_len = next * BLOCK64;
        for placed in &mut blobs {
            placed.start = next as u32;
            next += u64::from(placed.blocks);
        }
        stats.data = next * BLOCK64 - metadata_len;
        let blocks = u32::try_from(next)
            .ok()
            .filter(|&blocks| blocks < fmt::NULL_BLOCK)
            .ok_or(WriteError::TooLarge(next))?;

        let compressed = algorithms != 0;
        let tails = drafts.iter().any(|draft| match draft.body {
            Body::Compressed { blob } => blobs[blob].inline.is_some(),
            _ => false,
        });
        let mut superblock = SuperBlock {
            checksum: 0,
            compat: fmt::COMPAT_SB_CHKSUM | fmt::COMPAT_MTIME,
            // The root is the first inode to be placed, so its number is small.
            root_nid: drafts.first().map_or(0, |root| root.nid() as u16),
            inodes: drafts.len() as u64,
            epoch: options.stamp.seconds(),
            blocks,
            meta_block: 0,
            xattr_block: 0,
            uuid: options.uuid.into_bytes(),
            label,
            incompat: if compressed {
                fmt::INCOMPAT_0PADDING | fmt::INCOMPAT_COMPR_CFGS
            } else {
                0
            } | if tails { fmt::INCOMPAT_ZTAILPACKING } else { 0 },
            algorithms,
        };

        let mut metadata = vec![0; metadata_len as usize];
        put(
            &mut metadata,
            fmt::SUPER_OFFSET + fmt::SUPER_SIZE as u64,
            &configurations,
        );
        for (i, draft) in drafts.iter().enumerate() {
            let own = match &draft.node.kind {
                Kind::Dir => {
                    let entries: Vec<_> = draft
                        .children
                        .iter()
                        .map(|&(name, child)| DirEntry {
                            name: name.to_vec(),
                            nid: drafts[child].nid(),
                            file_type: drafts[child].file_type().0,
                        })
                        .collect();
                    dirent::encode(&entries)
                }
                Kind::Symlink(target) => target.clone(),
                _ => Vec::new(),
            };
            let ino = i as u32 + 1;
            let record = draft.record(ino, options.stamp, &own, &blobs);
            put(&mut metadata, draft.offset, &record);
            let blocks = (draft.own_blocks() * BLOCK64) as usize;
            let own = &own[..own.len().min(blocks)];
            put(&mut metadata, u64::from(draft.block) * BLOCK64, own);
        }
        // The checksum covers the whole first block, which has inodes in it.
        put(&mut metadata, fmt::SUPER_OFFSET, &superblock.to_bytes());
        superblock.checksum = fmt::superblock_checksum(
            metadata
                .get(fmt::SUPER_OFFSET as usize..BLOCK as usize)
                .unwrap_or_default(),
        );
        put(&mut metadata, fmt::SUPER_OFFSET, &superblock.to_bytes());

        Ok(Self {
            metadata,
            blobs: blobs
                .into_iter()
                .map(|placed| (placed.blob, u64::from(placed.blocks) * BLOCK64))
                .collect(),
            stats,
        })
    }

    /// Bytes of the image, a multiple of 4096.
    #[must_use]
    pub fn size(&self) -> u64 {
        let data: u64 = self.blobs.iter().map(|(_, len)| len).sum();
        self.metadata.len() as u64 + data
    }

    /// Where the bytes go.
    #[must_use]
    pub const fn stats(&self) -> PlanStats {
        self.stats
    }

    /// The image, piece by piece; each piece is a multiple of 4096 bytes.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let blobs = self.blobs.iter();
        std::iter::once(Segment::Metadata(&self.metadata))
            .chain(blobs.map(|(blob, len)| Segment::Blob { blob, len: *len }))
    }

    /// Writes the image from its first byte to its last.
    ///
    /// # Errors
    /// What `out` returns; stored content that is damaged.
    pub fn emit(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        for segment in self.segments() {
            match segment {
                Segment::Metadata(bytes) => out.write_all(bytes)?,
                Segment::Blob { blob, len } => {
                    for piece in pieces(blob.data().len()).take_while(|piece| piece.start < len) {
                        out.write_all(&blob.data().range(piece.start..piece.end.min(len))?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Copies `bytes` to `at`. The plan has made room; anything outside would be a bug in it.
fn put(area: &mut [u8], at: u64, bytes: &[u8]) {
    if let Some(room) = area.get_mut(at as usize..at as usize + bytes.len()) {
        room.copy_from_slice(bytes);
    } else {
        debug_assert!(
            bytes.is_empty(),
            "{} bytes at {at} lie outside",
            bytes.len()
        );
    }
}
