//! The image writer: a plan, in which every offset is known, and its emission as one stream.
//!
//! Block 0 holds the superblock and the first inodes; the metadata area goes on behind it, then come
//! directory blocks, then packs, then the blocks of files in path order. Identical files share their
//! blocks.
//! Nothing in a plan depends on anything but the tree and the options.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use rayon::prelude::*;
use uuid::Uuid;

use super::account::Account;
use super::blob::{Blob, CodecSettings};
use super::dirent::{self, DirEntry};
use super::draft::{Body, Draft, body_of, drafts};
use super::file;
use super::format::{self as fmt, BLOCK, SuperBlock};
use super::pack::{NoPacks, PackBy, Packer, Packs};
use super::place::Placer;
use super::placed::{Contents, Placed, configurations};
use super::xattr::{self, XattrError};
use crate::failure::{Failure, Kind as FailureKind};
use crate::stamp::Stamp;
use crate::store::DamagedObject;
use crate::store::format::pieces;
use crate::tree::{Content, Kind, Meta, Node, Origin, Tree, TreePath};

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
    /// How packs, and content that is not compiled yet, get compiled.
    pub settings: CodecSettings,
    /// Whose tails lie in one pack, where files have tails.
    pub packs: PackBy,
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
    /// Reading the tails of files, or compiling a pack of them, failed.
    #[error("packing the ends of files: {0}")]
    Pack(String),
    /// The tail of a file that has more than a tail begins where 32 bits don't reach.
    #[error(
        "the packed ends of files have {0} bytes together; one begins behind 4 GiB, which EROFS \
         can't address"
    )]
    Packed(u64),
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
            WriteError::TooLarge(_) | WriteError::Packed(_) => FailureKind::DoesNotFit,
            WriteError::Parent(_) => FailureKind::Bug,
            WriteError::Pack(_) | WriteError::Damaged(_) => FailureKind::Environment,
            _ => FailureKind::Usage,
        };
        let failure = Self::new(kind, error.to_string());
        match error {
            WriteError::Packed(_) => failure.hint("set `root.compression.packing` to `none`"),
            _ => failure,
        }
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
    /// Bytes of the blocks of packs (part of `data`).
    pub packs: u64,
    /// Bytes of the tails in packs, before compression.
    pub packed: u64,
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
    account: Account,
}

/// The compiled content of each file among `drafts`; what is plain bytes gets compiled here.
fn compiled(
    drafts: &[Draft<'_>],
    settings: &CodecSettings,
    packs: &dyn Packs,
) -> Vec<Option<Arc<Blob>>> {
    drafts
        .par_iter()
        .map(|draft| match draft.node.content()? {
            Content::Blob(blob) => Some(blob.clone()),
            Content::Bytes(bytes) => Some(file::compiled(bytes, settings, packs)),
        })
        .collect()
}

impl Plan {
    /// Lays out `tree`. Content that is not compiled yet is compiled here, on all threads.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn new(tree: &Tree, options: &ImageOptions) -> Result<Self, WriteError> {
        Self::with_packs(tree, options, &NoPacks)
    }

    /// Lays out `tree` as [`Plan::new`] does; packs are taken from `packs`, or compiled and left
    /// there.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn with_packs(
        tree: &Tree,
        options: &ImageOptions,
        packs: &dyn Packs,
    ) -> Result<Self, WriteError> {
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
        let mut blobs: Vec<Arc<Blob>> = Vec::new();
        let mut known: BTreeMap<([u8; 32], u64), usize> = BTreeMap::new();
        let mut owners: Vec<Option<usize>> = Vec::with_capacity(drafts.len());
        let mut packer = Packer::new(options.packs);
        for (draft, content) in drafts
            .iter()
            .zip(compiled(&drafts, &options.settings, packs))
        {
            owners.push(content.filter(|blob| blob.size() > 0).map(|blob| {
                let key = (*blob.hash().as_bytes(), blob.size());
                *known.entry(key).or_insert_with(|| {
                    packer.add(draft.path, draft.node, &blob);
                    blobs.push(blob);
                    blobs.len() - 1
                })
            }));
        }
        let packed = packer
            .finish(&options.settings, packs)
            .map_err(|error| pack_error(&error))?;
        let mut contents = Contents::new(blobs, packed);
        if contents.blobs.iter().any(Placed::is_out_of_reach) {
            return Err(WriteError::Packed(contents.packed_size()));
        }

        let mut seen = vec![false; contents.blobs.len()];
        for (draft, blob) in drafts.iter_mut().zip(owners) {
            draft.xattrs =
                xattr::encode(&draft.node.meta.xattrs).map_err(|source| WriteError::Xattr {
                    path: draft.path.clone(),
                    source,
                })?;
            draft.body = match blob {
                Some(blob) => {
                    let placed = &contents.blobs[blob];
                    if std::mem::replace(&mut seen[blob], true) {
                        stats.shared += u64::from(placed.blocks) * BLOCK64;
                    }
                    if placed.is_flat() {
                        Body::Flat { blob }
                    } else if placed.is_fragment() {
                        Body::Fragment { blob }
                    } else {
                        Body::Compressed { blob }
                    }
                }
                None => body_of(draft)?,
            };
        }
        // Last, because its indexes are long and numbers of inodes, the root's above all, are short.
        let (nowhere, nobody) = (TreePath::root(), packed_node());
        if !contents.packs.is_empty() {
            let mut draft = Draft::new(&nowhere, &nobody);
            draft.body = Body::Packed;
            drafts.push(draft);
        }
        for draft in &mut drafts {
            draft.measure(&contents);
        }

        let blobs = contents.blobs.par_iter_mut();
        blobs.try_for_each(Placed::read_inline)?;
        let (algorithms, configurations) = configurations(&contents);
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
        next = contents.place(next);
        stats.data = next * BLOCK64 - metadata_len;
        stats.packs = contents.packed_blocks() * BLOCK64;
        stats.packed = contents.packed_size();
        let blocks = u32::try_from(next)
            .ok()
            .filter(|&blocks| blocks < fmt::NULL_BLOCK)
            .ok_or(WriteError::TooLarge(next))?;

        let account = Account::of(&drafts, &contents, super_end, stats.metadata);
        let compressed = algorithms != 0;
        let tails = drafts.iter().any(|draft| match draft.body {
            Body::Compressed { blob } => contents.blobs[blob].inline.is_some(),
            _ => false,
        });
        let packed = drafts
            .last()
            .filter(|draft| matches!(draft.body, Body::Packed));
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
            } | if tails { fmt::INCOMPAT_ZTAILPACKING } else { 0 }
                | packed.map_or(0, |_| fmt::INCOMPAT_FRAGMENTS),
            algorithms,
            packed_nid: packed.map_or(0, Draft::nid),
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
            let record = draft.record(ino, options.stamp, &own, &contents);
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
            blobs: contents
                .iter()
                .map(|placed| (placed.blob.clone(), u64::from(placed.blocks) * BLOCK64))
                .collect(),
            stats,
            account,
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

    /// Where the bytes go, inode by inode.
    #[must_use]
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// The same of a plan that is done with.
    #[must_use]
    pub fn into_account(self) -> Account {
        self.account
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

/// Tells damage in the cache, which can be mended, from everything else.
fn pack_error(error: &anyhow::Error) -> WriteError {
    let damaged = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .find_map(|cause| cause.get_ref()?.downcast_ref::<DamagedObject>());
    match damaged {
        Some(damaged) => WriteError::Damaged(damaged.clone()),
        None => WriteError::Pack(format!("{error:#}")),
    }
}

/// The packed inode, which no directory names.
fn packed_node() -> Node {
    Node {
        meta: Meta::root(0),
        kind: Kind::File {
            content: Content::from(""),
            link: None,
        },
        origin: Origin::Generated("packed inode".into()),
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
