//! Where the bytes of an image go: to each inode its share, and what no inode has, so that all of it
//! adds up to the image's size.

use std::collections::BTreeSet;

use super::draft::{Body, Draft};
use super::format::BLOCK;
use super::placed::{Contents, Placed};
use crate::tree::TreePath;

const BLOCK64: u64 = BLOCK as u64;

/// What one inode takes of an image. What several files have in common is the first one's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// The first of its names.
    pub path: TreePath,
    /// Bytes of the inode, its attributes, and the indexes of its content.
    pub metadata: u64,
    /// Bytes of content right behind the inode.
    pub inline: u64,
    /// Bytes of content in blocks of its own, as they are stored.
    pub data: u64,
    /// Bytes of its end in a pack: in each compressed chunk as large a part of the stored bytes as it
    /// has of those before compression.
    pub packed: u64,
    /// Bytes that its blocks have room for and that nothing is in.
    pub padding: u64,
}

impl Share {
    /// All of it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.metadata + self.inline + self.data + self.packed + self.padding
    }
}

/// Where all bytes of an image go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Each inode but the packed one, in order of the paths.
    pub shares: Vec<Share>,
    /// Bytes of superblock and codec configurations, and the unused ones before them.
    pub superblock: u64,
    /// Bytes of the packed inode, with its indexes.
    pub packs: u64,
    /// Bytes between inodes, and behind the last one of a block.
    pub gaps: u64,
    /// Bytes of the blocks of packs that nothing is in.
    pub pack_padding: u64,
}

impl Account {
    /// All bytes of the image.
    #[must_use]
    pub fn total(&self) -> u64 {
        let shares: u64 = self.shares.iter().map(Share::total).sum();
        shares + self.superblock + self.packs + self.gaps + self.pack_padding
    }

    /// The account of an image whose inodes are `drafts`: the superblock ends at byte `super_end`, the
    /// metadata at byte `metadata`.
    pub(super) fn of(
        drafts: &[Draft<'_>],
        contents: &Contents,
        super_end: u64,
        metadata: u64,
    ) -> Self {
        let packs = PackMap::of(&contents.packs);
        let mut account = Self {
            superblock: super_end,
            gaps: metadata - super_end,
            ..Self::default()
        };
        let mut seen = vec![false; contents.blobs.len()];
        let mut tails = BTreeSet::new();
        let mut packed = 0;
        for draft in drafts {
            account.gaps -= draft.head + draft.tail;
            if matches!(draft.body, Body::Packed) {
                account.packs += draft.head + draft.tail;
                continue;
            }
            let mut share = Share {
                path: draft.path.clone(),
                metadata: draft.head,
                inline: draft.tail,
                ..Share::default()
            };
            match draft.body {
                Body::Own { len, .. } => {
                    share.data = len - draft.tail;
                    share.padding = draft.own_blocks() * BLOCK64 - share.data;
                }
                Body::Flat { blob } | Body::Compressed { blob } | Body::Fragment { blob } => {
                    let placed = &contents.blobs[blob];
                    if !std::mem::replace(&mut seen[blob], true) {
                        share.data = placed.stored();
                        share.padding = u64::from(placed.blocks) * BLOCK64 - share.data;
                        if let (Some(at), Some(tail)) = (placed.fragment, placed.blob.tail())
                            && tails.insert(at)
                        {
                            share.packed = packs.between(at, at + u64::from(tail.len()));
                            packed += share.packed;
                        }
                    }
                }
                Body::Nothing(_) | Body::Packed => {}
            }
            account.shares.push(share);
        }
        account.packs += packs.stored - packed;
        account.pack_padding = contents.packed_blocks() * BLOCK64 - packs.stored;
        account
    }
}

impl Placed {
    /// Bytes of content in the blocks that are emitted.
    fn stored(&self) -> u64 {
        let chunks = self.blob.chunks().iter();
        let all: u64 = chunks.map(|chunk| u64::from(chunk.stored_len())).sum();
        all - u64::from(self.inline.unwrap_or(0))
    }
}

/// How far into the stored bytes of packs one is, so far into what they hold.
struct PackMap {
    /// For each chunk where it begins, in bytes before compression and stored.
    starts: Vec<(u64, u64)>,
    size: u64,
    stored: u64,
}

impl PackMap {
    fn of(packs: &[Placed]) -> Self {
        let (mut size, mut stored) = (0, 0);
        let mut starts = Vec::new();
        for chunk in packs.iter().flat_map(|pack| pack.blob.chunks()) {
            starts.push((size, stored));
            size += u64::from(chunk.raw_len);
            stored += u64::from(chunk.stored_len());
        }
        Self {
            starts,
            size,
            stored,
        }
    }

    /// Growing with `offset`, so that parts add up.
    fn at(&self, offset: u64) -> u64 {
        let next = self.starts.partition_point(|(raw, _)| *raw <= offset);
        let Some(&(raw, stored)) = next.checked_sub(1).and_then(|at| self.starts.get(at)) else {
            return 0;
        };
        let end = self.starts.get(next).copied();
        let (raw_end, stored_end) = end.unwrap_or((self.size, self.stored));
        let len = (raw_end - raw).max(1);
        stored + (offset - raw).min(len) * (stored_end - stored) / len
    }

    fn between(&self, from: u64, to: u64) -> u64 {
        self.at(to) - self.at(from)
    }
}
