//! Archives in zstd frames, and the way back.
//!
//! The kernel (`init/initramfs.c`, `unpack_to_rootfs`) takes any number of archives in a row, each
//! compressed on its own. Its zstd refuses windows over 128 MiB (`lib/decompress_unzstd.c`), which
//! no level up to 19 uses.

use std::io::Read;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cpio::{self, Member};
use crate::stamp::Stamp;

/// An archive is closed when it reaches this size: a few of them keep all cores busy, and each is
/// still larger than zstd's window. It is part of the output's identity.
const SEGMENT: usize = 12 << 20;
/// No initrd unpacks to more than this.
const UNPACKED_LIMIT: u64 = 2 << 30;
/// First bytes of a zstd frame (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// One archive of an initrd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Bytes of the archive.
    pub unpacked: u64,
    /// Bytes of its frame.
    pub packed: u64,
}

/// How archives are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packing {
    /// Time of every file.
    pub(super) stamp: Stamp,
    /// zstd level.
    pub(super) level: i32,
}

/// Writes `members` as archives of about [`SEGMENT`] bytes, each in a frame of its own.
pub(super) fn pack(members: &[Member<'_>], level: i32) -> Result<(Vec<Segment>, Vec<u8>)> {
    let frames: Vec<(Segment, Vec<u8>)> = cut(members, SEGMENT)
        .into_par_iter()
        .map(|members| {
            let archive = cpio::write(members)?;
            let frame = compress(&archive, level).context("compressing an archive")?;
            let segment = Segment {
                unpacked: archive.len() as u64,
                packed: frame.len() as u64,
            };
            Ok((segment, frame))
        })
        .collect::<Result<_>>()?;
    let (segments, frames): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
    Ok((segments, frames.concat()))
}

fn compress(archive: &[u8], level: i32) -> Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    // An initrd lies in no verified block device; its own checksum tells rot from a bug.
    compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
    Ok(compressor.compress(archive)?)
}

/// Runs of members of at least `size` bytes, the last one excepted, that share no inode.
fn cut<'m, 't>(members: &'m [Member<'t>], size: usize) -> Vec<&'m [Member<'t>]> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut len = 0;
    for (at, member) in members.iter().enumerate() {
        len += member.len();
        if len >= size && !member.open {
            out.push(&members[start..=at]);
            start = at + 1;
            len = 0;
        }
    }
    if start < members.len() {
        out.push(&members[start..]);
    }
    out
}

/// The archives of an initrd, unpacked and joined: what [`list`] reads.
///
/// # Errors
/// Damage, a compression other than zstd, or more than 2 GiB.
fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        if rest.starts_with(&ZSTD_MAGIC) {
            let room = UNPACKED_LIMIT.saturating_sub(out.len() as u64);
            let mut decoder = zstd::stream::read::Decoder::with_buffer(rest)?.single_frame();
            (&mut decoder)
                .take(room + 1)
                .read_to_end(&mut out)
                .context("decompressing the initrd")?;
            if out.len() as u64 > UNPACKED_LIMIT {
                bail!("the initrd unpacks to more than {UNPACKED_LIMIT} bytes");
            }
            rest = decoder.finish();
        } else if rest.starts_with(cpio::format::MAGIC) {
            let (_, len) = cpio::archive(rest)?;
            out.extend_from_slice(&rest[..len]);
            rest = &rest[len..];
        } else if rest[0] == 0 {
            rest = &rest[1..];
        } else {
            bail!(
                "byte {} of the initrd starts neither a zstd frame nor a cpio archive",
                bytes.len() - rest.len()
            );
        }
    }
    Ok(out)
}

/// Calls `each` with every entry of an initrd, in order.
///
/// # Errors
/// As the kernel would refuse it, and what `each` returns.
pub fn list(bytes: &[u8], mut each: impl FnMut(&cpio::Entry<'_>) -> Result<()>) -> Result<()> {
    let unpacked = unpack(bytes)?;
    let mut rest = unpacked.as_slice();
    while !rest.is_empty() {
        let (entries, len) = cpio::archive(rest)?;
        for entry in &entries {
            each(entry)?;
        }
        rest = &rest[len..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Kind, LinkGroup, Meta, Node, Origin, Tree, TreePath};
    use proptest::prelude::*;

    fn tree(links: bool) -> Tree {
        let mut tree = Tree::new();
        for at in 0..20_u64 {
            let kind = Kind::File {
                content: "content ".repeat(50).as_str().into(),
                link: (links && at % 10 == 3).then_some(LinkGroup(1)),
            };
            let node = Node {
                meta: Meta::root(0o644),
                kind,
                origin: Origin::Generated("test".into()),
            };
            tree.insert(TreePath::parse(format!("d/{at:02}")).unwrap(), node);
        }
        tree
    }

    #[test]
    fn archives_are_cut_by_size_but_not_between_names_of_one_inode() {
        for (links, wanted) in [(false, vec![5, 4, 4, 4, 4, 1]), (true, vec![5, 11, 4, 2])] {
            let tree = tree(links);
            let members = cpio::members(&tree, Stamp::from_seconds(0), 1).unwrap();
            let lens: Vec<_> = cut(&members, 1600).iter().map(|run| run.len()).collect();
            assert_eq!(lens, wanted, "links {links}");
        }
    }

    #[test]
    fn an_initrd_of_several_archives_reads_as_one() {
        let tree = tree(false);
        let members = cpio::members(&tree, Stamp::from_seconds(9), 1).unwrap();
        let mut bytes = Vec::new();
        for run in cut(&members, 1600) {
            bytes.extend(compress(&cpio::write(run).unwrap(), 3).unwrap());
        }
        // Firmware pads between archives, and the stub appends plain ones.
        bytes.extend([0; 5]);
        bytes.extend(cpio::write(&members[..2]).unwrap());
        let mut names = Vec::new();
        list(&bytes, |entry| {
            names.push(String::from_utf8_lossy(entry.name).into_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(names.len(), tree.len() + 2);
        assert_eq!(names[2], "d/00");
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes_on_one_thread_and_on_many() {
        let tree = tree(true);
        let members = cpio::members(&tree, Stamp::from_seconds(1), 1).unwrap();
        let many = pack(&members, 3).unwrap().1;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let one = pool.install(|| pack(&members, 3)).unwrap().1;
        assert_eq!(many, one);
    }

    proptest! {
        #[test]
        fn damaged_initrds_never_panic(
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
            cut_at in any::<proptest::sample::Index>(),
        ) {
            let tree = tree(false);
            let members = cpio::members(&tree, Stamp::from_seconds(1), 1).unwrap();
            let mut bytes = pack(&members, 1).unwrap().1;
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut_at.index(bytes.len() + 1));
            let _ = list(&bytes, |_| Ok(()));
        }
    }
}
