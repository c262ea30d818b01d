//! An image as stable text: one line an inode, for `inspect` and snapshots.

use std::fmt::Write as _;

use super::read::{Image, InodeInfo, InodeKind, ReadError};
use super::source::ReadAt;
use crate::digest::hex;

fn put_shape<R: ReadAt>(
    out: &mut String,
    image: &Image<R>,
    inode: &InodeInfo,
) -> Result<(), ReadError> {
    if !inode.is_indexed() {
        return Ok(());
    }
    let shape = image.shape(inode)?;
    let (compressed, plain) = (shape.compressed, shape.plain);
    let _ = write!(
        out,
        " clusters={compressed}+{plain} blocks={}",
        shape.blocks
    );
    if let Some((offset, len)) = shape.fragment {
        let _ = write!(out, " packed={offset}+{len}");
    }
    Ok(())
}

/// Describes superblock and every path. `content` adds the BLAKE3 of each file.
///
/// # Errors
/// See [`ReadError`].
pub fn dump<R: ReadAt>(image: &Image<R>, content: bool) -> Result<String, ReadError> {
    let mut out = String::new();
    let s = image.super_block();
    let label = String::from_utf8_lossy(&s.label);
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "erofs blocks={} inodes={} root={} time={} features={:#x}/{:#x} algorithms={:#x} uuid={} label={:?}",
        s.blocks,
        s.inodes,
        s.root_nid,
        s.epoch,
        s.compat,
        s.incompat,
        s.algorithms,
        uuid::Uuid::from_bytes(s.uuid),
        label.trim_end_matches('\0'),
    );
    if let Some(inode) = image.packed_inode() {
        let _ = write!(out, "packed inode size={} nid={}", inode.size, inode.nid);
        let _ = write!(out, " {}", inode.layout());
        put_shape(&mut out, image, inode)?;
        out.push('\n');
    }
    for (path, inode) in image.walk()? {
        let kind = match inode.kind {
            InodeKind::File => "file",
            InodeKind::Dir => "dir",
            InodeKind::Symlink => "link",
            InodeKind::CharDevice(..) => "char",
            InodeKind::BlockDevice(..) => "block",
            InodeKind::Fifo => "fifo",
        };
        let _ = write!(
            out,
            "{path} {kind} {:04o} {}:{} nlink={} size={} nid={} {}",
            inode.mode,
            inode.uid,
            inode.gid,
            inode.nlink,
            inode.size,
            inode.nid,
            inode.layout(),
        );
        match inode.kind {
            InodeKind::Symlink => {
                let target = image.read_link(&inode)?;
                let _ = write!(out, " -> {}", String::from_utf8_lossy(&target));
            }
            InodeKind::CharDevice(major, minor) | InodeKind::BlockDevice(major, minor) => {
                let _ = write!(out, " {major}:{minor}");
            }
            InodeKind::File => {
                put_shape(&mut out, image, &inode)?;
                if content {
                    let mut hash = blake3::Hasher::new();
                    image.copy_file(&inode, &mut |piece| {
                        hash.update(piece);
                        Ok(())
                    })?;
                    let _ = write!(out, " blake3={}", hash.finalize().to_hex());
                }
            }
            InodeKind::Dir | InodeKind::Fifo => {}
        }
        for (name, value) in image.xattrs(&inode)? {
            let _ = write!(out, " {}={}", String::from_utf8_lossy(&name), hex(&value));
        }
        out.push('\n');
    }
    Ok(out)
}
