//! Writer and reader against each other, and against any bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::stamp::Stamp;
use crate::store::Store;
use crate::tree::{Content, Kind, LinkGroup, Meta, Node, Origin, Tree, TreePath};

const STAMP: u64 = 1_700_000_000;

fn options(codec: Codec, chunk: u32) -> ImageOptions {
    ImageOptions {
        stamp: Stamp::from_seconds(STAMP),
        uuid: Uuid::from_u128(7),
        label: "usr".into(),
        settings: CodecSettings {
            codec,
            level: 3,
            chunk,
            tails: Tails::Own,
        },
        packs: PackBy::Image,
    }
}

fn packed(codec: Codec, chunk: u32, packs: PackBy) -> ImageOptions {
    let mut options = options(codec, chunk);
    options.settings.tails = Tails::Packed;
    ImageOptions { packs, ..options }
}

fn image(tree: &Tree, options: &ImageOptions) -> Vec<u8> {
    let plan = Plan::new(tree, options).unwrap();
    let mut out = Vec::new();
    plan.emit(&mut out).unwrap();
    assert_eq!(out.len() as u64, plan.size());
    assert_eq!(out.len() % 4096, 0);
    assert_eq!(plan.account().total(), plan.size());
    out
}

fn node(kind: Kind) -> Node {
    Node {
        meta: Meta::root(0o644),
        kind,
        origin: Origin::Generated("test".into()),
    }
}

fn file(bytes: Vec<u8>) -> Node {
    node(Kind::File {
        content: bytes.into(),
        link: None,
    })
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

/// `len` bytes that depend on `seed`: words, noise, or stretches of both.
fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    (0..len)
        .map(|i| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            match seed % 3 {
                0 => b"linker"[state as usize % 3],
                1 => state as u8,
                _ if i >> 16 & 1 == 0 => b"for os"[state as usize % 6],
                _ => state as u8,
            }
        })
        .collect()
}

/// What a tree says about each path, in the terms of the reader.
fn check(tree: &Tree, image: &Image<&[u8]>) {
    let found: BTreeMap<_, _> = image.walk().unwrap().into_iter().collect();
    assert_eq!(found.len(), tree.len());
    let mut names: BTreeMap<LinkGroup, u32> = BTreeMap::new();
    let mut nids: BTreeMap<LinkGroup, u64> = BTreeMap::new();
    for (_, node) in tree.iter() {
        if let Kind::File {
            link: Some(group), ..
        } = node.kind
        {
            *names.entry(group).or_default() += 1;
        }
    }
    for (path, node) in tree.iter() {
        let info = &found[path];
        assert_eq!(image.lookup(path).unwrap().as_ref(), Some(info), "{path}");
        assert_eq!(
            (info.mode, info.uid, info.gid, info.mtime),
            (node.meta.mode, node.meta.uid, node.meta.gid, STAMP),
            "{path}"
        );
        assert_eq!(image.xattrs(info).unwrap(), node.meta.xattrs, "{path}");
        let nlink = match &node.kind {
            Kind::Dir => 2 + tree.children(path).filter(|(_, n)| n.is_dir()).count() as u32,
            Kind::File {
                link: Some(group), ..
            } => {
                assert_eq!(*nids.entry(*group).or_insert(info.nid), info.nid);
                names[group]
            }
            _ => 1,
        };
        assert_eq!(info.nlink, nlink, "{path}");
        match &node.kind {
            Kind::Dir => assert_eq!(info.kind, InodeKind::Dir),
            Kind::File { content, .. } => {
                assert_eq!(info.size, content.len());
                let got = image.read_file(info, u64::MAX).unwrap();
                assert!(got == *content.read().unwrap(), "content of {path} differs");
            }
            Kind::Symlink(target) => assert_eq!(&image.read_link(info).unwrap(), target),
            &Kind::CharDevice { major, minor } => {
                assert_eq!(info.kind, InodeKind::CharDevice(major, minor));
            }
            &Kind::BlockDevice { major, minor } => {
                assert_eq!(info.kind, InodeKind::BlockDevice(major, minor));
            }
            Kind::Fifo => assert_eq!(info.kind, InodeKind::Fifo),
        }
    }
}

/// Sizes around every edge of the layouts, for a chunk of `chunk`.
fn size(chunk: usize) -> impl Strategy<Value = usize> {
    let edges = vec![
        0,
        1,
        64,
        4031,
        4032,
        4033,
        4095,
        4096,
        4097,
        8191,
        8192,
        6 * 4096,
        16 * 4096,
        22 * 4096 + 1,
        chunk - 1,
        chunk,
        chunk + 1,
        chunk + chunk / 16,
        2 * chunk + 4095,
    ];
    prop_oneof![proptest::sample::select(edges), 0..3 * chunk, 0..6000_usize]
}

fn meta() -> impl Strategy<Value = Meta> {
    let id = || prop_oneof![Just(0_u32), Just(65535), Just(65536), any::<u32>()];
    let name = proptest::sample::select(vec![
        "security.capability",
        "user.a",
        "user.longer-name",
        "trusted.t",
        "system.posix_acl_access",
    ]);
    let value = proptest::collection::vec(any::<u8>(), 0..60);
    let large = proptest::collection::vec(any::<u8>(), 3500..5000);
    let value = prop_oneof![8 => value, 1 => large];
    let xattrs =
        proptest::collection::btree_map(name.prop_map(|n| n.as_bytes().to_vec()), value, 0..4);
    let xattrs = prop_oneof![3 => Just(BTreeMap::new()), 1 => xattrs];
    (0_u16..0o10000, id(), id(), xattrs).prop_map(|(mode, uid, gid, xattrs)| Meta {
        mode,
        uid,
        gid,
        xattrs,
    })
}

fn tree(chunk: usize) -> impl Strategy<Value = Tree> {
    let kind = prop_oneof![
        6 => (size(chunk), 0_u32..12).prop_map(|(len, seed)| Kind::File {
            content: bytes(len, seed).into(),
            link: None,
        }),
        2 => Just(Kind::Dir),
        1 => proptest::collection::vec(1_u8.., 1..4096).prop_map(Kind::Symlink),
        1 => (0_u32..4096, 0_u32..1 << 20)
            .prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
        1 => (0_u32..4096, 0_u32..1 << 20)
            .prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        1 => Just(Kind::Fifo),
    ];
    let name = "[!-.0-~]{1,12}".prop_filter("no climbing", |n| n != "." && n != "..");
    let nodes = proptest::collection::vec(
        (any::<proptest::sample::Index>(), name, meta(), kind),
        0..40,
    );
    (
        nodes,
        proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    )
        .prop_map(|(nodes, links)| {
            let mut tree = Tree::new();
            let mut dirs = vec![TreePath::root()];
            for (dir, name, meta, kind) in nodes {
                let path = dir.get(&dirs).join(&name).unwrap();
                if tree.get(&path).is_some() {
                    continue;
                }
                if matches!(kind, Kind::Dir) {
                    dirs.push(path.clone());
                }
                let package = format!("package{}", path.as_bytes().len() % 4);
                let origin = Origin::Package(package.into());
                tree.insert(path, Node { meta, kind, origin });
            }
            let files: Vec<_> = tree
                .iter()
                .filter(|(_, n)| n.content().is_some())
                .map(|(p, _)| p.clone())
                .collect();
            for (i, link) in links.iter().enumerate() {
                if files.is_empty() {
                    break;
                }
                let first = link.get(&files);
                let Some(Node {
                    kind: Kind::File { link, .. },
                    ..
                }) = tree.get_mut(first)
                else {
                    continue;
                };
                link.get_or_insert(LinkGroup(i as u64));
                let copy = tree.get(first).unwrap().clone();
                let dir = &dirs[i % dirs.len()];
                tree.insert(dir.join(format!("hard link {i}")).unwrap(), copy);
            }
            tree
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_what_is_read(
        (chunk, tree) in proptest::sample::select(vec![4096_u32, 16384, 65536])
            .prop_flat_map(|chunk| (Just(chunk), tree(chunk as usize))),
        codec in proptest::sample::select(vec![Codec::None, Codec::Zstd, Codec::Lz4hc]),
        packs in proptest::sample::select(vec![None, Some(PackBy::Package), Some(PackBy::Image)]),
    ) {
        let options = match packs {
            None => options(codec, chunk),
            Some(packs) => packed(codec, chunk, packs),
        };
        let bytes = image(&tree, &options);
        let image = Image::open(bytes.as_slice()).unwrap();
        check(&tree, &image);
        dump(&image, true).unwrap();
        if packs.is_none() {
            prop_assert_eq!(image.packed_inode(), None);
        }
    }

    #[test]
    fn damaged_images_are_errors_and_never_harm(
        tree in tree(16384),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<proptest::sample::Index>(),
        packs in any::<bool>(),
    ) {
        let mut bytes = image(&tree, &if packs {
            packed(Codec::Zstd, 16384, PackBy::Package)
        } else {
            options(Codec::Zstd, 16384)
        });
        for (at, value) in damage {
            // The metadata is where it hurts.
            let at = at.index(bytes.len().clamp(1, 16384));
            bytes[at] = value;
        }
        // The checksum would hide everything behind it.
        let sum = format::superblock_checksum(&bytes[1024..4096]);
        bytes[1028..1032].copy_from_slice(&sum.to_le_bytes());
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(image) = Image::open(bytes) {
                let _ = image.lookup(&path("a/b"));
                for (_, info) in image.walk().unwrap_or_default() {
                    let _ = image.xattrs(&info);
                    let _ = image.read_link(&info);
                    let _ = image.read_file(&info, 1 << 20);
                }
            }
        }
    }
}

#[test]
fn directories_of_many_blocks_and_thousands_of_links_survive() {
    let mut tree = Tree::new();
    let shared = Node {
        kind: Kind::File {
            content: bytes(9000, 0).into(),
            link: Some(LinkGroup(1)),
        },
        ..node(Kind::Fifo)
    };
    for i in 0..70_000 {
        tree.insert(path(&format!("names/{i}")), shared.clone());
    }
    let deep = vec!["d".repeat(200); 20].join("/");
    tree.insert(path(&deep), file(b"deep".to_vec()));
    for name in ["-", "!", "...", "~", "\u{e4}"] {
        tree.insert(path(&format!("odd/{name}")), file(name.into()));
    }
    let bytes = image(&tree, &options(Codec::Zstd, 65536));
    let image = Image::open(bytes.as_slice()).unwrap();
    let info = image.lookup(&path("names/69999")).unwrap().unwrap();
    assert_eq!(info.nlink, 70_000);
    assert_eq!(image.walk().unwrap().len(), tree.len());
    assert!(image.lookup(&path(&deep)).unwrap().is_some());
    for name in ["-", "!", "...", "~", "\u{e4}"] {
        let found = image.lookup(&path(&format!("odd/{name}"))).unwrap();
        assert_eq!(
            image.read_file(&found.unwrap(), 9).unwrap(),
            name.as_bytes()
        );
    }
    assert_eq!(image.lookup(&path("odd/none")).unwrap(), None);
    assert_eq!(image.lookup(&path("odd/-/x")).unwrap(), None);
}

#[test]
fn identical_files_share_their_blocks() {
    let mut tree = Tree::new();
    tree.insert(path("a"), file(bytes(200_000, 1)));
    let alone = Plan::new(&tree, &options(Codec::Zstd, 65536))
        .unwrap()
        .stats();
    tree.insert(path("b"), file(bytes(200_000, 1)));
    let both = Plan::new(&tree, &options(Codec::Zstd, 65536))
        .unwrap()
        .stats();
    assert_eq!(alone.data, both.data);
    assert_eq!(both.shared, both.data);
}

/// Remembers packs, and what it was asked for in vain.
#[derive(Default)]
struct Kept {
    packs: Mutex<BTreeMap<[u8; 32], Arc<Blob>>>,
    made: Mutex<usize>,
}

impl Packs for Kept {
    fn get(&self, key: blake3::Hash) -> Option<Arc<Blob>> {
        self.packs.lock().unwrap().get(key.as_bytes()).cloned()
    }

    fn keep(&self, key: blake3::Hash, pack: Arc<Blob>) -> Arc<Blob> {
        *self.made.lock().unwrap() += 1;
        let mut packs = self.packs.lock().unwrap();
        packs.insert(*key.as_bytes(), pack.clone());
        pack
    }
}

/// The bytes of an image.
fn emitted(tree: &Tree, options: &ImageOptions, packs: &dyn Packs) -> Vec<u8> {
    let mut out = Vec::new();
    let plan = Plan::with_packs(tree, options, packs).unwrap();
    plan.emit(&mut out).unwrap();
    out
}

/// Three packages with 20 files each, and one file that is generated.
fn packages() -> Tree {
    let mut tree = Tree::new();
    for package in 0..3 {
        for i in 0..20_usize {
            let content = bytes(i * 997 + package * 7, 3 * i as u32);
            let origin = Origin::Package(format!("p{package}").into());
            let node = Node {
                origin,
                ..file(content)
            };
            tree.insert(path(&format!("p{package}/{i}.txt")), node);
        }
    }
    tree.insert(path("etc/made"), file(bytes(500, 0)));
    tree
}

#[test]
fn a_large_file_of_no_package_is_compiled_once() {
    let options = packed(Codec::Zstd, 65536, PackBy::Package);
    let kept = Kept::default();
    let mut tree = Tree::new();
    tree.insert(path("big"), file(bytes(200_000, 1)));
    let emit = |tree: &Tree, packs: &dyn Packs| emitted(tree, &options, packs);
    let first = emit(&tree, &kept);
    let made = *kept.made.lock().unwrap();
    assert_eq!(made, 1);
    assert!(emit(&tree, &kept) == first);
    assert_eq!(*kept.made.lock().unwrap(), made);
    tree.insert(path("big"), file(bytes(200_001, 1)));
    emit(&tree, &kept);
    assert_eq!(*kept.made.lock().unwrap(), made + 1);
    tree.insert(path("big"), file(bytes(200_000, 1)));
    assert!(emit(&tree, &kept) == first);
    assert!(emit(&tree, &NoPacks) == first);
}

#[test]
fn a_change_in_one_package_leaves_the_packs_of_the_others() {
    let options = packed(Codec::Zstd, 65536, PackBy::Package);
    let kept = Kept::default();
    let mut tree = packages();
    let emit = |tree: &Tree, packs: &dyn Packs| emitted(tree, &options, packs);
    let first = emit(&tree, &kept);
    let made = || std::mem::take(&mut *kept.made.lock().unwrap());
    assert_eq!(made(), 4);
    assert_eq!(emit(&tree, &kept), first);
    assert_eq!(made(), 0);
    tree.insert(path("etc/made"), file(bytes(501, 0)));
    assert_eq!(emit(&tree, &kept), emit(&tree, &NoPacks));
    assert_eq!(made(), 1);
    tree.remove(&path("p1/7.txt"));
    let changed = emit(&tree, &kept);
    assert_eq!(made(), 1);
    check(&tree, &Image::open(changed.as_slice()).unwrap());
}

#[test]
fn packs_and_tails_in_the_cache_make_the_same_image() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("cache")).unwrap();
    let options = packed(Codec::Zstd, 65536, PackBy::Package);
    let (made, mut stored) = (packages(), packages());
    for (path, node) in made.iter() {
        let Some(content) = node.content() else {
            continue;
        };
        let blob = Blob::compile(&content.read().unwrap(), &options.settings);
        let key = blake3::hash(path.as_bytes());
        let kept = store.keep_derived_blob("test", &key, &blob).unwrap();
        assert_eq!(kept.tail().map(Tail::hash), blob.tail().map(Tail::hash));
        let Some(Node {
            kind: Kind::File { content, .. },
            ..
        }) = stored.get_mut(path)
        else {
            continue;
        };
        *content = Content::Blob(kept);
    }
    let emit = |tree: &Tree, packs: &dyn Packs| emitted(tree, &options, packs);
    let first = emit(&made, &NoPacks);
    for _ in 0..2 {
        assert!(emit(&stored, &store) == first);
    }
    assert!(emit(&stored, &NoPacks) == first);
}

#[test]
fn a_kept_pack_of_another_shape_is_made_again() {
    struct Wrong;
    impl Packs for Wrong {
        fn get(&self, _: blake3::Hash) -> Option<Arc<Blob>> {
            let settings = options(Codec::Zstd, 65536).settings;
            Some(Arc::new(Blob::compile(&[1; 4096], &settings)))
        }
        fn keep(&self, _: blake3::Hash, pack: Arc<Blob>) -> Arc<Blob> {
            pack
        }
    }
    let options = packed(Codec::Zstd, 65536, PackBy::Image);
    let mut out = Vec::new();
    let plan = Plan::with_packs(&packages(), &options, &Wrong).unwrap();
    plan.emit(&mut out).unwrap();
    check(&packages(), &Image::open(out.as_slice()).unwrap());
}

#[test]
fn each_inode_has_its_share_and_common_content_is_the_first_ones() {
    let mut tree = Tree::new();
    tree.insert(path("a"), file(bytes(8292, 1)));
    tree.insert(path("b"), file(bytes(8292, 1)));
    tree.insert(path("c"), file(bytes(4095, 1)));
    tree.insert(path("l"), node(Kind::Symlink(b"target".to_vec())));
    let plan = Plan::new(&tree, &options(Codec::None, 65536)).unwrap();
    let shares = &plan.account().shares;
    let names: Vec<_> = shares.iter().map(|share| share.path.to_string()).collect();
    assert_eq!(names, ["/", "/a", "/b", "/c", "/l"]);
    let rows: Vec<_> = shares
        .iter()
        .skip(1)
        .map(|share| (share.metadata, share.inline, share.data, share.padding))
        .collect();
    assert_eq!(
        rows,
        [
            (32, 100, 8192, 0),
            (32, 100, 0, 0),
            // Too long to stand behind its inode.
            (32, 0, 4095, 1),
            (32, 6, 0, 0),
        ]
    );
    // What is in packs is divided among those that have something there.
    let plan = Plan::new(&packages(), &packed(Codec::Zstd, 65536, PackBy::Image)).unwrap();
    let account = plan.account();
    let packs: u64 = account.shares.iter().map(|share| share.packed).sum();
    assert!(packs > 0 && packs + account.pack_padding <= plan.stats().packs);
    assert!(account.packs < packs, "{account:?}");
}

#[test]
fn packing_makes_images_smaller_and_identical_tails_are_packed_once() {
    let size = |tree: &Tree, options: &ImageOptions| Plan::new(tree, options).unwrap().size();
    let mut tree = packages();
    let own = size(&tree, &options(Codec::Zstd, 65536));
    let package = size(&tree, &packed(Codec::Zstd, 65536, PackBy::Package));
    let whole = packed(Codec::Zstd, 65536, PackBy::Image);
    let image = size(&tree, &whole);
    assert!(image <= package && package < own, "{image} {package} {own}");
    let stats = |tree: &Tree| Plan::new(tree, &whole).unwrap().stats();
    let before = stats(&tree);
    // The same end behind another chunk.
    for (name, seed) in [("a", 2), ("b", 5)] {
        let mut content = bytes(65536, seed);
        content.extend(bytes(19 * 997, 57));
        tree.insert(path(name), file(content));
    }
    assert_eq!(stats(&tree).packed, before.packed);
}

#[test]
fn the_same_tree_gives_the_same_bytes_on_one_thread_and_on_many() {
    let mut tree = Tree::new();
    for i in 0..50 {
        tree.insert(
            path(&format!("d{}/f{i}", i % 7)),
            file(bytes(i * 7000, i as u32)),
        );
    }
    let build = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(|| {
                [
                    options(Codec::Zstd, 65536),
                    packed(Codec::Zstd, 65536, PackBy::Image),
                ]
                .map(|options| image(&tree, &options))
            })
    };
    assert_eq!(build(1), build(8));
}

#[test]
fn what_cannot_be_written_is_named() {
    let try_node = |node: Node| {
        let mut tree = Tree::new();
        tree.insert(path("x"), node);
        Plan::new(&tree, &options(Codec::None, 4096))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        try_node(node(Kind::Symlink(Vec::new()))),
        "/x: a symbolic link's target must have 1 to 4095 bytes, this one has 0"
    );
    assert_eq!(
        try_node(node(Kind::CharDevice {
            major: 5000,
            minor: 1
        })),
        "/x: device number 5000:1 is out of range (4095:1048575)"
    );
    let mut odd = file(Vec::new());
    odd.meta
        .xattrs
        .insert(b"system.nfs4_acl".to_vec(), Vec::new());
    assert!(try_node(odd).starts_with("/x: extended attribute `system.nfs4_acl`"));
    let mut tree = Tree::new();
    let mut long = options(Codec::Zstd, 4096);
    long.label = "seventeen letters".into();
    assert!(Plan::new(&tree, &long).is_err());
    long.label.clear();
    long.settings.chunk = 5000;
    assert!(Plan::new(&tree, &long).is_err());
    tree.insert(path("file"), file(Vec::new()));
    tree.insert(path("file/below"), file(Vec::new()));
    assert!(Plan::new(&tree, &options(Codec::None, 4096)).is_err());
}

#[test]
fn bad_superblocks_are_told_apart() {
    let good = image(&Tree::new(), &options(Codec::Zstd, 4096));
    let open = |at: usize, value: u8| {
        let mut bad = good.clone();
        bad[at] = value;
        Image::open(bad.as_slice()).unwrap_err()
    };
    assert!(matches!(open(1024, 0), ReadError::Magic));
    assert!(matches!(open(1036, 9), ReadError::Unsupported { .. }));
    assert!(matches!(open(1104, 0x40), ReadError::Unsupported { .. }));
    assert!(matches!(open(1200, 1), ReadError::Checksum { .. }));
    assert!(matches!(
        Image::open(&good[..2000]).unwrap_err(),
        ReadError::Magic
    ));
}

#[test]
fn the_dump_of_a_small_image_is_stable() {
    let mut tree = Tree::new();
    tree.insert(path("bin/tool"), file(bytes(150_000, 2)));
    tree.insert(path("bin/tiny"), file(b"#!/bin/sh\n".to_vec()));
    tree.insert(path("bin/text"), file(bytes(3000, 0)));
    tree.insert(path("bin/noise"), file(bytes(5000, 1)));
    tree.insert(path("bin/link"), node(Kind::Symlink(b"tool".to_vec())));
    tree.insert(path("null"), node(Kind::CharDevice { major: 1, minor: 3 }));
    let mut capable = file(bytes(100, 0));
    capable.meta.uid = 100_000;
    capable
        .meta
        .xattrs
        .insert(b"security.capability".to_vec(), vec![1, 0, 0, 2]);
    tree.insert(path("capable"), capable);
    tree.insert(
        path("empty"),
        node(Kind::File {
            content: Content::from(""),
            link: None,
        }),
    );
    for (name, options) in [
        ("own", options(Codec::Zstd, 65536)),
        ("packed", packed(Codec::Zstd, 65536, PackBy::Image)),
    ] {
        let bytes = image(&tree, &options);
        let text = dump(&Image::open(bytes.as_slice()).unwrap(), true).unwrap();
        insta::assert_snapshot!(name, text);
    }
}
