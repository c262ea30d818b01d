//! What a part of a tree is, in one hash: the key under which results are kept that follow from it.

use blake3::{Hash, Hasher};

use super::{Content, Kind, Node, TreePath};

impl Content {
    /// BLAKE3 of the bytes, which need not be read where they are compiled.
    #[must_use]
    pub fn id(&self) -> Hash {
        match self {
            Self::Blob(blob) => blob.hash(),
            Self::Bytes(bytes) => blake3::hash(bytes),
        }
    }
}

/// The hash of `nodes`: their paths, metadata, types, contents and shared inodes, but not their
/// origins. `label` keeps keys of different uses apart.
#[must_use]
pub fn fingerprint<'a>(
    label: &str,
    nodes: impl IntoIterator<Item = (&'a TreePath, &'a Node)>,
) -> Hash {
    let mut hash = Hasher::new();
    put(&mut hash, label.as_bytes());
    for (path, node) in nodes {
        put(&mut hash, path.as_bytes());
        let meta = &node.meta;
        hash.update(&meta.mode.to_le_bytes());
        hash.update(&meta.uid.to_le_bytes());
        hash.update(&meta.gid.to_le_bytes());
        hash.update(&meta.xattrs.len().to_le_bytes());
        for (name, value) in &meta.xattrs {
            put(&mut hash, name);
            put(&mut hash, value);
        }
        match &node.kind {
            Kind::Dir => drop(hash.update(b"d")),
            Kind::File { content, link } => {
                hash.update(b"f").update(content.id().as_bytes());
                let link = link.map_or(0, |group| group.0 + 1);
                hash.update(&link.to_le_bytes());
            }
            Kind::Symlink(target) => put(hash.update(b"l"), target),
            &Kind::CharDevice { major, minor } => device(hash.update(b"c"), major, minor),
            &Kind::BlockDevice { major, minor } => device(hash.update(b"b"), major, minor),
            Kind::Fifo => drop(hash.update(b"p")),
        }
    }
    hash.finalize()
}

/// With its length, so that no two lists are one by concatenation.
fn put(hash: &mut Hasher, bytes: &[u8]) {
    hash.update(&bytes.len().to_le_bytes()).update(bytes);
}

fn device(hash: &mut Hasher, major: u32, minor: u32) {
    hash.update(&major.to_le_bytes())
        .update(&minor.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erofs::{Blob, Codec, CodecSettings};
    use crate::tree::{LinkGroup, Meta, Origin, Tree};

    fn tree(edit: impl Fn(&mut Node)) -> Tree {
        let mut node = Node {
            meta: Meta::root(0o644),
            kind: Kind::File {
                content: "text".into(),
                link: None,
            },
            origin: Origin::Generated("test".into()),
        };
        edit(&mut node);
        let mut tree = Tree::new();
        tree.insert(TreePath::parse("usr/a").unwrap(), node);
        tree
    }

    fn print(edit: impl Fn(&mut Node)) -> Hash {
        fingerprint("test", tree(edit).iter())
    }

    #[test]
    fn everything_that_an_image_shows_of_a_node_counts_and_nothing_else() {
        let plain = print(|_| ());
        let settings = CodecSettings {
            codec: Codec::None,
            level: 0,
            chunk: 4096,
            tails: crate::erofs::Tails::Own,
        };
        let file = |content, link| Kind::File { content, link };
        let compiled = Content::Blob(Blob::compile(b"text", &settings).into());
        assert_eq!(print(|n| n.kind = file(compiled.clone(), None)), plain);
        assert_eq!(print(|n| n.origin = Origin::Package("p".into())), plain);
        let others = [
            print(|n| n.meta.mode = 0o600),
            print(|n| n.meta.uid = 1),
            print(|n| n.meta.gid = 1),
            print(|n| drop(n.meta.xattrs.insert(b"user.a".to_vec(), b"b".to_vec()))),
            print(|n| n.kind = file("other".into(), None)),
            print(|n| n.kind = file("text".into(), Some(LinkGroup(0)))),
            print(|n| n.kind = Kind::Symlink(b"text".to_vec())),
            print(|n| n.kind = Kind::Dir),
            print(|n| n.kind = Kind::Fifo),
            print(|n| n.kind = Kind::CharDevice { major: 1, minor: 3 }),
            print(|n| n.kind = Kind::BlockDevice { major: 1, minor: 3 }),
            fingerprint("other", tree(|_| ()).iter()),
            plain,
        ];
        for (at, one) in others.iter().enumerate() {
            assert!(!others[..at].contains(one), "{at}");
        }
    }
}
