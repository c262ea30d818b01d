//! Loading and merging: through the public door, on profiles in a folder of their own.

mod boards;
mod messages;

use std::path::Path;

use super::schema::Packing;
use super::*;
use crate::erofs::{PackBy, Tails};
use crate::failure::{Failure, Kind};

/// A folder with profiles.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn load(&self, name: &str, sets: &[&str]) -> anyhow::Result<Loaded> {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        load(&LoadRequest {
            reference: self.path().join(name).to_str().unwrap(),
            sets: &sets,
            arch: None,
        })
    }

    /// The message, excerpt and hints of a profile that must not load.
    fn error(&self, name: &str, sets: &[&str]) -> String {
        let error = self.load(name, sets).unwrap_err();
        shown(&error).replace(&format!("{}/", self.path().display()), "")
    }
}

fn shown(error: &anyhow::Error) -> String {
    let failure = error
        .downcast_ref::<Failure>()
        .unwrap_or_else(|| panic!("{error:#}"));
    assert_eq!(failure.kind, Kind::Usage, "{failure}");
    format!("{failure}\n{}", failure.details())
        .trim_end()
        .to_owned()
}

fn error_of(text: &str) -> String {
    shown(&parse_bytes(text.as_bytes()).unwrap_err())
}

/// The least that is a profile.
const LEAST: &str = "os: {id: a, name: A, version: 1}\nkernel: {package: linux-image-x}\n";

#[test]
fn every_built_in_profile_is_valid() {
    for (name, _) in built_in() {
        let loaded = load(&LoadRequest {
            reference: name,
            sets: &["os.version=1".into()],
            arch: None,
        });
        match (name, loaded) {
            ("dev" | "rpi4-wifi", Err(error)) => {
                assert!(shown(&error).contains("`os.id` is missing"));
            }
            (_, loaded) => {
                let loaded = loaded.unwrap_or_else(|e| panic!("{}", shown(&e)));
                assert_eq!(loaded.profile.name, name);
                loaded.check_files().unwrap();
            }
        }
    }
}

#[test]
fn the_readme_has_the_budgets_of_the_profiles() {
    let rows: Vec<(&str, u64)> = include_str!("../../../README.md")
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("| `")?.split_once('`')?;
            let megabytes = rest.strip_suffix(" MB |")?.rsplit("| ").next()?;
            Some((name, megabytes.parse().unwrap()))
        })
        .collect();
    assert_eq!(rows.len(), 5, "{rows:?}");
    for (reference, megabytes) in rows {
        let overrides = ["os.version=1", "optimize=size", "arch=x86_64"].map(str::to_owned);
        let request = LoadRequest {
            reference,
            sets: &overrides,
            ..LoadRequest::default()
        };
        let limit = load(&request).unwrap().profile.limit().unwrap();
        assert_eq!(limit, megabytes * 1_000_000, "{reference}");
    }
}

#[test]
fn qemu_is_for_development_and_container_host_is_not() {
    let request = LoadRequest {
        reference: "qemu",
        ..LoadRequest::default()
    };
    let qemu = load(&request).unwrap();
    assert!(qemu.profile.development);
    assert_eq!(qemu.profile.os.version, "0.0.0-dev");
    assert_eq!(qemu.directory, None);
    assert_eq!(qemu.stem, "qemu");
    let error = load(&LoadRequest {
        reference: "container-host",
        ..LoadRequest::default()
    })
    .unwrap_err();
    insta::assert_snapshot!(shown(&error), @r#"
<built-in>/container-host.yaml:13:3: `os.version` is missing
  --> <built-in>/container-host.yaml:13:3
   |
13 |   id: hullwright
   |   ^^ needed in this profile or one that it extends
hint: add `os: {version: 1.0.0}`, or pass `--set os.version=1.0.0`; only development profiles have a default
"#);
}

#[test]
fn merging_follows_the_rules() {
    // (base, over, path, the values there)
    let table: &[(&str, &str, &str, &[&str])] = &[
        (
            "packages: {include: [aa, bb]}",
            "packages: {include: [cc]}",
            "packages.include",
            &["aa", "bb", "cc"],
        ),
        (
            "packages: {include: [aa, bb]}",
            "packages: {-include: [aa]}",
            "packages.include",
            &["bb"],
        ),
        (
            "packages: {include: [aa=1, bb]}",
            "packages: {-include: [aa], include: [aa=2]}",
            "packages.include",
            &["bb", "aa=2"],
        ),
        (
            "packages: {include: [aa]}",
            "packages: {include: }",
            "packages.include",
            &["aa"],
        ),
        (
            "boot: {timeout: 3, tries: 5}",
            "boot: {timeout: 4}",
            "boot.t",
            &["4", "5"],
        ),
        (
            "boot: {secure_boot_enroll: force}",
            "boot: {secure_boot_enroll: if-safe}",
            "boot.secure_boot_enroll",
            &["if-safe"],
        ),
        (
            "boot: {timeout: 3}",
            "boot: {timeout: null}",
            "boot.timeout",
            &["0"],
        ),
        (
            "root: {sysctl: {a.b: 1, a.c: 2}}",
            "root: {sysctl: {a.b: 3}}",
            "root.sysctl",
            &["\"3\"", "\"2\""],
        ),
        (
            "root: {sysctl: {a.b: 1, a.c: 2}}",
            "root: {-sysctl: [a.b]}",
            "root.sysctl",
            &["\"2\""],
        ),
        (
            "kernel: {cmdline: [rw, panic=10]}",
            "kernel: {-cmdline: [panic], cmdline: [panic=3]}",
            "kernel.cmdline",
            &["rw", "panic=3"],
        ),
        (
            "root: {groups: [{name: ga, gid: 100}]}",
            "root: {-groups: [ga], groups: [{name: ga, gid: 200}]}",
            "root.groups",
            &["200", "ga"],
        ),
        (
            "disk: {esp: 512 MiB}",
            "disk: {esp: 1.5 GiB}",
            "disk.esp",
            &["1536 MiB"],
        ),
    ];
    for (base, over, path, wanted) in table {
        let least_has_kernel = base.starts_with("kernel") || over.starts_with("kernel");
        let rest = if least_has_kernel {
            ""
        } else {
            "kernel: {package: linux-image-x}\n"
        };
        let base = base.replace("kernel: {", "kernel: {package: linux-image-x, ");
        let folder = Folder::new(&[
            (
                "base.yaml",
                &format!("os: {{id: a, name: A, version: 1}}\n{rest}{base}\n"),
            ),
            ("over.yaml", &format!("extends: base\n{over}\n")),
        ]);
        let loaded = folder
            .load("over.yaml", &[])
            .unwrap_or_else(|e| panic!("{over}: {}", shown(&e)));
        let mut found: Vec<_> = loaded
            .origins()
            .into_iter()
            .filter(|leaf| leaf.path.starts_with(path))
            .map(|leaf| leaf.value)
            .collect();
        if *path == "root.groups" {
            found.sort();
        }
        assert_eq!(found, *wanted, "{base} / {over}");
    }
}

#[test]
fn bases_are_laid_in_order_and_once() {
    let folder = Folder::new(&[
        (
            "common.yaml",
            &format!("{LEAST}packages: {{include: [common]}}\n"),
        ),
        (
            "one.yaml",
            "extends: common\npackages: {include: [one], -include: [common]}\n",
        ),
        (
            "two.yaml",
            "extends: common.yaml\ndescription: not inherited\npackages: {include: [two]}\n",
        ),
        (
            "sub/top.yaml",
            "extends: [../one.yaml, ../two.yaml]\npackages: {include: [top]}\n",
        ),
    ]);
    let loaded = folder.load("sub/top.yaml", &[]).unwrap();
    assert_eq!(loaded.profile.packages.include, ["one", "two", "top"]);
    assert_eq!(loaded.profile.name, "top");
    assert_eq!(loaded.profile.description, "");
    assert_eq!(loaded.files().len(), 4);
}

#[test]
fn a_profile_may_extend_the_built_in_one_of_its_own_name() {
    let folder = Folder::new(&[("qemu.yaml", "extends: qemu\nos: {version: 2}\n")]);
    let loaded = folder.load("qemu.yaml", &[]).unwrap();
    assert!(loaded.profile.development);
    assert_eq!(loaded.profile.os.version, "2");
}

#[test]
fn arguments_override_files() {
    let folder = Folder::new(&[("a.yaml", LEAST)]);
    let loaded = folder
        .load(
            "a.yaml",
            &[
                "os.version=1.10",
                "packages.include=curl",
                "packages.include=[jq, vim]",
                "root.sysctl.net.ipv4.ip_forward=1",
                "name=other",
                "disk.size=auto",
            ],
        )
        .unwrap_or_else(|e| panic!("{}", shown(&e)));
    assert_eq!(loaded.profile.os.version, "1.10");
    assert_eq!(loaded.profile.packages.include, ["curl", "jq", "vim"]);
    assert_eq!(loaded.profile.root.sysctl["net.ipv4.ip_forward"], "1");
    assert_eq!(loaded.profile.disk.size, schema::DiskSize::Auto);
    assert_eq!(loaded.stem, "other");
    let version = loaded
        .origins()
        .into_iter()
        .find(|leaf| leaf.path == "os.version");
    assert_eq!(version.unwrap().origin, "command line");
}

#[test]
fn scalars_are_typed_by_the_schema() {
    let profile = parse_bytes(
        b"os: {id: no, name: 12, version: 1.10}\nkernel: {package: linux-image-x}\nroot: {sysctl: {a.b: 0x10}}\n",
    )
    .unwrap();
    assert_eq!(profile.os.id, "no");
    assert_eq!(profile.os.name, "12");
    assert_eq!(profile.os.version, "1.10");
    assert_eq!(profile.root.sysctl["a.b"], "0x10");
}

#[test]
fn given_parts_of_a_mapping_leave_the_other_defaults() {
    let text = format!("{LEAST}root: {{compression: {{codec: lz4hc, level: 9}}}}\n");
    let compression = parse_bytes(text.as_bytes()).unwrap().root.compression;
    assert_eq!((compression.level, compression.chunk), (9, 256 * 1024));
    assert_eq!(compression.packing, Packing::Package);
}

#[test]
fn packing_decides_where_remainders_go_and_with_which_others() {
    for (packing, tails, packs) in [
        ("none", Tails::Own, PackBy::Image),
        ("package", Tails::Packed, PackBy::Package),
        ("image", Tails::Packed, PackBy::Image),
    ] {
        let text = format!("{LEAST}root: {{compression: {{packing: {packing}}}}}\n");
        let compression = parse_bytes(text.as_bytes()).unwrap().root.compression;
        assert_eq!(compression.settings().tails, tails);
        assert_eq!(compression.packs(), packs);
    }
}

#[test]
fn the_merged_text_loads_to_the_same_profile() {
    for name in ["container-host", "qemu"] {
        let loaded = load(&LoadRequest {
            reference: name,
            sets: &[
                "os.version=1.2~rc1".into(),
                "root.sysctl.a.b=x # y: \"z\" \\".into(),
            ],
            arch: None,
        })
        .unwrap();
        for with_origins in [false, true] {
            let text = loaded.merged_yaml(with_origins);
            let again =
                parse_bytes(text.as_bytes()).unwrap_or_else(|e| panic!("{}\n{text}", shown(&e)));
            assert_eq!(again, loaded.profile);
        }
    }
}

#[test]
fn every_value_has_an_origin() {
    let folder = Folder::new(&[("a.yaml", "extends: container-host\nos:\n  version: 3\n")]);
    let loaded = folder.load("a.yaml", &[]).unwrap();
    let origins = loaded.origins();
    let of = |path: &str| {
        let leaf = origins.iter().find(|leaf| leaf.path == path).unwrap();
        leaf.origin
            .replace(&format!("{}/", folder.path().display()), "")
    };
    assert_eq!(of("os.version"), "a.yaml:3");
    assert_eq!(of("boot.tries"), "built-in default");
    assert!(of("packages.include[2]").starts_with("<built-in>/container-host.yaml:"));
    assert_eq!(of("name"), "a.yaml:1");
}

#[test]
fn hashes_change_with_what_they_cover() {
    let choice = |loaded: &Loaded| crate::resolve::lock::profile_hash(&loaded.profile);
    let folder = Folder::new(&[("a.yaml", LEAST)]);
    let plain = folder.load("a.yaml", &[]).unwrap();
    let version = folder.load("a.yaml", &["os.version=2"]).unwrap();
    let package = folder.load("a.yaml", &["packages.include=jq"]).unwrap();
    let snapshot = "archives=[{name: v, suites: [s], snapshot: 'http://h/{timestamp}/{path}'}]";
    let snapshot = folder.load("a.yaml", &[snapshot]).unwrap();
    let none = folder
        .load("a.yaml", &["archives=[{name: v, suites: [s]}]"])
        .unwrap();
    assert_ne!(snapshot.hash(), none.hash());
    assert_eq!(choice(&snapshot), choice(&none));
    assert_ne!(plain.hash(), version.hash());
    assert_eq!(choice(&plain), choice(&version));
    assert_ne!(choice(&plain), choice(&package));
    assert_eq!(
        plain.hash(),
        folder.load("a.yaml", &["os.version=1"]).unwrap().hash()
    );
    let elsewhere = folder
        .load("a.yaml", &["signer=command:x", "sign=later"])
        .unwrap();
    assert_eq!(plain.hash(), elsewhere.hash(), "who signs changes no byte");
    let channel = folder.load("a.yaml", &["os.channel=beta"]).unwrap();
    assert_eq!(plain.hash(), channel.hash(), "promotion changes no byte");
    let url = folder.load("a.yaml", &["update.url=http://h"]).unwrap();
    assert_ne!(plain.hash(), url.hash());
}

#[test]
fn a_signing_program_lies_beside_the_file_that_names_it_or_in_path() {
    let signer = |value: &str| {
        let text = format!("{LEAST}signer: {value}\n");
        let folder = Folder::new(&[("a.yaml", &text)]);
        let choice = folder.load("a.yaml", &[]).unwrap().signer().unwrap();
        let root = folder.path().display().to_string();
        choice.to_string().replace(&root, "ROOT")
    };
    assert_eq!(signer("file"), "file");
    assert_eq!(signer("command:kms --key x"), "command:kms --key x");
    assert_eq!(signer("command:./kms x"), "command:ROOT/kms x");
    assert_eq!(signer("command:/bin/kms x"), "command:/bin/kms x");
}

#[test]
fn overlays_are_read_from_beside_the_file_that_names_them() {
    let folder = Folder::new(&[
        (
            "base/base.yaml",
            &format!("{LEAST}root: {{overlay: [files]}}\n"),
        ),
        ("base/files/usr/bin/tool", "#!/bin/sh\n"),
        ("base/files/etc/conf", "x\n"),
        (
            "top.yaml",
            "extends: base/base.yaml\nroot: {overlay: [more]}\n",
        ),
        ("more/etc/conf", "y\n"),
        (
            "bad.yaml",
            "extends: base/base.yaml\nroot: {overlay: [moer]}\n",
        ),
    ]);
    let tool = folder.path().join("base/files/usr/bin/tool");
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o4711);
    std::fs::set_permissions(tool, mode).unwrap();
    std::os::unix::fs::symlink("/dev/null", folder.path().join("more/etc/link")).unwrap();
    let entries = folder.load("top.yaml", &[]).unwrap().overlay().unwrap();
    let shown: Vec<_> = entries
        .iter()
        .map(|e| format!("{} {:o} {}", e.path, e.meta.mode, e.from))
        .collect();
    assert_eq!(
        shown,
        [
            "/etc 755 files",
            "/etc/conf 644 files",
            "/usr 755 files",
            "/usr/bin 755 files",
            "/usr/bin/tool 755 files",
            "/etc 755 more",
            "/etc/conf 644 more",
            "/etc/link 777 more",
        ]
    );
    assert_eq!(entries[7].kind, OverlayKind::Symlink(b"/dev/null".to_vec()));
    let error = folder.load("bad.yaml", &[]).unwrap().overlay().unwrap_err();
    assert!(self::shown(&error).contains("did you mean `more`?"));
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (this, last) in ('b'..='i').zip('a'..) {
        text.push_str(&format!(
            "{this}: &{this} [{}]\n",
            vec![format!("*{last}"); 10].join(",")
        ));
    }
    assert!(error_of(&text).contains("at most 100000 values"));
    let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(error_of(&deep).contains("levels deep"));
}

/// Words that make text likely to get past the parser.
fn fragment() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    prop_oneof![
        "\\PC{0,8}",
        proptest::sample::select(vec![
            "os", "id", "version", "packages", "include", "root", "users", "sysctl", ": ", ":\n  ",
            "- ", "\n", "\n    ", "{", "}", "[", "]", ",", "&a ", "*a", "!", "| \n", "\"", "'",
            "#", "null", "true", "1", "-include", "extends", "\t", "\r\n", "...", "---\n", "?",
            "é", "<<",
        ])
        .prop_map(String::from),
    ]
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(words in proptest::collection::vec(fragment(), 0..40)) {
        let text = words.concat();
        if let Err(error) = parse_bytes(text.as_bytes()) {
            shown(&error);
        }
        let with_base = format!("{LEAST}{text}");
        if let Err(error) = parse_bytes(with_base.as_bytes()) {
            shown(&error);
        }
    }

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = parse_bytes(&bytes);
    }
}

#[test]
fn prune_rules_of_the_users_own_files_are_told_apart() {
    let folder = Folder::new(&[
        (
            "base.yaml",
            "extends: container-host\nos: {id: b, name: B, version: 1}\nroot: {prune: [/a]}\n",
        ),
        ("own.yaml", "extends: ./base.yaml\nroot: {prune: [/b]}\n"),
    ]);
    let loaded = folder.load("own.yaml", &["root.prune=/c"]).unwrap();
    assert!(
        loaded.profile.root.prune.len() > 3,
        "the built-in base has rules too"
    );
    let own = loaded.own_prune_rules();
    let rules: Vec<&str> = own.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(rules, ["/a", "/b", "/c"]);
    assert!(own[1].1.ends_with("own.yaml:2"), "{own:?}");
}

#[test]
fn parts_and_the_lines_that_ask_for_something_are_found_in_what_is_merged() {
    let folder = Folder::new(&[
        (
            "base.yaml",
            "os: {id: a, name: A, version: 1}\n\
             kernel: {package: \"linux-image-{arch}\"}\n\
             packages: {include: [one=1, two/x]}\n\
             archives: [{name: x, suites: [x]}]\n\
             root:\n  parts: {drop: [man, docs, locales]}\n  prune: [\"/usr/games/**\"]\n\
             budget: 90 MB\n",
        ),
        (
            "own.yaml",
            "extends: base\nroot:\n  parts:\n    -drop: [locales]\n    keep: [man]\n    drop: [info]\n",
        ),
    ]);
    let base = folder.load("base.yaml", &[]).unwrap();
    assert_eq!(base.profile.limit(), Some(90_000_000));
    let own = folder.load("own.yaml", &[]).unwrap();
    let parts = &own.profile.root.parts;
    assert_eq!(parts.drop, ["man", "docs", "info"]);
    assert_eq!(parts.keep, ["man"]);
    assert_eq!(own.profile.budget, None);
    let place = |line: Option<Line>| {
        let line = line.unwrap();
        let file = line.place.rsplit('/').next().unwrap_or_default();
        format!("{} {} {file}", line.key, line.value)
    };
    assert_eq!(
        place(own.line_of_package("one")),
        "packages.include one=1 base.yaml:3"
    );
    assert_eq!(
        place(own.line_of_package("two")),
        "packages.include two/x base.yaml:3"
    );
    assert_eq!(
        place(own.line_of_package("linux-image-amd64")),
        "kernel.package linux-image-{arch} base.yaml:2"
    );
    assert_eq!(own.line_of_package("three"), None);
    assert_eq!(
        place(own.line_of_part("info")),
        "root.parts.drop info own.yaml:6"
    );
    assert_eq!(
        place(own.line_of_prune(0)),
        "root.prune /usr/games/** base.yaml:7"
    );
    assert_eq!(place(base.line_of_budget()), "budget 90 MB base.yaml:8");
    let list =
        "budget=[{limit: 80 MB, optimize: size}, {limit: 1 GiB, arch: x86_64}, {limit: 2 GiB}]";
    for (optimize, arch, limit) in [
        ("size", "x86_64", 80_000_000),
        ("balanced", "x86_64", 1 << 30),
        ("balanced", "arm64", 2 << 30),
    ] {
        let (optimize, arch) = (format!("optimize={optimize}"), format!("arch={arch}"));
        let loaded = folder.load("base.yaml", &[list, &optimize, &arch]).unwrap();
        assert_eq!(loaded.profile.limit().unwrap(), limit);
    }
    let loaded = folder.load("base.yaml", &[list, "optimize=size"]).unwrap();
    assert_eq!(loaded.line_of_budget().unwrap().value, "80 MB");
    let shown = loaded.merged_yaml(false);
    let lines = "budget:\n  - limit: 78125 KiB\n    optimize: size\n  - limit: 1 GiB\n";
    assert!(shown.contains(lines), "{shown}");
    let wrong = folder.error("own.yaml", &["budget=[{optimize: size}]"]);
    assert!(wrong.contains("`budget[0]` has no `limit`"), "{wrong}");
    let wrong = folder.error("own.yaml", &["budget={size: 80 MB}"]);
    assert!(wrong.contains("expected size"), "{wrong}");
    let wrong = folder.error("own.yaml", &["root.parts.drop=mann"]);
    assert!(wrong.contains("expected `man`, or one of"), "{wrong}");
}
