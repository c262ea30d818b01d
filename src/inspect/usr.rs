//! The running system's files, as far as they are in `/usr`: `/etc` starts from its factory copy,
//! `/bin` and its like are links into `/usr`.

use std::io::Write;

use anyhow::{Context as _, Result};

use super::volume::{Node, NodeKind, Volume};
use crate::erofs::{Image, InodeInfo, InodeKind, ReadAt};
use crate::failure::{Failure, Kind};
use crate::tree::TreePath;

/// Where `/usr` keeps the lower layer of `/etc`.
const FACTORY_ETC: &str = "share/factory/etc";
/// Links of the merged `/usr` (file-hierarchy(7)), made on first boot.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// The files of `/usr` and `/etc`.
#[derive(Debug)]
pub struct SystemVolume<R> {
    image: Image<R>,
}

/// Where a path of the system is.
enum At {
    Root,
    Link(&'static str),
    Image(TreePath),
    Elsewhere,
}

fn place(path: &TreePath) -> Result<At> {
    let Some(first) = path.components().next().map(<[u8]>::to_vec) else {
        return Ok(At::Root);
    };
    let top = TreePath::parse(&first)?;
    let below = path.strip_prefix(&top).unwrap_or_default();
    Ok(match first.as_slice() {
        b"usr" => At::Image(below),
        b"etc" => At::Image(TreePath::parse(FACTORY_ETC)?.join(below.as_bytes())?),
        name => match MERGED.into_iter().find(|m| m.as_bytes() == name) {
            Some(name) if below.is_root() => At::Link(name),
            _ => At::Elsewhere,
        },
    })
}

impl<R: ReadAt> SystemVolume<R> {
    /// Opens the image of `/usr`.
    ///
    /// # Errors
    /// It is no EROFS image that hullwright reads.
    pub fn open(data: R) -> Result<Self> {
        let image = Image::open(data).context("opening /usr")?;
        Ok(Self { image })
    }

    fn inode(&self, path: &TreePath) -> Result<Option<InodeInfo>> {
        match place(path)? {
            At::Image(path) => Ok(self.image.lookup(&path)?),
            _ => Ok(None),
        }
    }

    fn expect(&self, path: &TreePath) -> Result<InodeInfo> {
        self.inode(path)?
            .ok_or_else(|| Failure::new(Kind::Usage, format!("{path} is not in the image")).into())
    }
}

impl<R: ReadAt> Volume for SystemVolume<R> {
    fn prefix(&self) -> &'static str {
        ""
    }

    fn node(&mut self, path: &TreePath) -> Result<Option<Node>> {
        let link = |name: &str| -> Result<Option<Node>> {
            let inside = self.image.lookup(&TreePath::parse(name)?)?;
            Ok(inside.map(|_| Node {
                kind: NodeKind::Symlink,
                mode: 0o777,
                target: Some(format!("usr/{name}").into_bytes()),
                ..Node::dir()
            }))
        };
        match place(path)? {
            At::Root => return Ok(Some(Node::dir())),
            At::Link(name) => return link(name),
            At::Image(_) | At::Elsewhere => {}
        }
        let Some(inode) = self.inode(path)? else {
            return Ok(None);
        };
        let target = match inode.kind {
            InodeKind::Symlink => Some(self.image.read_link(&inode)?),
            _ => None,
        };
        Ok(Some(Node {
            kind: match inode.kind {
                InodeKind::File => NodeKind::File,
                InodeKind::Dir => NodeKind::Dir,
                InodeKind::Symlink => NodeKind::Symlink,
                _ => NodeKind::Special,
            },
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            size: inode.size,
            target,
        }))
    }

    fn names(&mut self, dir: &TreePath) -> Result<Vec<Vec<u8>>> {
        if dir.is_root() {
            let names = ["bin", "etc", "lib", "lib64", "sbin", "usr"];
            return Ok(names.map(|name| name.as_bytes().to_vec()).into());
        }
        let entries = self.image.read_dir(&self.expect(dir)?)?;
        Ok(entries.into_iter().map(|entry| entry.name).collect())
    }

    fn copy(&mut self, path: &TreePath, out: &mut dyn Write) -> Result<()> {
        let inode = self.expect(path)?;
        self.image
            .copy_file(&inode, &mut |piece| out.write_all(piece))
            .with_context(|| format!("reading {path}"))
    }

    fn explain(&self, path: &TreePath) -> Option<String> {
        matches!(place(path), Ok(At::Elsewhere)).then(|| {
            "an image holds /usr and, for the first boot, /etc; `esp:/` and `initrd:/` begin the \
             paths of the boot partition and the initrd"
                .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erofs::{Codec, CodecSettings, ImageOptions, PackBy, Plan, Tails};
    use crate::inspect::{copy, list};
    use crate::stamp::Stamp;
    use crate::tree::{Kind as TreeKind, Meta, Origin, Tree};

    fn volume() -> SystemVolume<Vec<u8>> {
        let mut tree = Tree::new();
        for (path, kind) in [
            ("bin", TreeKind::Dir),
            ("bin/sh", TreeKind::Symlink(b"dash".to_vec())),
            (
                "bin/dash",
                TreeKind::File {
                    content: "shell".into(),
                    link: None,
                },
            ),
            ("share", TreeKind::Dir),
            ("share/factory", TreeKind::Dir),
            ("share/factory/etc", TreeKind::Dir),
            (
                "share/factory/etc/hostname",
                TreeKind::File {
                    content: "hull".into(),
                    link: None,
                },
            ),
        ] {
            let node = crate::tree::Node {
                meta: Meta::root(0o755),
                kind,
                origin: Origin::Generated("test".into()),
            };
            tree.insert(TreePath::parse(path).unwrap(), node);
        }
        let options = ImageOptions {
            stamp: Stamp::from_seconds(1),
            uuid: uuid::Uuid::from_u128(1),
            label: "usr".into(),
            settings: CodecSettings {
                codec: Codec::Zstd,
                level: 3,
                chunk: 65536,
                tails: Tails::Packed,
            },
            packs: PackBy::Image,
        };
        let mut bytes = Vec::new();
        Plan::new(&tree, &options)
            .unwrap()
            .emit(&mut bytes)
            .unwrap();
        SystemVolume::open(bytes).unwrap()
    }

    #[test]
    fn paths_are_those_of_the_running_system() {
        for (path, content) in [
            ("/usr/bin/sh", "shell"),
            ("/bin/sh", "shell"),
            ("etc/hostname", "hull"),
            ("/usr/share/factory/etc/hostname", "hull"),
        ] {
            let mut out = Vec::new();
            copy(&mut volume(), &TreePath::parse(path).unwrap(), &mut out).unwrap();
            assert_eq!(out, content.as_bytes(), "{path}");
        }
        let top: Vec<_> = list(&mut volume(), &TreePath::root(), false)
            .unwrap()
            .iter()
            .map(|listed| listed.path.to_string())
            .collect();
        assert_eq!(top.len(), 3, "{top:?}");
    }

    #[test]
    fn what_only_a_running_system_has_is_explained() {
        let path = TreePath::parse("/var/log/journal").unwrap();
        let error = copy(&mut volume(), &path, &mut Vec::new()).unwrap_err();
        let failure = crate::failure::failure_of(&error).unwrap();
        assert!(failure.hints[0].contains("holds /usr"), "{failure:?}");
    }
}
