//! Images against fsck.erofs, the running kernel, erofs-rs and veritysetup.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use erofs_rs::EroFS;
use erofs_rs::backend::SliceImage;
use hullwright::erofs::{Codec, CodecSettings, ImageOptions, PackBy, Plan, Tails};
use hullwright::stamp::Stamp;
use hullwright::tree::{Kind, LinkGroup, Meta, Node, Origin, Tree, TreePath};
use hullwright::verity;
use uuid::Uuid;

use crate::support::{good, tool, trixie, trixie_tool};

const STAMP: u64 = 1_700_000_000;

/// Every codec, with the smallest and largest chunks and those of the profiles, and each packing.
const SETTINGS: [Settings; 13] = [
    settings(Codec::None, 1, 65536),
    settings(Codec::Zstd, 3, 4096),
    settings(Codec::Zstd, 3, 65536),
    settings(Codec::Zstd, 9, 262_144),
    settings(Codec::Zstd, 3, 1 << 20),
    settings(Codec::Lz4hc, 3, 4096),
    settings(Codec::Lz4hc, 9, 262_144),
    packed(Codec::Zstd, 3, 4096, PackBy::Image),
    packed(Codec::Zstd, 3, 65536, PackBy::Package),
    packed(Codec::Zstd, 9, 262_144, PackBy::Image),
    packed(Codec::Zstd, 3, 1 << 20, PackBy::Image),
    packed(Codec::Lz4hc, 3, 4096, PackBy::Package),
    packed(Codec::Lz4hc, 9, 262_144, PackBy::Image),
];

#[derive(Debug, Clone, Copy)]
struct Settings {
    codec: CodecSettings,
    packs: PackBy,
}

const fn settings(codec: Codec, level: i32, chunk: u32) -> Settings {
    Settings {
        codec: CodecSettings {
            codec,
            level,
            chunk,
            tails: Tails::Own,
        },
        packs: PackBy::Image,
    }
}

const fn packed(codec: Codec, level: i32, chunk: u32, packs: PackBy) -> Settings {
    let own = settings(codec, level, chunk);
    Settings {
        codec: CodecSettings {
            tails: Tails::Packed,
            ..own.codec
        },
        packs,
    }
}

/// Words, noise, or stretches of both.
fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    (0..len)
        .map(|i| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let text = match seed % 3 {
                0 => true,
                1 => false,
                _ => (i / 50_000_usize).is_multiple_of(2),
            };
            if text {
                b"a linker for systems"[state as usize % 20]
            } else {
                state as u8
            }
        })
        .collect()
}

fn node(mode: u16, kind: Kind) -> Node {
    Node {
        meta: Meta::root(mode),
        kind,
        origin: Origin::Generated("test".into()),
    }
}

fn file(content: Vec<u8>) -> Node {
    node(
        0o644,
        Kind::File {
            content: content.into(),
            link: None,
        },
    )
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

/// Everything that a layout turns on.
fn tree() -> Tree {
    let mut tree = Tree::new();
    let sizes = [
        0,
        1,
        100,
        4000,
        4031,
        4032,
        4033,
        4095,
        4096,
        4097,
        8191,
        8192,
        8193,
        6 * 4096,
        16 * 4096 - 1,
        16 * 4096,
        22 * 4096,
        65537,
        65536 + 4095,
        65536 + 4096,
        131_072,
        262_144 + 100,
        262_144 + 16_384,
        3 * 262_144 + 70_000,
        1 << 20,
        3_000_000,
    ];
    for size in sizes {
        for seed in 0..3 {
            let node = Node {
                origin: Origin::Package(format!("package{seed}").into()),
                ..file(bytes(size, seed))
            };
            tree.insert(path(&format!("size/{size}-{seed}")), node);
        }
    }
    for copy in ["copy/a", "copy/b"] {
        tree.insert(path(copy), file(bytes(3_000_000, 2)));
    }
    let linked = Node {
        kind: Kind::File {
            content: bytes(9000, 0).into(),
            link: Some(LinkGroup(1)),
        },
        ..file(Vec::new())
    };
    for i in 0..66_000 {
        tree.insert(path(&format!("links/{i}")), linked.clone());
    }
    for i in 0..500 {
        let name = format!("names/{}{i}", "n".repeat(i % 200));
        tree.insert(path(&name), file(i.to_string().into_bytes()));
        tree.insert(path(&format!("dirs/{i}")), node(0o755, Kind::Dir));
    }
    for name in ["-", "!", "...", "~", " ", "\u{e4}"] {
        tree.insert(path(&format!("names/{name}")), file(name.into()));
    }
    tree.insert(
        path(&vec!["d".repeat(100); 30].join("/")),
        file(b"deep".to_vec()),
    );
    for len in [1, 59, 3000, 4095] {
        let target = "t".repeat(len).into_bytes();
        tree.insert(
            path(&format!("symlink/{len}")),
            node(0o777, Kind::Symlink(target)),
        );
    }
    for (name, kind) in [
        ("null", Kind::CharDevice { major: 1, minor: 3 }),
        (
            "disk",
            Kind::BlockDevice {
                major: 259,
                minor: 70_000,
            },
        ),
        ("fifo", Kind::Fifo),
    ] {
        tree.insert(path(&format!("node/{name}")), node(0o600, kind));
    }
    for (i, (uid, gid)) in [(65535, 65535), (65536, 1), (1, 4_000_000_000)]
        .iter()
        .enumerate()
    {
        let mut owned = file(bytes(5000, i as u32));
        owned.meta.mode = 0o6711;
        (owned.meta.uid, owned.meta.gid) = (*uid, *gid);
        tree.insert(path(&format!("owner/{i}")), owned);
    }
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    for (name, attribute, value) in [
        ("capability", "security.capability", capability),
        ("user", "user.note", b"text".to_vec()),
        ("large", "user.large", vec![b'v'; 3000]),
        ("larger", "trusted.larger", vec![b'w'; 3950]),
    ] {
        for size in [10, 5000, 100_000] {
            let mut with = file(bytes(size, 0));
            with.meta.xattrs.insert(attribute.into(), value.clone());
            tree.insert(path(&format!("xattr/{name}-{size}")), with);
        }
    }
    let mut dir = node(0o1777, Kind::Dir);
    dir.meta
        .xattrs
        .insert(b"trusted.dir".to_vec(), b"y".to_vec());
    tree.insert(path("xattr/dir"), dir);
    tree
}

fn write(tree: &Tree, settings: Settings) -> Vec<u8> {
    let options = ImageOptions {
        stamp: Stamp::from_seconds(STAMP),
        uuid: Uuid::from_u128(7),
        label: "judged".into(),
        settings: settings.codec,
        packs: settings.packs,
    };
    let mut out = Vec::new();
    Plan::new(tree, &options).unwrap().emit(&mut out).unwrap();
    out
}

fn scratch(name: &str) -> PathBuf {
    let dir = trixie().join("tmp");
    fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

#[test]
fn fsck_extracts_every_layout() {
    let tree = tree();
    for (i, settings) in SETTINGS.into_iter().enumerate() {
        let name = format!("fsck-{i}.erofs");
        let image = scratch(&name);
        fs::write(&image, write(&tree, settings)).unwrap();
        good(
            trixie_tool("fsck.erofs")
                .arg("--extract")
                .arg(format!("/tmp/{name}")),
        );
        fs::remove_file(&image).unwrap();
    }
}

#[test]
fn fsck_extracts_what_was_packed() {
    let mut tree = tree();
    // More names of one inode than ext4 allows.
    tree.remove(&path("links"));
    for (i, settings) in SETTINGS.into_iter().enumerate() {
        if settings.codec.tails == Tails::Own {
            continue;
        }
        let name = format!("extract-{i}.erofs");
        let (image, out) = (scratch(&name), scratch(&format!("extract-{i}")));
        fs::write(&image, write(&tree, settings)).unwrap();
        good(trixie_tool("fsck.erofs").args([
            &format!("--extract=/tmp/extract-{i}"),
            &format!("/tmp/{name}"),
        ]));
        for (path, node) in tree.iter() {
            if let Some(content) = node.content() {
                let real = out.join(OsStr::from_bytes(path.as_bytes()));
                assert!(
                    fs::read(&real).unwrap() == *content.read().unwrap(),
                    "{settings:?}: {path} differs"
                );
            }
        }
        fs::remove_file(&image).unwrap();
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn an_independent_reader_reads_every_file() {
    let tree = tree();
    for settings in SETTINGS {
        let bytes = write(&tree, settings);
        let image = EroFS::new(SliceImage::new(&bytes)).unwrap();
        for (path, node) in tree.iter().filter(|(p, _)| !p.starts_with(&path("links"))) {
            let Some(content) = node.content() else {
                continue;
            };
            let mut found = Vec::new();
            let name = String::from_utf8(path.as_bytes().to_vec()).unwrap();
            let mut file = image.open(format!("/{name}")).unwrap();
            file.read_to_end(&mut found).unwrap();
            assert!(
                found == *content.read().unwrap(),
                "{settings:?}: {path} differs"
            );
        }
    }
}

/// A loop mount that ends with the test.
pub struct Mount(pub PathBuf);

impl Mount {
    pub fn new(image: &Path) -> Self {
        let dir = image.with_extension("mount");
        fs::create_dir_all(&dir).unwrap();
        let mut mount = tool("mount");
        good(
            mount
                .args(["-t", "erofs", "-o", "loop,ro"])
                .args([image, &dir]),
        );
        Self(dir)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = tool("umount").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

pub fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    names[..len]
        .split(|&b| b == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
            (name.to_vec(), value[..len].to_vec())
        })
        .collect()
}

pub fn count(dir: &Path) -> usize {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let below = entry.file_type().unwrap().is_dir();
            1 + if below { count(&entry.path()) } else { 0 }
        })
        .sum()
}

#[test]
fn the_kernel_shows_the_tree_as_it_is() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this judge mounts, so it runs as root"
    );
    let tree = tree();
    let mut links: BTreeMap<LinkGroup, u64> = BTreeMap::new();
    for (_, node) in tree.iter() {
        if let Kind::File {
            link: Some(group), ..
        } = node.kind
        {
            *links.entry(group).or_default() += 1;
        }
    }
    for (i, settings) in SETTINGS.into_iter().enumerate() {
        let image = scratch(&format!("mount-{i}.erofs"));
        fs::write(&image, write(&tree, settings)).unwrap();
        let mount = Mount::new(&image);
        assert_eq!(count(&mount.0) + 1, tree.len());
        for (path, node) in tree.iter() {
            let real = mount.0.join(OsStr::from_bytes(path.as_bytes()));
            let found = fs::symlink_metadata(&real).unwrap();
            let (kind, device, nlink) = match &node.kind {
                Kind::Dir => {
                    let inside = tree.children(path).filter(|(_, n)| n.is_dir()).count();
                    (0o040_000, 0, 2 + inside as u64)
                }
                Kind::File { link, .. } => (0o100_000, 0, link.map_or(1, |group| links[&group])),
                Kind::Symlink(_) => (0o120_000, 0, 1),
                Kind::CharDevice { major, minor } => {
                    (0o020_000, rustix::fs::makedev(*major, *minor), 1)
                }
                Kind::BlockDevice { major, minor } => {
                    (0o060_000, rustix::fs::makedev(*major, *minor), 1)
                }
                Kind::Fifo => (0o010_000, 0, 1),
            };
            assert_eq!(
                (found.mode(), found.rdev(), found.nlink()),
                (kind | u32::from(node.meta.mode), device, nlink),
                "{settings:?}: {path}"
            );
            assert_eq!(
                (found.uid(), found.gid(), found.mtime(), found.mtime_nsec()),
                (node.meta.uid, node.meta.gid, STAMP as i64, 0),
                "{settings:?}: {path}"
            );
            if path.starts_with(&self::path("links")) {
                continue;
            }
            assert_eq!(xattrs(&real), node.meta.xattrs, "{settings:?}: {path}");
            if let Some(content) = node.content() {
                assert!(
                    fs::read(&real).unwrap() == *content.read().unwrap(),
                    "{settings:?}: {path} differs"
                );
            }
            if let Kind::Symlink(target) = &node.kind {
                assert_eq!(fs::read_link(&real).unwrap().as_os_str().as_bytes(), target);
            }
        }
        drop(mount);
        fs::remove_file(&image).unwrap();
    }
}

#[test]
fn veritysetup_makes_the_same_tree_and_accepts_ours() {
    let salt = verity::salt("judges");
    let uuid = Uuid::from_u128(5);
    for blocks in [1_usize, 2, 127, 128, 129, 300, 16_385] {
        let image = scratch(&format!("verity-{blocks}.img"));
        let [ours, theirs] = ["ours", "theirs"].map(|end| image.with_extension(end));
        let data = bytes(blocks * 4096, 1);
        fs::write(&image, &data).unwrap();
        let mut out = Vec::new();
        let built = verity::build(
            &mut data.as_slice(),
            data.len() as u64,
            &salt,
            uuid,
            &mut out,
        )
        .unwrap();
        fs::write(&ours, &out).unwrap();
        let text: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = fs::remove_file(&theirs);
        good(
            tool("veritysetup")
                .arg("format")
                .arg(format!("--salt={text}"))
                .arg(format!("--uuid={uuid}"))
                .args([&image, &theirs]),
        );
        assert!(fs::read(&theirs).unwrap() == out, "{blocks} blocks");
        let root = built.root_hash.to_string();
        let verify = || {
            let mut command = tool("veritysetup");
            command.arg("verify").args([&image, &ours]).arg(&root);
            command
        };
        good(&mut verify());
        let mut damaged = data.clone();
        damaged[(blocks - 1) * 4096 + 77] ^= 1;
        fs::write(&image, &damaged).unwrap();
        assert!(!verify().output().unwrap().status.success(), "{blocks}");
        for file in [image, ours, theirs] {
            fs::remove_file(file).unwrap();
        }
    }
}
