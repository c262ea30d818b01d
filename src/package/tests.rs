//! Whole packages: what is carried over, and what hostile ones run into.

use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::digest::Sha256;

fn compiled(bytes: Vec<u8>) -> Result<PackageObject, DebError> {
    parse(bytes, Sha256([7; 32]), &SETTINGS)
}

fn error_of(items: &[Item]) -> String {
    compiled(deb("x", "1", "", items)).unwrap_err().to_string()
}

#[test]
fn everything_a_package_ships_is_carried_over() {
    let big: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut null = item(tar::EntryType::Char, "./dev/null", "", b"");
    null.header.set_device_major(1).unwrap();
    null.header.set_device_minor(3).unwrap();
    let object = compiled(deb(
        "x",
        "1:2-3",
        "Replaces: y\n",
        &[
            dir("./"),
            dir("./tmp/").mode(0o1777),
            file("./usr/bin/su", b"root").mode(0o104_755).owner(0, 42),
            hardlink("./usr/bin/su2", "./usr/bin/su"),
            hardlink("usr/bin/su3", "usr/bin/su2"),
            symlink("./usr/bin/sh", "../lib//x"),
            file("./big", &big),
            file("./empty", b""),
            null,
            item(tar::EntryType::Fifo, "./pipe", "", b""),
        ],
    ))
    .unwrap();
    assert_eq!(object.control.version, "1:2-3");
    assert_eq!(object.control.replaces, "y");
    let shown: Vec<_> = object
        .entries
        .iter()
        .map(|e| {
            let kind = match &e.kind {
                EntryKind::File(blob) => format!("file {}", blob.size()),
                other => format!("{other:?}"),
            };
            let meta = &e.meta;
            format!(
                "{} {:o} {}:{} {kind}",
                e.path, meta.mode, meta.uid, meta.gid
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "/ 755 0:0 Dir",
            "/tmp 1777 0:0 Dir",
            "/usr/bin/su 4755 0:42 file 4",
            "/usr/bin/su2 644 0:0 HardLink(\"usr/bin/su\")",
            "/usr/bin/su3 644 0:0 HardLink(\"usr/bin/su\")",
            "/usr/bin/sh 777 0:0 Symlink([46, 46, 47, 108, 105, 98, 47, 47, 120])",
            "/big 644 0:0 file 2800000",
            "/empty 644 0:0 file 0",
            "/dev/null 644 0:0 CharDevice { major: 1, minor: 3 }",
            "/pipe 644 0:0 Fifo",
        ]
    );
    let content = object.entries.iter().find_map(|e| match &e.kind {
        EntryKind::File(blob) if blob.size() > 4 => Some(blob.read().unwrap()),
        _ => None,
    });
    assert!(content.unwrap() == big);
}

#[test]
fn long_names_and_pax_records_apply_to_their_member_only() {
    let long = format!("./usr/{}/file", "d".repeat(150));
    let records = pax_records(&[
        ("path", "./usr/pax".as_bytes()),
        ("uid", b"3000000"),
        ("gid", b"7"),
        ("size", b"4"),
        ("SCHILY.xattr.security.capability", b"\x01\n\x02"),
    ]);
    let object = compiled(deb(
        "x",
        "1",
        "",
        &[
            item(
                tar::EntryType::GNULongName,
                "././@LongLink",
                "",
                long.as_bytes(),
            ),
            file("cut", b"1"),
            item(
                tar::EntryType::GNULongLink,
                "././@LongLink",
                "",
                &[b'l'; 200],
            ),
            symlink("./link", "cut"),
            item(tar::EntryType::XHeader, "./PaxHeaders/x", "", &records),
            file("./cut", b"data"),
            file("./plain", b""),
        ],
    ))
    .unwrap();
    let paths: Vec<_> = object.entries.iter().map(|e| e.path.to_string()).collect();
    assert_eq!(paths, [&long[1..], "/link", "/usr/pax", "/plain"]);
    let EntryKind::Symlink(target) = &object.entries[1].kind else {
        panic!("{:?}", object.entries[1]);
    };
    assert_eq!(target, &[b'l'; 200]);
    let pax = &object.entries[2].meta;
    assert_eq!((pax.uid, pax.gid), (3_000_000, 7));
    assert_eq!(pax.xattrs[b"security.capability".as_slice()], b"\x01\n\x02");
    assert_eq!(object.entries[3].meta, crate::tree::Meta::root(0o644));
}

#[test]
fn hostile_members_are_refused_by_name() {
    let huge = limits::LIMITS.file + 1;
    let pax =
        |records: &[(&str, &[u8])]| item(tar::EntryType::XHeader, "pax", "", &pax_records(records));
    let cases: Vec<(Vec<Item>, &[&str])> = vec![
        (
            vec![file("../etc/passwd", b"")],
            &["../etc/passwd", "climbs"],
        ),
        (vec![file("./usr/../../x", b"")], &["climbs"]),
        (vec![file("/etc/passwd", b"")], &["/etc/passwd", "absolute"]),
        (vec![file("./a", b""), file("a", b"")], &["`a`", "twice"]),
        (vec![dir("./a"), dir("./a/")], &["twice"]),
        (
            vec![hardlink("./a", "./b")],
            &["hard link to /b", "before it"],
        ),
        (vec![hardlink("./a", "./a")], &["hard link to /a"]),
        (
            vec![dir("./b"), hardlink("./a", "./b")],
            &["not a regular file"],
        ),
        (vec![hardlink("./a", "../b")], &["climbs"]),
        (vec![symlink("./a", "")], &["link target"]),
        (
            vec![file("./a", b"").declares(huge)],
            &["more than the 1073741824"],
        ),
        (
            vec![file("./a", b"x").declares(20_000)],
            &["archive ends after"],
        ),
        (
            vec![file("./a", b"x").declares(5 << 20)],
            &["archive ends after"],
        ),
        (vec![dir("./a").declares(8)], &["holds no data"]),
        (vec![file("./a", b"").owner(1 << 32, 0)], &["bad uid"]),
        (vec![file("./a", b"").owner(0, 0xffff_ffff)], &["bad gid"]),
        (
            vec![item(tar::EntryType::GNUSparse, "./a", "", b"")],
            &["type 'S'"],
        ),
        (
            vec![item(tar::EntryType::new(b'?'), "./a", "", b"")],
            &["type '?'"],
        ),
        (vec![file(".", b"")], &["must be a directory"]),
        (vec![pax(&[("path", b"x\0y")]), file("./a", b"")], &["NUL"]),
        (
            vec![pax(&[("size", b"9")]), file("./a", b"")],
            &["9 in the PAX"],
        ),
        (vec![pax(&[]), pax(&[]), file("./a", b"")], &["twice"]),
        (vec![pax(&[("path", b"a")])], &["no member"]),
        (
            vec![
                item(
                    tar::EntryType::XGlobalHeader,
                    "g",
                    "",
                    &pax_records(&[("uid", b"1")]),
                ),
                file("./a", b""),
            ],
            &["global PAX"],
        ),
        (
            vec![item(tar::EntryType::GNULongName, "l", "", b"").declares(3 << 20)],
            &["more than the 1048576"],
        ),
    ];
    for (items, wanted) in cases {
        let error = error_of(&items);
        for part in wanted {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(error.starts_with("data.tar: "), "{error}");
    }
}

#[test]
fn a_tar_cut_anywhere_is_an_error() {
    let items = [dir("./a/"), file("./a/b", &[1; 700]), symlink("./c", "d")];
    let whole = tar_open(&items);
    let control = control("x", "1", "");
    for len in 0..whole.len() {
        let error = compiled(deb_raw(&control, &whole[..len])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("cut off") || text.contains("ends after"),
            "{len}: {text}"
        );
    }
    let mut ended = whole;
    ended.resize(ended.len() + 1024, 0);
    assert!(compiled(deb_raw(&control, &ended)).is_ok());
    ended.push(1);
    let error = compiled(deb_raw(&control, &ended)).unwrap_err().to_string();
    assert!(error.contains("behind the end"), "{error}");
}

#[test]
fn bombs_run_into_the_limits() {
    let limits = limits::Limits {
        data_tar: 1 << 20,
        entries: 3,
        ..limits::LIMITS
    };
    let bomb = deb("x", "1", "", &[file("./a", &vec![0; 4 << 20])]);
    let error = parse_within(bomb, Sha256([0; 32]), &SETTINGS, &limits).unwrap_err();
    assert!(
        error.to_string().contains("more than 1048576 bytes"),
        "{error}"
    );
    let many = deb("x", "1", "", &["a", "b", "c", "d"].map(|n| file(n, b"")));
    let error = parse_within(many, Sha256([0; 32]), &SETTINGS, &limits).unwrap_err();
    assert!(error.to_string().contains("more than 3 members"), "{error}");
}

#[test]
fn a_package_that_is_not_what_the_lock_says_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.deb");
    let bytes = deb("x", "2", "", &[dir_item()]);
    std::fs::write(&path, &bytes).unwrap();
    let id = DebId {
        name: "x".into(),
        version: "1".into(),
        architecture: "amd64".into(),
        sha256: Sha256::of(&bytes),
    };
    let other = DebId {
        sha256: Sha256([0; 32]),
        ..id.clone()
    };
    let error = compile(&path, &other, &SETTINGS).unwrap_err();
    assert!(error.to_string().contains("has changed"), "{error}");
    let error = compile(&path, &id, &SETTINGS).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("`Version: 2`") && text.contains("`1`"),
        "{text}"
    );
    assert_eq!(
        crate::failure::kind_of(&error),
        crate::failure::Kind::Archive
    );
}

fn dir_item() -> Item {
    dir("./")
}

#[test]
fn many_packages_come_back_in_the_order_they_were_submitted() {
    let dir = tempfile::tempdir().unwrap();
    let debs: Vec<_> = (0..20_usize)
        .map(|n| {
            let name = format!("p{n}");
            let path = dir.path().join(&name);
            let content = vec![n as u8; n * 37_000 % 90_001];
            let bytes = deb(&name, "1", "", &[file("./f", &content)]);
            std::fs::write(&path, &bytes).unwrap();
            let id = DebId {
                name,
                version: "1".into(),
                architecture: "amd64".into(),
                sha256: Sha256::of(&bytes),
            };
            (id, path)
        })
        .collect();
    let progress = crate::report::Progress::quiet();
    let objects = compile_all(&debs, SETTINGS, &progress).unwrap();
    for ((id, path), object) in debs.iter().zip(&objects) {
        assert_eq!(object.control.name, id.name);
        assert_eq!(object.deb, id.sha256);
        let alone = compile(path, id, &SETTINGS).unwrap();
        assert_eq!(format!("{alone:?}"), format!("{:?}", **object));
    }

    std::fs::write(&debs[3].1, b"rubbish").unwrap();
    let error = compile_all(&debs, SETTINGS, &progress).unwrap_err();
    assert!(format!("{error:#}").contains("package p3 1"), "{error:#}");
    assert!(compile_all(&[], SETTINGS, &progress).unwrap().is_empty());
}

#[test]
fn a_stored_object_is_the_one_that_was_compiled_and_damage_makes_it_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = crate::store::Store::open(&dir.path().join("cache")).unwrap();
    let big: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut null = item(tar::EntryType::Char, "./dev/null", "", b"");
    null.header.set_device_major(1).unwrap();
    null.header.set_device_minor(3).unwrap();
    let items = [
        dir_item(),
        file("./usr/bin/su", b"root").mode(0o104_755).owner(0, 42),
        hardlink("./usr/bin/su2", "./usr/bin/su"),
        symlink("./usr/bin/sh", "../lib//x"),
        file("./big", &big),
        file("./empty", b""),
        null,
        item(tar::EntryType::Fifo, "./pipe", "", b""),
    ];
    let bytes = deb("x", "1", "Replaces: y\n", &items);
    let path = dir.path().join("x.deb");
    std::fs::write(&path, &bytes).unwrap();
    let id = DebId {
        name: "x".into(),
        version: "1".into(),
        architecture: "amd64".into(),
        sha256: Sha256::of(&bytes),
    };
    let progress = crate::report::Progress::quiet();
    let build = || {
        let compiler = Compiler::new(SETTINGS, Some(&store), &progress, None).unwrap();
        compiler.submit(0, id.clone(), &path).unwrap();
        compiler.finish().unwrap().remove(0)
    };
    let contents = |object: &PackageObject| -> Vec<_> {
        let blobs = object.entries.iter().filter_map(|entry| match &entry.kind {
            EntryKind::File(blob) => Some(blob),
            _ => None,
        });
        blobs
            .map(|blob| {
                (
                    blob.read().unwrap(),
                    blob.data().read().unwrap().into_owned(),
                )
            })
            .collect()
    };
    let fresh = compile(&path, &id, &SETTINGS).unwrap();
    assert!(stored(&store, &id, &SETTINGS).unwrap().is_none());
    let kept = build();
    let found = stored(&store, &id, &SETTINGS).unwrap().unwrap();
    for object in [&*kept, &found] {
        assert_eq!(format!("{object:?}"), format!("{fresh:?}"));
        assert_eq!(contents(object), contents(&fresh));
    }
    let other = crate::erofs::CodecSettings {
        level: SETTINGS.level + 1,
        ..SETTINGS
    };
    assert!(stored(&store, &id, &other).unwrap().is_none());

    store.settle();
    let mut files = walk(&store.folder("objects"));
    let file = files.pop().unwrap();
    assert!(files.is_empty());
    let mut damaged = std::fs::read(&file).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let found = stored(&store, &id, &SETTINGS).unwrap().unwrap();
    let blobs = found.entries.iter().filter_map(|entry| match &entry.kind {
        EntryKind::File(blob) => Some(blob.read()),
        _ => None,
    });
    let errors: Vec<_> = blobs.filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1);
    let text = errors[0].to_string();
    assert!(text.contains("the object of x 1 in "), "{text}");
    assert_eq!(store.discard_damaged(), 1);
    assert!(stored(&store, &id, &SETTINGS).unwrap().is_none());
    assert_eq!(contents(&build()), contents(&fresh));

    std::fs::remove_file(&path).unwrap();
    let error = compile(&path, &id, &SETTINGS).unwrap_err();
    assert!(error.is::<Vanished>(), "{error:#}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_parse(&bytes);
        fuzz_parse(&ar(&[("debian-binary", b"2.0\n"), ("control.tar", &bytes), ("data.tar", &bytes)]));
        fuzz_parse(&deb_raw(&control("x", "1", ""), &bytes));
    }

    #[test]
    fn damaged_packages_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let records = pax_records(&[("uid", b"5"), ("SCHILY.xattr.user.x", b"y")]);
        let mut data = tar(&[
            dir("./usr/"),
            item(tar::EntryType::XHeader, "pax", "", &records),
            file("./usr/a", b"content"),
            hardlink("./usr/b", "./usr/a"),
            symlink("./usr/c", "b"),
        ]);
        let whole = ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", &tar(&[file("control", control("x", "1", "").as_bytes())])),
            ("data.tar", &data),
        ]);
        let mut packed = ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", &compress(decompress::Codec::Xz, &tar(&[file("control", control("x", "1", "").as_bytes())]), None)),
            ("data.tar.gz", &compress(decompress::Codec::Gzip, &data, None)),
        ]);
        // Flips in the frame, and flips in a header whose checksum is put right again.
        let mut frame = whole;
        for (at, value) in &flips {
            let at = at.index(frame.len());
            frame[at] ^= value;
            let within = at % packed.len();
            packed[within] ^= value;
            let at = at % (9 * 512);
            data[at] ^= value;
        }
        fuzz_parse(&frame);
        fuzz_parse(&packed);
        for block in data.chunks_exact_mut(512) {
            let mut header = tar::Header::new_old();
            header.as_mut_bytes().copy_from_slice(block);
            if block[..100] != [0; 100] {
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        fuzz_parse(&deb_raw(&control("x", "1", ""), &data));
    }
}
