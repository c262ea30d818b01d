//! A folder of the running kernel against a tree of ours; disks and outputs against each other.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use hullwright::digest::Sha256;
use hullwright::tree::{Kind, LinkGroup, Node, Tree, TreePath};
use sha2::Digest as _;

use crate::erofs::{count, xattrs};

/// What of an inode a judge can show.
#[derive(Clone, Copy)]
pub struct Sight {
    /// Hard links are one inode, and directories count their subdirectories.
    pub links: bool,
}

/// Asserts that `root` holds `tree`, all of it and nothing else, with `stamp` as every mtime.
pub fn assert_same(root: &Path, tree: &Tree, stamp: u64, sight: Sight) {
    assert_eq!(count(root) + 1, tree.len(), "number of names in {root:?}");
    let mut groups: BTreeMap<LinkGroup, Vec<&TreePath>> = BTreeMap::new();
    for (path, node) in tree.iter() {
        if let Kind::File {
            link: Some(group), ..
        } = node.kind
        {
            groups.entry(group).or_default().push(path);
        }
    }
    for (path, node) in tree.iter() {
        let real = root.join(OsStr::from_bytes(path.as_bytes()));
        let found = fs::symlink_metadata(&real).unwrap();
        let (kind, device) = type_of(node);
        assert_eq!(
            (found.mode(), found.rdev(), found.uid(), found.gid()),
            (
                kind | u32::from(node.meta.mode),
                device,
                node.meta.uid,
                node.meta.gid
            ),
            "type and mode, device, owner, group of {path}"
        );
        assert_eq!(
            (found.mtime(), found.mtime_nsec()),
            (stamp as i64, 0),
            "mtime of {path}"
        );
        assert_eq!(xattrs(&real), node.meta.xattrs, "xattrs of {path}");
        if let Some(content) = node.content() {
            let ours = Sha256::of(&content.read().unwrap());
            assert_eq!(Sha256::of(&fs::read(&real).unwrap()), ours, "{path}");
        }
        if let Kind::Symlink(target) = &node.kind {
            assert_eq!(
                fs::read_link(&real).unwrap().as_os_str().as_bytes(),
                target,
                "{path}"
            );
        }
        if sight.links {
            assert_eq!(found.nlink(), links(tree, path, node, &groups), "{path}");
        }
    }
    for names in groups.values().filter(|_| sight.links) {
        let inodes: Vec<u64> = names
            .iter()
            .map(|name| root.join(OsStr::from_bytes(name.as_bytes())))
            .map(|real| fs::symlink_metadata(real).unwrap().ino())
            .collect();
        assert!(
            inodes.windows(2).all(|pair| pair[0] == pair[1]),
            "{names:?} are not one inode"
        );
    }
}

fn type_of(node: &Node) -> (u32, u64) {
    match &node.kind {
        Kind::Dir => (0o040_000, 0),
        Kind::File { .. } => (0o100_000, 0),
        Kind::Symlink(_) => (0o120_000, 0),
        Kind::CharDevice { major, minor } => (0o020_000, rustix::fs::makedev(*major, *minor)),
        Kind::BlockDevice { major, minor } => (0o060_000, rustix::fs::makedev(*major, *minor)),
        Kind::Fifo => (0o010_000, 0),
    }
}

fn links(
    tree: &Tree,
    path: &TreePath,
    node: &Node,
    groups: &BTreeMap<LinkGroup, Vec<&TreePath>>,
) -> u64 {
    match &node.kind {
        Kind::Dir => 2 + tree.children(path).filter(|(_, n)| n.is_dir()).count() as u64,
        Kind::File {
            link: Some(group), ..
        } => groups[group].len() as u64,
        _ => 1,
    }
}

const BLOCK: usize = 4096;

/// Calls `with` for every block of a sparse file that is not all zeros; returns the file's length.
/// Holes and written zeros are the same content, so they count the same.
pub fn each_block(path: &Path, mut with: impl FnMut(u64, &[u8])) -> u64 {
    let mut file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut buffer = vec![0; 256 * BLOCK];
    let mut at = 0;
    while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data)).unwrap();
        at = data - data % BLOCK as u64;
        file.seek(SeekFrom::Start(at)).unwrap();
        while at < end {
            let want = buffer.len().min((length - at) as usize);
            file.read_exact(&mut buffer[..want]).unwrap();
            for (i, block) in buffer[..want].chunks(BLOCK).enumerate() {
                if block.iter().any(|&byte| byte != 0) {
                    with(at + (i * BLOCK) as u64, block);
                }
            }
            at += want as u64;
        }
    }
    length
}

/// A hash that is equal for two files exactly when their bytes are.
pub fn sparse_digest(path: &Path) -> Sha256 {
    let mut hash = sha2::Sha256::new();
    let length = each_block(path, |offset, block| {
        hash.update(offset.to_le_bytes());
        hash.update(block);
    });
    hash.update(length.to_le_bytes());
    Sha256(hash.finalize().into())
}

/// Asserts that two outputs have the same bytes, but for the report of timings.
pub fn assert_same_output(ours: &Path, other: &Path) {
    assert_eq!(names(ours), names(other));
    for name in names(ours).iter().filter(|n| *n != "build-report.json") {
        assert_eq!(
            sparse_digest(&ours.join(name)),
            sparse_digest(&other.join(name)),
            "{name} of {} and {} differ",
            ours.display(),
            other.display()
        );
    }
}

/// The names in a folder, hidden ones too, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
