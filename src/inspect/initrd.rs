//! The initrd of a UKI as a [`Volume`].

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context as _, Result};

use super::volume::{Node, NodeKind, Volume};
use crate::initrd;
use crate::initrd::cpio::format::{DIRECTORY, REGULAR, SYMLINK, TYPE};
use crate::tree::TreePath;

#[derive(Debug)]
struct Member {
    node: Node,
    ino: u32,
    data: Vec<u8>,
}

/// An unpacked initrd.
#[derive(Debug)]
pub struct InitrdVolume {
    members: BTreeMap<TreePath, Member>,
    /// Content of files with several names stands with the last of them.
    shared: BTreeMap<u32, TreePath>,
}

impl InitrdVolume {
    /// Unpacks the initrd in `bytes`.
    ///
    /// # Errors
    /// It is damaged, or has a name that leaves its root.
    pub fn open(bytes: &[u8]) -> Result<Self> {
        let mut members = BTreeMap::new();
        let mut shared = BTreeMap::new();
        initrd::list(bytes, |entry| {
            let path = TreePath::from_archive(entry.name)?;
            let header = &entry.header;
            let kind = match header.mode & TYPE {
                DIRECTORY => NodeKind::Dir,
                REGULAR => NodeKind::File,
                SYMLINK => NodeKind::Symlink,
                _ => NodeKind::Special,
            };
            if header.nlink > 1 && kind == NodeKind::File && !entry.data.is_empty() {
                shared.insert(header.ino, path.clone());
            }
            let node = Node {
                kind,
                mode: (header.mode & 0o7777) as u16,
                uid: header.uid,
                gid: header.gid,
                size: entry.data.len() as u64,
                target: (kind == NodeKind::Symlink).then(|| entry.data.to_vec()),
            };
            let member = Member {
                node,
                ino: header.ino,
                data: entry.data.to_vec(),
            };
            members.insert(path, member);
            Ok(())
        })
        .context("reading the initrd")?;
        Ok(Self { members, shared })
    }

    fn data(&self, path: &TreePath) -> Option<&[u8]> {
        let member = self.members.get(path)?;
        if member.data.is_empty()
            && let Some(other) = self.shared.get(&member.ino)
        {
            return self.members.get(other).map(|other| other.data.as_slice());
        }
        Some(&member.data)
    }
}

impl Volume for InitrdVolume {
    fn prefix(&self) -> &'static str {
        "initrd:"
    }

    fn node(&mut self, path: &TreePath) -> Result<Option<Node>> {
        if path.is_root() {
            return Ok(Some(Node::dir()));
        }
        let size = self.data(path).map_or(0, |data| data.len() as u64);
        Ok(self.members.get(path).map(|member| Node {
            size,
            ..member.node.clone()
        }))
    }

    fn names(&mut self, dir: &TreePath) -> Result<Vec<Vec<u8>>> {
        let below = self
            .members
            .range(dir.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(dir))
            .filter(|path| path.parent().as_ref() == Some(dir));
        Ok(below.map(|path| path.name().to_vec()).collect())
    }

    fn copy(&mut self, path: &TreePath, out: &mut dyn Write) -> Result<()> {
        Ok(out.write_all(self.data(path).unwrap_or_default())?)
    }
}
