//! The parts of an initrd that change at different times, each packed on its own and kept by the hash
//! of what it holds: programs and libraries with the packages, modules with the kernel, and the few
//! files that follow from the profile with every change of it.
//!
//! The kernel forgets inode numbers between archives; they differ all the same, so that whoever reads
//! an initrd as one archive finds no two files under one number.

use anyhow::{Context as _, Result};
use blake3::Hash;
use serde::{Deserialize, Serialize};

use super::InitrdFile;
use super::cpio;
use super::pack::{self, Packing, Segment};
use crate::store::{Memo, key_of, remember};
use crate::tree::{Kind, Origin, Tree, fingerprint};

/// Which part of an initrd; in this order they are unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What packages ship, and hullwright's own files.
    Userspace,
    /// Kernel modules.
    Modules,
    /// What depends on the profile.
    Profile,
}

impl Part {
    /// The number of its first inode.
    const fn first_inode(self) -> u32 {
        match self {
            Self::Userspace => 1,
            Self::Modules => 1 << 24,
            Self::Profile => 2 << 24,
        }
    }

    /// Its name for people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Userspace => "userspace",
            Self::Modules => "modules",
            Self::Profile => "profile",
        }
    }
}

/// A packed part.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Group {
    /// Its archives, each in a frame of its own.
    #[serde(with = "serde_bytes")]
    pub(super) frames: Vec<u8>,
    /// The archives in `frames`, in order.
    pub(super) segments: Vec<Segment>,
    /// Everything in it, in path order.
    pub(super) files: Vec<InitrdFile>,
}

/// Packs `tree`, or takes what was packed from the same before.
pub(super) fn packed(part: Part, tree: &Tree, packing: Packing, memo: &dyn Memo) -> Result<Group> {
    let key = fingerprint(part.name(), tree.iter());
    let key = keyed(&key, packing);
    remember(memo, "initrd-1", &key, || pack(part, tree, packing))
}

/// `key` together with how it is packed.
pub(super) fn keyed(key: &Hash, packing: Packing) -> Hash {
    key_of(&[
        key.as_bytes(),
        &packing.stamp.seconds().to_le_bytes(),
        &packing.level.to_le_bytes(),
    ])
}

/// Packs `tree`.
pub(super) fn pack(part: Part, tree: &Tree, packing: Packing) -> Result<Group> {
    let members = cpio::members(tree, packing.stamp, part.first_inode())?;
    let (segments, frames) = pack::pack(&members, packing.level)
        .with_context(|| format!("packing the {} of the initrd", part.name()))?;
    let files = tree.iter().map(|(path, node)| InitrdFile {
        path: cpio::name_of(path),
        size: match &node.kind {
            Kind::File { content, .. } => content.len(),
            Kind::Symlink(target) => target.len() as u64,
            _ => 0,
        },
    });
    Ok(Group {
        frames,
        segments,
        files: files.collect(),
    })
}

/// The files of `tree` that come from packages or from hullwright itself, and those that depend on
/// the profile, with the directories that lead to them.
pub(super) fn divide(tree: &Tree) -> (Tree, Tree) {
    let mut lasting = Tree::new();
    let mut own = Tree::new();
    for (path, node) in tree.iter() {
        let lasts = node.is_dir()
            || match &node.origin {
                Origin::Package(_) => true,
                Origin::Generated(by) => &**by == super::OWN,
                Origin::Overlay(_) => false,
            };
        if lasts {
            lasting.insert(path.clone(), node.clone());
            continue;
        }
        // The kernel gives a directory that is there the mode that a later archive has for it.
        let mut above = Vec::new();
        let mut parent = path.parent();
        while let Some(dir) = parent.filter(|dir| dir.is_root() || own.get(dir).is_none()) {
            parent = dir.parent();
            above.push(dir);
        }
        for dir in above.into_iter().rev() {
            if let Some(node) = tree.get(&dir) {
                own.insert(dir, node.clone());
            }
        }
        own.insert(path.clone(), node.clone());
    }
    (lasting, own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;
    use crate::store::memo::testing::Kept;
    use crate::tree::{Meta, Node, TreePath};

    fn tree(files: &[(&str, Origin, &str)]) -> Tree {
        let mut tree = Tree::new();
        let mut put = |path: &str, mode, kind, origin: &Origin| {
            let node = Node {
                meta: Meta::root(mode),
                kind,
                origin: origin.clone(),
            };
            tree.insert(TreePath::parse(path).unwrap(), node);
        };
        put("", 0o711, Kind::Dir, &Origin::Package("base".into()));
        put("tmp", 0o1777, Kind::Dir, &Origin::Package("base".into()));
        for (path, origin, text) in files {
            let content = (*text).into();
            put(
                path,
                0o644,
                Kind::File {
                    content,
                    link: None,
                },
                origin,
            );
        }
        tree
    }

    fn origins() -> [Origin; 3] {
        [
            Origin::Package("p".into()),
            Origin::Generated("os-release".into()),
            Origin::Overlay("files".into()),
        ]
    }

    #[test]
    fn what_depends_on_the_profile_is_apart_with_its_directories_as_they_are() {
        let [package, generated, overlay] = origins();
        let tree = tree(&[
            ("tmp/a/shipped", package, ""),
            ("tmp/a/made", generated, ""),
            ("tmp/b", overlay, ""),
        ]);
        let (lasting, own) = divide(&tree);
        let shown = |tree: &Tree| -> Vec<String> {
            let line = |(path, node): (&TreePath, &Node)| format!("{path} {:o}", node.meta.mode);
            tree.iter().map(line).collect()
        };
        assert_eq!(
            shown(&lasting),
            ["/ 711", "/tmp 1777", "/tmp/a 755", "/tmp/a/shipped 644"]
        );
        assert_eq!(
            shown(&own),
            [
                "/ 711",
                "/tmp 1777",
                "/tmp/a 755",
                "/tmp/a/made 644",
                "/tmp/b 644"
            ]
        );
    }

    #[test]
    fn a_part_is_packed_again_only_where_it_changed() {
        let kept = Kept::default();
        let [package, generated, _] = origins();
        let build = |text: &str, seconds| {
            let tree = tree(&[
                ("a", package.clone(), "always"),
                ("b", generated.clone(), text),
            ]);
            let (lasting, own) = divide(&tree);
            let packing = Packing {
                stamp: Stamp::from_seconds(seconds),
                level: 3,
            };
            let frames = [(Part::Userspace, &lasting), (Part::Profile, &own)]
                .map(|(part, tree)| packed(part, tree, packing, &kept).unwrap().frames);
            (frames, kept.misses().len())
        };
        let (first, misses) = build("one", 1);
        assert_eq!(misses, 2);
        assert_eq!(build("one", 1), (first.clone(), 0));
        let (second, misses) = build("two", 1);
        assert_eq!((misses, &second[0]), (1, &first[0]));
        assert_ne!(second[1], first[1]);
        assert_eq!(build("two", 2).1, 2);
    }
}
