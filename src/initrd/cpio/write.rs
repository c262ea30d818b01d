//! Writes archives: first all headers are settled, then any run of members can be written alone.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::format::{
    BLOCK, CHARACTER, DIRECTORY, FIFO, HEADER, Header, MAGIC, REGULAR, SYMLINK, TRAILER,
};
use super::name_of;
use crate::stamp::Stamp;
use crate::tree::{Content, Kind, LinkGroup, Tree};

/// One entry, ready to be written.
#[derive(Debug)]
pub struct Member<'a> {
    name: String,
    header: Header,
    data: Data<'a>,
    /// Whether further names of this inode follow: an archive must not end here.
    pub open: bool,
}

#[derive(Debug)]
enum Data<'a> {
    None,
    Bytes(&'a [u8]),
    Content(&'a Content),
}

impl Member<'_> {
    /// Bytes that the entry takes in an archive.
    #[must_use]
    pub fn len(&self) -> usize {
        (HEADER + self.name.len() + 1).next_multiple_of(4)
            + (self.header.size as usize).next_multiple_of(4)
    }

    /// Never: an entry has a header.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

/// The entries of `tree` in path order, their inodes numbered from `first`.
///
/// # Errors
/// A file of 4 GiB or more, or a time past the year 2106, which the format cannot hold.
pub fn members(tree: &Tree, stamp: Stamp, first: u32) -> Result<Vec<Member<'_>>> {
    let mtime = u32::try_from(stamp.seconds()).context("writing the stamp into a cpio archive")?;
    let mut groups: BTreeMap<LinkGroup, (u32, u32)> = BTreeMap::new();
    let group_of = |kind: &Kind| match kind {
        Kind::File { link, .. } => *link,
        _ => None,
    };
    for (_, node) in tree.iter() {
        if let Some(group) = group_of(&node.kind) {
            groups.entry(group).or_default().1 += 1;
        }
    }
    let mut left: BTreeMap<LinkGroup, u32> = groups
        .iter()
        .map(|(group, (_, names))| (*group, *names))
        .collect();
    let mut out = Vec::with_capacity(tree.len());
    for ((path, node), number) in tree.iter().zip(first..) {
        let name = name_of(path);
        let (kind, mut data) = match &node.kind {
            Kind::Dir => (DIRECTORY, Data::None),
            Kind::File { content, .. } => (REGULAR, Data::Content(content)),
            Kind::Symlink(target) => (SYMLINK, Data::Bytes(target)),
            Kind::CharDevice { .. } => (CHARACTER, Data::None),
            Kind::BlockDevice { .. } => (BLOCK, Data::None),
            Kind::Fifo => (FIFO, Data::None),
        };
        let mut header = Header {
            ino: number,
            mode: kind | u32::from(node.meta.mode),
            uid: node.meta.uid,
            gid: node.meta.gid,
            nlink: if node.is_dir() { 2 } else { 1 },
            mtime,
            name_len: u32::try_from(name.len() + 1)?,
            ..Header::default()
        };
        if let Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } = node.kind {
            header.rdev = (major, minor);
        }
        let mut open = false;
        if let Some(group) = group_of(&node.kind) {
            if let Some((ino, names)) = groups.get_mut(&group) {
                if *ino == 0 {
                    *ino = number;
                }
                header.ino = *ino;
                header.nlink = *names;
            }
            if let Some(left) = left.get_mut(&group) {
                *left -= 1;
                open = *left > 0;
            }
        }
        if open {
            data = Data::None;
        }
        header.size = match &data {
            Data::None => 0,
            Data::Bytes(bytes) => u32::try_from(bytes.len())?,
            Data::Content(content) => u32::try_from(content.len())
                .with_context(|| format!("{path} is too large for a cpio archive"))?,
        };
        out.push(Member {
            name,
            header,
            data,
            open,
        });
    }
    // A group is open from its first name to its last, whatever lies between.
    let mut pending = BTreeMap::new();
    for member in &mut out {
        if member.header.nlink > 1 && member.header.mode & super::format::TYPE == REGULAR {
            let seen = pending.entry(member.header.ino).or_insert(0);
            *seen += 1;
            if *seen == member.header.nlink {
                pending.remove(&member.header.ino);
            }
        }
        member.open = !pending.is_empty();
    }
    Ok(out)
}

/// One archive with these members and a trailer.
///
/// # Errors
/// Content that does not decompress to its length.
pub fn write(members: &[Member<'_>]) -> Result<Vec<u8>> {
    let len: usize = members.iter().map(Member::len).sum();
    let mut out = Vec::with_capacity(len + HEADER + 16);
    for member in members {
        put_header(&mut out, &member.header, &member.name);
        let start = out.len();
        match &member.data {
            Data::None => {}
            Data::Bytes(bytes) => out.extend_from_slice(bytes),
            Data::Content(content) => out.extend_from_slice(&content.read()?),
        }
        let written = out.len() - start;
        anyhow::ensure!(
            written == member.header.size as usize,
            "{} has {written} bytes instead of {}",
            member.name,
            member.header.size
        );
        pad(&mut out);
    }
    let header = Header {
        nlink: 1,
        name_len: u32::try_from(TRAILER.len() + 1)?,
        ..Header::default()
    };
    put_header(&mut out, &header, TRAILER);
    Ok(out)
}

fn put_header(out: &mut Vec<u8>, header: &Header, name: &str) {
    out.extend_from_slice(MAGIC);
    for field in header.fields() {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
