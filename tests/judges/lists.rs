//! What a release tells about an image, held against the image as the kernel, coreutils and zstd see it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hullwright::archive;
use hullwright::build::{self, Built, Inputs};
use hullwright::digest::Sha256;
use hullwright::profile::{LoadRequest, load};
use hullwright::release::diff::diff;
use hullwright::release::facts::{EntryKind, Facts};
use hullwright::release::{disk_zst, lists};
use hullwright::resolve::Lock;
use hullwright::sign::Trust;
use hullwright::stamp::Stamp;

use crate::erofs::Mount;
use crate::fixture::{fixture, now, timed};
use crate::support::{cache, good, tool};

const PREFIX: &str = "hullwright_1.0.";

/// A build of `qemu` with its lists in `lists` beside its output.
struct Listed {
    built: Built,
    lists: PathBuf,
    facts: Facts,
}

fn listed(name: &str, sets: &[&str]) -> Listed {
    let fixture = fixture();
    let root = fixture.root.join("lists").join(name);
    fs::create_dir_all(root.join("lists")).unwrap();
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let request = LoadRequest {
        reference: "qemu",
        sets: &sets,
        arch: None,
    };
    let loaded = load(&request).unwrap();
    let lock = Lock::load(&fixture.lock).unwrap().unwrap();
    let context = fixture.archive(&cache());
    let trust = Trust::open(&fixture.keys, now()).unwrap();
    let built = timed("a build to be listed", || {
        build::build(&Inputs {
            loaded: &loaded,
            lock: &lock,
            keyrings: &archive::Keyrings::new(),
            archive: &context,
            trust: &trust,
            signers: None,
            stamp: Stamp::from_seconds(lock.stamp.seconds()),
            output: &root.join("out"),
            sync: false,
        })
        .unwrap()
    });
    let lists = root.join("lists");
    let facts = timed("lists", || {
        lists::write(&built, &loaded, &lists, PREFIX).unwrap()
    });
    let again = root.join("again");
    fs::create_dir(&again).unwrap();
    lists::write(&built, &loaded, &again, PREFIX).unwrap();
    good(tool("diff").arg("-r").arg(&lists).arg(&again));
    Listed {
        built,
        lists,
        facts,
    }
}

fn first() -> &'static Listed {
    static LISTED: OnceLock<Listed> = OnceLock::new();
    LISTED.get_or_init(|| listed("first", &["os.version=1.0"]))
}

fn text(listed: &Listed, name: &str) -> String {
    fs::read_to_string(listed.lists.join(format!("{PREFIX}{name}"))).unwrap()
}

/// `/usr` as the kernel shows it; each test has a mount of its own.
fn mount(listed: &Listed, name: &str) -> Mount {
    let image = listed.lists.with_file_name(format!("{name}.erofs"));
    fs::hard_link(listed.built.directory.join("usr.erofs"), &image).unwrap();
    Mount::new(&image)
}

/// Every path below `dir` as lines of `files.txt` tell it, but attributes and origin.
fn seen(dir: &Path, at: &Path, out: &mut BTreeMap<String, String>) {
    let meta = fs::symlink_metadata(at).unwrap();
    let rest = at.strip_prefix(dir).unwrap().as_os_str();
    let mut path = String::from("/usr");
    for &byte in [b"/".as_slice(), rest.as_bytes()].concat().iter() {
        if byte.is_ascii_graphic() && byte != b'\\' {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("\\x{byte:02x}"));
        }
    }
    let path = path.trim_end_matches('/').to_owned();
    let kind = meta.file_type();
    let (letter, content) = if kind.is_dir() {
        ('d', "- -".to_owned())
    } else if kind.is_symlink() {
        ('l', fs::read_link(at).unwrap().display().to_string())
    } else if kind.is_file() {
        let bytes = fs::read(at).unwrap();
        ('f', format!("{} {}", bytes.len(), Sha256::of(&bytes)))
    } else {
        assert!(kind.is_fifo() || kind.is_char_device() || kind.is_block_device());
        ('?', String::new())
    };
    let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
    out.insert(path, format!("{letter} {mode:04o} {uid}:{gid} {content}"));
    if kind.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            seen(dir, &entry.unwrap().path(), out);
        }
    }
}

#[test]
fn the_list_of_files_is_what_the_kernel_shows() {
    let listed = first();
    let mount = mount(listed, "files");
    let mut expected = BTreeMap::new();
    seen(&mount.0, &mount.0, &mut expected);
    let read = Facts::read(&listed.lists, PREFIX).unwrap();
    assert!(read == listed.facts, "facts read back");
    let told: BTreeMap<String, String> = read
        .files
        .iter()
        .map(|entry| {
            let (letter, content) = match &entry.kind {
                EntryKind::Dir => ('d', "- -".to_owned()),
                EntryKind::Symlink(target) => ('l', target.clone()),
                EntryKind::File { size, sha256, .. } => ('f', format!("{size} {sha256}")),
                _ => ('?', String::new()),
            };
            let (mode, uid, gid) = (entry.mode, entry.uid, entry.gid);
            let text = format!("{letter} {mode:04o} {uid}:{gid} {content}");
            (entry.path.clone(), text)
        })
        .collect();
    for (path, line) in &expected {
        assert_eq!(told.get(path), Some(line), "{path}");
    }
    assert_eq!(told.len(), expected.len());
    assert_eq!(told.len() as u64, listed.built.manifest.files.usr);
    let links = read.files.iter().filter(|entry| {
        matches!(&entry.kind, EntryKind::File { first: Some(first), .. } if {
            let inode = |path: &str| {
                let path = mount.0.join(path.trim_start_matches("/usr/"));
                fs::metadata(path).unwrap().ino()
            };
            assert_eq!(inode(&entry.path), inode(first), "{}", entry.path);
            true
        })
    });
    println!(
        "           {} paths, {} hard links",
        told.len(),
        links.count()
    );

    // What find calls privileged is, and nothing else.
    let found = good(tool("find").arg(&mount.0).args([
        "-type",
        "f",
        "-perm",
        "/6000",
        "-printf",
        "/usr/%P %m %U:%G\n",
    ]));
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    let privileged = &read.summary.privileged;
    let told: Vec<String> = privileged
        .iter()
        .filter(|file| file.capabilities.is_none())
        .map(|file| format!("{} {} {}", file.path, file.mode, file.owner))
        .collect();
    assert_eq!(told, found);
    for name in ["/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd"] {
        assert!(
            told.iter()
                .any(|line| line.starts_with(&format!("{name} 4755 0:0"))),
            "{told:?}"
        );
    }
}

#[test]
fn facts_say_what_manifest_unit_files_and_passwd_say() {
    let listed = first();
    let summary = &listed.facts.summary;
    let manifest = &listed.built.manifest;
    let names = |of: &[String]| of.join(" ");
    let ours: Vec<_> = summary.packages.iter().map(|p| p.name.clone()).collect();
    let theirs: Vec<_> = manifest.packages.iter().map(|p| p.name.clone()).collect();
    assert_eq!(names(&ours), names(&theirs));
    assert!(ours.len() > 100);
    let of = |name: &str| summary.packages.iter().find(|p| p.name == name).unwrap();
    assert_eq!(of("udev").source.as_deref(), Some("systemd"));

    let mount = mount(listed, "facts");
    let passwd = fs::read_to_string(mount.0.join("share/factory/etc/passwd")).unwrap();
    assert_eq!(passwd.lines().count(), summary.accounts.users.len());
    for line in passwd.lines() {
        let fields: Vec<_> = line.split(':').collect();
        let user = &summary.accounts.users[fields[0]];
        assert_eq!(
            (fields[2], fields[3]),
            (&*user.uid.to_string(), &*user.gid.to_string())
        );
        if let Some(id) = listed.built.lock.ids.get(&format!("user {}", fields[0])) {
            assert_eq!(*id, user.uid, "{line}");
        }
    }
    let enabled: Vec<_> = summary.units.iter().filter(|unit| unit.enabled).collect();
    assert!(
        enabled.iter().any(|unit| unit.name == "containerd.service"),
        "{enabled:?}"
    );
    let missing: Vec<_> = listed
        .built
        .enabled_units
        .iter()
        .filter(|name| !enabled.iter().any(|unit| unit.name == **name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");

    let options = listed.facts.kernel_options();
    assert_eq!(options["EROFS_FS_ZIP_ZSTD"], "y");
    assert!(options.len() > 3000, "{}", options.len());
    let sizes = summary.sizes;
    assert!(
        sizes.kernel + sizes.initrd < sizes.uki && sizes.initrd > 1 << 20,
        "{sizes:?}"
    );
    assert_eq!(summary.layout.len(), 7);
    assert_eq!(summary.layout[1].role, "usr-a");
}

#[test]
fn licences_name_every_package_and_the_texts_are_in_the_image() {
    let listed = first();
    let mount = mount(listed, "licences");
    let packages: serde_json::Value = serde_json::from_str(&text(listed, "packages.json")).unwrap();
    let packages = packages["packages"].as_array().unwrap();
    assert_eq!(packages.len(), listed.built.manifest.packages.len());
    let licences = text(listed, "licences.txt");
    let (mut named, mut prose, mut without) = (0, 0, Vec::new());
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let version = package["version"].as_str().unwrap();
        assert!(licences.contains(&format!("\n{name} {version}")), "{name}");
        let Some(path) = package["copyright"]["path"].as_str() else {
            if package["files"] != 0 {
                without.push(name);
            }
            continue;
        };
        let bytes = fs::read(mount.0.join(path.trim_start_matches("/usr/"))).unwrap();
        assert_eq!(
            package["copyright"]["sha256"],
            Sha256::of(&bytes).to_string()
        );
        if package["licences"].is_array() {
            named += 1;
        } else {
            prose += 1;
        }
    }
    println!("           {named} machine-readable, {prose} in prose, none: {without:?}");
    assert!(named > 120, "{named}");
    assert!(without.is_empty(), "{without:?}");
    assert!(licences.contains("Apache-2.0") && licences.contains("GPL-2+"));
    assert!(licences.len() < 100 << 10, "{}", licences.len());
}

#[test]
fn profile_and_lock_are_those_of_the_image() {
    let listed = first();
    let profile = listed.lists.join(format!("{PREFIX}profile.yaml"));
    let lock = listed.lists.join(format!("{PREFIX}lock"));
    let reference = profile.to_str().unwrap();
    let request = LoadRequest {
        reference,
        sets: &[],
        arch: None,
    };
    let loaded = load(&request).unwrap();
    assert_eq!(loaded.hash(), listed.built.manifest.profile_hash);
    let lock = Lock::load(&lock).unwrap().unwrap();
    assert_eq!(lock.hash(), listed.built.manifest.lock);
    for word in ["signer:", "\nkeys:", "\nsign:"] {
        assert!(!text(listed, "profile.yaml").contains(word), "{word}");
    }
}

#[test]
fn a_diff_names_what_was_changed_and_nothing_else() {
    let before = first();
    let after = listed(
        "second",
        &[
            "os.version=1.1",
            "root.units.mask=[debug-shell.service]",
            "root.groups=[{name: operators, gid: 1500}]",
            "kernel.cmdline=[lsm=bpf]",
        ],
    );
    let diff = diff(&before.facts, &after.facts);
    let page = diff.markdown();
    println!("{page}");
    assert_eq!(diff.packages, Default::default());
    assert!(diff.layout.is_empty() && diff.kernel.options.is_empty());
    assert_eq!(diff.groups.added, [("operators".to_owned(), 1500)].into());
    assert_eq!(diff.units.masked, ["debug-shell.service"]);
    assert_eq!(diff.cmdline.added, ["lsm=bpf"]);
    assert!(diff.cmdline.removed.is_empty() && diff.privileged == Default::default());
    assert!(diff.files.etc_changed.contains(&"/etc/group".to_owned()));
    assert!(diff.files.changed < 20, "{:?}", diff.files);
    for title in ["## Packages", "## Kernel", "## Look at this first"] {
        assert!(!page.contains(title), "{page}");
    }
}

#[test]
fn zstd_reads_the_compressed_disk_and_threads_change_nothing() {
    let listed = first();
    let disk = listed.built.directory.join("disk.raw");
    let packed = listed.lists.with_file_name("disk.raw.zst");
    let write = |to: &Path| {
        let mut file = BufWriter::new(File::create(to).unwrap());
        disk_zst::write(&disk, &mut file).unwrap()
    };
    let written = timed("compressing the disk", || write(&packed));
    println!(
        "           {} MiB to {} MiB",
        written.raw >> 20,
        written.compressed >> 20
    );
    let other = listed.lists.with_file_name("other.zst");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.unwrap().install(|| write(&other));
    good(tool("cmp").arg(&packed).arg(&other));
    fs::remove_file(&other).unwrap();
    let list = good(tool("zstd").arg("-lv").arg(&packed));
    assert!(list.contains("XXH64"), "{list}");
    let pipe = format!(
        "zstdcat '{}' | cmp - '{}'",
        packed.display(),
        disk.display()
    );
    timed("zstdcat | cmp", || good(tool("sh").args(["-c", &pipe])));
    let unpacked = listed.lists.with_file_name("unpacked.raw");
    good(
        tool("zstd")
            .arg("-dqf")
            .arg(&packed)
            .arg("-o")
            .arg(&unpacked),
    );
    let blocks = fs::metadata(&unpacked).unwrap().blocks();
    assert!(blocks * 512 < 1 << 30, "zstd -d leaves holes: {blocks}");
    let raw = listed
        .built
        .manifest
        .artefacts
        .iter()
        .map(|a| a.size)
        .sum::<u64>();
    assert!(written.compressed < raw + (2 << 20), "{written:?}");
    fs::remove_file(&unpacked).unwrap();
    fs::remove_file(&packed).unwrap();
}
