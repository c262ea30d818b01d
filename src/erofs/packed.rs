//! Reading out of the packed inode, where tails of files lie.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::blob::Codec;
use super::format::BLOCK;
use super::index::Extent;
use super::read::{Image, InodeInfo, ReadError};
use super::source::ReadAt;

const BLOCK64: u64 = BLOCK as u64;
/// Extents that are kept in memory: those of 4 GiB in chunks of 4 KiB, more than any image needs.
const MAX_EXTENTS: usize = 1 << 20;
/// Decoded bytes that are kept, as files of one directory have their tails side by side.
const KEPT: usize = 16 << 20;
/// Bytes of plain data that are handed out at once.
const PIECE: u64 = 1 << 20;

/// Stored as one piece, or as plain blocks in a row.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Where in the inode it begins.
    at: u64,
    extent: Extent,
}

/// The packed inode of an image.
pub(super) struct PackedInode {
    inode: InodeInfo,
    codec: Codec,
    runs: Vec<Run>,
    /// Decoded runs by where they begin, the one used last in front.
    kept: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
}

impl fmt::Debug for PackedInode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedInode")
            .field("inode", &self.inode)
            .field("runs", &self.runs.len())
            .finish_non_exhaustive()
    }
}

impl PackedInode {
    pub(super) fn load<R: ReadAt>(image: &Image<R>, inode: InodeInfo) -> Result<Self, ReadError> {
        let mut packed = Self {
            codec: Codec::None,
            runs: Vec::new(),
            kept: Mutex::default(),
            inode,
        };
        let mut at = 0;
        let inode = &packed.inode;
        image.stretches(inode, &mut |codec, extent| {
            packed.codec = codec;
            let run = Run { at, extent };
            at += extent.len;
            if !packed.runs.last_mut().is_some_and(|last| last.join(&run)) {
                packed.runs.push(run);
            }
            if packed.runs.len() > MAX_EXTENTS {
                return Err(ReadError::Corrupt {
                    nid: inode.nid,
                    what: "it has more pieces than any packed inode needs",
                });
            }
            Ok(())
        })?;
        Ok(packed)
    }

    pub(super) const fn inode(&self) -> &InodeInfo {
        &self.inode
    }

    fn decoded<R: ReadAt>(&self, image: &Image<R>, run: &Run) -> Result<Arc<Vec<u8>>, ReadError> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut kept = kept();
            if let Some(found) = kept.iter().position(|(at, _)| *at == run.at)
                && let Some(hit) = kept.remove(found)
            {
                kept.push_front(hit.clone());
                return Ok(hit.1);
            }
        }
        let bytes = Arc::new(image.extent(&self.inode, self.codec, run.extent, (0, 0))?);
        let mut kept = kept();
        kept.push_front((run.at, bytes.clone()));
        while kept.len() > 1 && kept.iter().map(|(_, b)| b.len()).sum::<usize>() > KEPT {
            kept.pop_back();
        }
        Ok(bytes)
    }

    /// Hands out `len` bytes from `offset` on.
    pub(super) fn copy<R: ReadAt>(
        &self,
        image: &Image<R>,
        mut offset: u64,
        len: u64,
        emit: &mut dyn FnMut(&[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let outside = || ReadError::Corrupt {
            nid: self.inode.nid,
            what: "a file has its end outside the packed inode",
        };
        let end = offset
            .checked_add(len)
            .filter(|&end| end <= self.inode.size)
            .ok_or_else(outside)?;
        let first = self.runs.partition_point(|run| run.end() <= offset);
        for run in self.runs.get(first..).unwrap_or_default() {
            while offset < end.min(run.end()) {
                let skip = offset - run.at;
                let want = end.min(run.end()) - offset;
                offset += if let (true, Some(start)) = (run.extent.plain, run.extent.start) {
                    let want = want.min(PIECE);
                    let from = u64::from(start) * BLOCK64 + skip;
                    emit(&image.bytes(self.inode.nid, from, want)?)?;
                    want
                } else {
                    let bytes = self.decoded(image, run)?;
                    let piece = bytes.get(skip as usize..(skip + want) as usize);
                    emit(piece.ok_or_else(outside)?)?;
                    want
                };
            }
            if offset == end {
                break;
            }
        }
        if offset == end {
            Ok(())
        } else {
            Err(outside())
        }
    }
}

impl Run {
    const fn end(&self) -> u64 {
        self.at + self.extent.len
    }

    /// Takes `next` in, if both are plain and lie in a row.
    fn join(&mut self, next: &Self) -> bool {
        let row = |from: Extent, to: Extent| {
            let after = u64::from(from.start?) * BLOCK64 + from.len;
            Some(after == u64::from(to.start?) * BLOCK64)
        };
        let joins =
            self.extent.plain && next.extent.plain && row(self.extent, next.extent) == Some(true);
        if joins {
            self.extent.len += next.extent.len;
        }
        joins
    }
}
