//! Views of one small image.

use super::tree::{By, Row};
use super::{FileKind, Lines, Part, Sizes, html, savings, text, tree, why};
use crate::erofs::{Codec, CodecSettings, ImageOptions, PackBy, Plan, Tails};
use crate::profile::parse_bytes;
use crate::stamp::Stamp;
use crate::tree::{Kind, LinkGroup, Meta, Node, Origin, Tree, TreePath};

fn sizes() -> Sizes {
    let mut tree = Tree::new();
    let mut put = |path: &str, kind: Kind, origin: Origin| {
        let meta = Meta::root(0o644);
        let node = Node { meta, kind, origin };
        tree.insert(TreePath::parse(path).unwrap(), node);
    };
    let package = |name: &str| Origin::Package(name.into());
    let mut noise = vec![0; 300_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let file = |content: &[u8], link: Option<u64>| Kind::File {
        content: content.to_vec().into(),
        link: link.map(LinkGroup),
    };
    put("usr/bin/server", file(&noise, None), package("server"));
    put(
        "usr/bin/a",
        file(&noise[..9000], Some(1)),
        package("library"),
    );
    put(
        "usr/bin/b",
        file(&noise[..9000], Some(1)),
        package("library"),
    );
    put(
        "usr/bin/sh",
        Kind::Symlink(b"../lib/shell".to_vec()),
        package("shell"),
    );
    put(
        "usr/lib/shell",
        file(&noise[9000..99_000], None),
        package("shell"),
    );
    put(
        "usr/share/man/man1/x",
        file(&noise[100..90_000], None),
        package("shell"),
    );
    put(
        "usr/share/factory/etc/conf",
        Kind::Symlink(b"/usr/bin/sh".to_vec()),
        Origin::Generated("policy".into()),
    );
    put(
        "usr/share/factory/etc/later",
        Kind::Symlink(b"../run/later".to_vec()),
        Origin::Generated("policy".into()),
    );
    put(
        "usr/lib/own",
        file(b"own", None),
        Origin::Overlay("files".into()),
    );
    let options = ImageOptions {
        stamp: Stamp::from_seconds(1),
        uuid: uuid::Uuid::nil(),
        label: String::new(),
        settings: CodecSettings {
            codec: Codec::Zstd,
            level: 1,
            chunk: 65536,
            tails: Tails::Packed,
        },
        packs: PackBy::Image,
    };
    let plan = Plan::new(&tree.subtree(&TreePath::parse("usr").unwrap()), &options).unwrap();
    let sizes = Sizes::of_usr(&tree, plan.account());
    assert_eq!(sizes.usr, plan.size());
    sizes
}

fn lines() -> Lines {
    Lines::for_tests(&[
        ("library", Some("server")),
        ("server", None),
        ("shell", None),
        ("empty", Some("shell")),
    ])
}

fn names(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.name.as_str()).collect()
}

fn adds_up(row: &Row) {
    let below: u64 = row.children.iter().map(|child| child.stored).sum();
    assert_eq!(row.stored, row.own_stored + below, "{}", row.name);
    row.children.iter().for_each(adds_up);
}

#[test]
fn every_division_adds_up_to_the_byte() {
    let (sizes, lines) = (sizes(), lines());
    let forms: u64 = sizes.forms().iter().map(|(_, bytes)| bytes).sum();
    let rest: u64 = sizes.rest.iter().map(|part| part.bytes).sum();
    assert_eq!(forms + rest, sizes.usr);
    for by in [By::Line, By::Package] {
        let usr = tree::usr(&sizes, &lines, by);
        assert_eq!(usr.stored, sizes.usr, "{by:?}");
        adds_up(&usr);
    }
    // Packages that no lock has are still there.
    assert_eq!(
        tree::usr(&sizes, &Lines::default(), By::Line).stored,
        sizes.usr
    );
    let installed: u64 = sizes.files.iter().map(|file| file.installed).sum();
    assert_eq!(installed, 300_000 + 9_000 + 90_000 + 89_900 + 3);
}

#[test]
fn packages_stand_below_what_pulled_them_in() {
    let usr = tree::usr(&sizes(), &lines(), By::Line);
    let tops = names(&usr.children);
    assert_eq!(tops[..2], ["server", "shell"]);
    assert!(tops.contains(&"files") && tops.contains(&"file system"));
    assert_eq!(usr.children[0].why, "packages.include, p.yaml:3");
    assert_eq!(names(&usr.children[0].children), ["library"]);
    assert_eq!(usr.children[0].children[0].why, "Depends: it");
    let flat = tree::usr(&sizes(), &lines(), By::Package);
    assert!(names(&flat.children).contains(&"library"));
    assert!(flat.children.iter().all(|row| row.name != "empty"));
    let shown = text::rows(&[usr], 2);
    assert!(shown.contains("    library"), "{shown}");
}

#[test]
fn a_uki_adds_up_and_its_initrd_is_divided_where_that_is_known() {
    let section = |name, data| crate::uki::Section { name, data };
    let stub = crate::uki::write::tests::stub();
    let pe = crate::uki::assemble(
        &stub,
        &[section(".osrel", b"ID=x"), section(".initrd", &[7; 1000])],
    )
    .unwrap();
    let mut sizes = sizes();
    let parts = [Part::new("userspace", 900), Part::new("modules", 100)];
    sizes.add_uki("x_1.efi", &pe, &parts).unwrap();
    assert_eq!(sizes.uki_bytes(), pe.len() as u64);
    assert_eq!(sizes.counted(), sizes.usr + pe.len() as u64);
    let uki = tree::uki(&sizes);
    assert_eq!(
        (uki.name.as_str(), uki.stored),
        ("x_1.efi", pe.len() as u64)
    );
    adds_up(&uki);
    let initrd = uki
        .children
        .iter()
        .find(|row| row.name == "initrd")
        .unwrap();
    assert_eq!(names(&initrd.children), ["userspace", "modules"]);
    sizes.initrd.pop();
    let initrd = tree::uki(&sizes);
    let initrd = initrd
        .children
        .iter()
        .find(|row| row.name == "initrd")
        .unwrap();
    assert_eq!((initrd.stored, initrd.children.len()), (1000, 0));
}

#[test]
fn files_are_found_as_the_running_system_finds_them() {
    let sizes = sizes();
    let found = |path: &str| {
        let found = why::find(&sizes, path)?;
        Some((found.file.path.as_str(), found.links.len()))
    };
    assert_eq!(found("/bin/server"), Some(("/usr/bin/server", 0)));
    assert_eq!(found("/etc/conf"), Some(("/usr/lib/shell", 2)));
    assert_eq!(found("/usr/bin/../lib/own"), Some(("/usr/lib/own", 0)));
    assert_eq!(
        found("/etc/later"),
        Some(("/usr/share/factory/etc/later", 0))
    );
    assert_eq!(found("/usr/bin"), Some(("/usr/bin", 0)));
    for absent in [
        "/",
        "/usr/bin/none",
        "/usr/bin/server/x",
        "/usr/bin/sh/x",
        "/var/lib",
        "relative",
    ] {
        assert_eq!(found(absent), None, "{absent}");
    }
    assert_eq!(sizes.file("/usr/bin/b").unwrap().kind, FileKind::Link);
    let text = |path| why::text(&sizes, &lines(), &why::find(&sizes, path).unwrap());
    assert_eq!(
        text("/usr/bin/a").lines().skip(1).collect::<Vec<_>>(),
        [
            "  packages.include: it (p.yaml:3)",
            "    server 1",
            "      Depends: it → library 1",
        ]
    );
    assert!(
        text("/usr/bin").contains("in 2 files of library"),
        "{}",
        text("/usr/bin")
    );
    let json = why::json(
        &sizes,
        &lines(),
        &why::find(&sizes, "/usr/lib/own").unwrap(),
    );
    assert_eq!(json["overlay"], "files");
    assert_eq!(why::same_name(&sizes, "/opt/server"), ["/usr/bin/server"]);
    assert_eq!(html::files(&sizes).len(), sizes.files.len());
}

#[test]
fn savings_are_the_largest_first_and_name_what_to_write() {
    let profile = |root: &str| {
        let text = format!(
            "os: {{id: a, name: A, version: 1}}\nkernel: {{package: linux-image-x}}\n{root}\n"
        );
        parse_bytes(text.as_bytes()).unwrap()
    };
    let of = |root: &str| -> Vec<String> {
        let all = savings::largest(&sizes(), &lines(), &profile(root));
        let bytes: Vec<_> = all.iter().filter_map(|saving| saving.bytes).collect();
        assert!(bytes.is_sorted_by(|a, b| a >= b));
        all.iter().map(ToString::to_string).collect()
    };
    let open = of("");
    assert!(
        open[0].contains("do without `server` with what it pulls in"),
        "{open:?}"
    );
    assert!(
        open.iter().any(|s| s.contains("drop the part `man`")),
        "{open:?}"
    );
    assert!(
        open.iter()
            .any(|s| s.contains("/usr/bin/server (root.prune)")),
        "{open:?}"
    );
    assert!(open.last().unwrap().contains("optimize: size"));
    let closed = of("root: {parts: {drop: [man]}}\noptimize: size");
    assert!(
        !closed
            .iter()
            .any(|s| s.contains("`man`") || s.contains("optimize")),
        "{closed:?}"
    );
}
