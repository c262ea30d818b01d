use proptest::prelude::*;

use super::format::{DIRECTORY, REGULAR, SYMLINK};
use super::*;
use crate::stamp::Stamp;
use crate::tree::{Kind, LinkGroup, Meta, Node, Origin, Tree};

fn node(mode: u16, kind: Kind) -> Node {
    Node {
        meta: Meta::root(mode),
        kind,
        origin: Origin::Generated("test".into()),
    }
}

fn file(text: &str, link: Option<u64>) -> Node {
    let content = text.into();
    let link = link.map(LinkGroup);
    node(0o644, Kind::File { content, link })
}

fn sample() -> Tree {
    let mut tree = Tree::new();
    let mut put = |path: &str, node: Node| tree.insert(TreePath::parse(path).unwrap(), node);
    put("a/one", file("both", Some(7)));
    put("a/two", file("other", None));
    put("b/three", file("both", Some(7)));
    put("init", node(0o777, Kind::Symlink(b"a/two".to_vec())));
    put("null", node(0o666, Kind::CharDevice { major: 1, minor: 3 }));
    tree
}

fn packed(tree: &Tree) -> Vec<u8> {
    write(&members(tree, Stamp::from_seconds(1_700_000_000), 1).unwrap()).unwrap()
}

#[test]
fn entries_come_in_path_order_with_everything_that_the_tree_says() {
    let bytes = packed(&sample());
    let (entries, end) = archive(&bytes).unwrap();
    assert_eq!(end, bytes.len());
    let shown: Vec<_> = entries
        .iter()
        .map(|e| {
            let name = String::from_utf8_lossy(e.name).into_owned();
            let data = String::from_utf8_lossy(e.data).into_owned();
            (name, e.header.ino, e.header.mode, e.header.nlink, data)
        })
        .collect();
    let wanted = [
        (".", 1, DIRECTORY | 0o755, 2, ""),
        ("a", 2, DIRECTORY | 0o755, 2, ""),
        ("a/one", 3, REGULAR | 0o644, 2, ""),
        ("a/two", 4, REGULAR | 0o644, 1, "other"),
        ("b", 5, DIRECTORY | 0o755, 2, ""),
        ("b/three", 3, REGULAR | 0o644, 2, "both"),
        ("init", 7, SYMLINK | 0o777, 1, "a/two"),
        ("null", 8, format::CHARACTER | 0o666, 1, ""),
    ]
    .map(|(name, ino, mode, nlink, data)| (name.to_owned(), ino, mode, nlink, data.to_owned()));
    assert_eq!(shown, wanted);
    assert!(entries.iter().all(|e| e.header.mtime == 1_700_000_000));
    assert_eq!(entries[7].header.rdev, (1, 3));
}

#[test]
fn an_archive_must_not_end_between_two_names_of_one_inode() {
    let tree = sample();
    let members = members(&tree, Stamp::from_seconds(0), 1).unwrap();
    let open: Vec<_> = members.iter().map(|member| member.open).collect();
    assert_eq!(open, [false, false, true, true, true, false, false, false]);
}

#[test]
fn lengths_are_known_before_anything_is_written() {
    let tree = sample();
    let members = members(&tree, Stamp::from_seconds(0), 1).unwrap();
    let sum: usize = members.iter().map(Member::len).sum();
    assert_eq!(
        write(&members).unwrap().len(),
        sum + write(&[]).unwrap().len()
    );
}

#[test]
fn a_time_that_the_format_cannot_hold_is_an_error() {
    assert!(members(&sample(), Stamp::from_seconds(1 << 33), 1).is_err());
}

#[test]
fn damage_is_named() {
    let good = packed(&sample());
    let mut magic = good.clone();
    magic[3] = b'x';
    assert_eq!(archive(&magic), Err(CpioError::Magic(0)));
    let mut field = good.clone();
    field[8] = b'g';
    assert_eq!(archive(&field), Err(CpioError::Field(0)));
    let cut = &good[..good.len() - 8];
    assert_eq!(archive(cut), Err(CpioError::Truncated(cut.len())));
    assert_eq!(archive(b""), Err(CpioError::Truncated(0)));
}

proptest! {
    #[test]
    fn files_come_back_as_they_went_in(
        files in proptest::collection::btree_map("[a-z]{1,8}(/[a-z]{1,8}){0,2}", ".{0,40}", 0..20),
    ) {
        let mut tree = Tree::new();
        for (path, text) in &files {
            let path = TreePath::parse(path).unwrap();
            // A file that is also a directory cannot be.
            if tree.below(&path).next().is_none() {
                tree.insert(path, file(text, None));
            }
        }
        let bytes = packed(&tree);
        let (entries, _) = archive(&bytes).unwrap();
        prop_assert_eq!(entries.len(), tree.len());
        for (entry, (path, node)) in entries.iter().zip(tree.iter()) {
            let name = name_of(path);
            prop_assert_eq!(entry.name, name.as_bytes());
            if let Some(content) = node.content() {
                prop_assert_eq!(entry.data, &*content.read().unwrap());
            }
        }
    }

    #[test]
    fn damaged_archives_never_panic(
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = packed(&sample());
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let _ = archive(&bytes);
    }
}
