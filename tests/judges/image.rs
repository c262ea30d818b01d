//! The output of a real build, file by file, before the judges of each format.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hullwright::archive;
use hullwright::build::{self, Inputs};
use hullwright::disk::write::{Extent, disk_hash};
use hullwright::profile::{LoadRequest, load};
use hullwright::report::Manifest;
use hullwright::resolve::Lock;
use hullwright::sign::Trust;
use hullwright::tree::{Tree, TreePath};

use crate::compare::{Sight, assert_same, each_block, names};
use crate::erofs::Mount;
use crate::fixture::{Fixture, fixture, now, timed};
use crate::support::{bad, good, tool, trixie, trixie_tool};

fn manifest(of: &Fixture) -> Manifest {
    serde_json::from_slice(&fs::read(of.out.join("manifest.json")).unwrap()).unwrap()
}

/// The UKI of the output.
pub fn uki(of: &Fixture) -> PathBuf {
    let manifest = manifest(of);
    of.out
        .join(format!("{}_{}.efi", manifest.id, manifest.version))
}

/// The tree that the fixture's `/usr` was written from.
pub fn usr() -> &'static Tree {
    static TREE: OnceLock<Tree> = OnceLock::new();
    TREE.get_or_init(|| {
        let fixture = fixture();
        let loaded = load(&LoadRequest {
            reference: "qemu",
            sets: &[],
            arch: None,
        })
        .unwrap();
        let lock = Lock::load(&fixture.lock).unwrap().unwrap();
        let context = fixture.archive(&fixture.root.join("tree-cache"));
        let trust = Trust::open(&fixture.keys, now()).unwrap();
        let tree = timed("the tree by itself", || {
            build::tree(&Inputs {
                loaded: &loaded,
                lock: &lock,
                keyrings: &archive::Keyrings::new(),
                archive: &context,
                trust: &trust,
                signers: None,
                stamp: lock.stamp,
                output: &fixture.root.join("never"),
                sync: false,
            })
            .unwrap()
        });
        assert!(!fixture.root.join("never").exists());
        tree.subtree(&TreePath::parse("usr").unwrap())
    })
}

/// A folder inside the trixie tree, gone with the value, and its path as seen from inside.
pub struct Inside(pub PathBuf, pub String);

impl Inside {
    /// An empty one.
    pub fn new(name: &str) -> Self {
        let dir = trixie().join("tmp").join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir, format!("/tmp/{name}"))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn fsck_extracts_usr_as_it_was_in_the_tree() {
    let fixture = fixture();
    let inside = Inside::new("judges-extract");
    fs::copy(fixture.out.join("usr.erofs"), inside.0.join("usr.erofs")).unwrap();
    let mut fsck = trixie_tool("fsck.erofs");
    good(
        fsck.args(["--xattrs", "--preserve"])
            .arg(format!("--extract={}/x", inside.1))
            .arg(format!("{}/usr.erofs", inside.1)),
    );
    let stamp = manifest(fixture).stamp;
    // fsck.erofs recreates hard links; a directory's count is the host file system's own.
    assert_same(&inside.0.join("x"), usr(), stamp, Sight { links: false });
}

#[test]
fn the_kernel_shows_usr_as_it_was_in_the_tree_and_depmod_makes_the_same_indices() {
    let fixture = fixture();
    let mount = Mount::new(&fixture.out.join("usr.erofs"));
    let manifest = manifest(fixture);
    assert_eq!(usr().len() as u64, manifest.files.usr, "names in the tree");
    assert_same(&mount.0, usr(), manifest.stamp, Sight { links: true });

    let inside = Inside::new("judges-depmod");
    let version = &manifest.kernel;
    let theirs = inside.0.join("lib/modules").join(version);
    fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    let ours = mount.0.join("lib/modules").join(version);
    good(tool("cp").arg("-r").arg(&ours).arg(&theirs));
    // Lists that the kernel's own build made are depmod's input, everything else its output.
    let made: Vec<String> = names(&theirs)
        .into_iter()
        .filter(|name| name.starts_with("modules."))
        .filter(|name| {
            ![
                "modules.order",
                "modules.builtin",
                "modules.builtin.modinfo",
            ]
            .contains(&name.as_str())
        })
        .collect();
    assert!(made.len() >= 11, "{made:?}");
    for name in &made {
        fs::remove_file(theirs.join(name)).unwrap();
    }
    good(trixie_tool("depmod").args(["-b", &inside.1, version]));
    assert_eq!(names(&theirs), names(&ours));
    for name in made {
        assert!(
            fs::read(theirs.join(&name)).unwrap() == fs::read(ours.join(&name)).unwrap(),
            "{name} differs from depmod's"
        );
    }
}

#[test]
fn veritysetup_verifies_usr_by_the_root_hash_of_the_manifest_and_the_command_line() {
    let fixture = fixture();
    let manifest = manifest(fixture);
    let root = manifest.root_hash.to_string();
    let mut verify = tool("veritysetup");
    verify
        .arg("verify")
        .arg(fixture.out.join("usr.erofs"))
        .arg(fixture.out.join("usr.verity"));
    good(verify.arg(&root));
    let cmdline = fixture.root.join("cmdline");
    dump_section(&uki(fixture), ".cmdline", &cmdline);
    let cmdline = fs::read_to_string(cmdline).unwrap();
    assert_eq!(cmdline.trim_end_matches('\0'), manifest.cmdline);
    assert!(cmdline.contains(&format!("usrhash={root}")), "{cmdline}");
}

/// Start and length in bytes of partition `number`, as sgdisk sees it.
fn partition(disk: &Path, number: u32) -> (u64, u64) {
    let text = good(tool("sgdisk").arg(format!("--info={number}")).arg(disk));
    let field = |name: &str| -> u64 {
        let rest = text.lines().find_map(|line| line.strip_prefix(name));
        let word = rest.and_then(|rest| rest.split_whitespace().next());
        word.and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
    };
    (field("First sector:") * 512, field("Partition size:") * 512)
}

fn read_at(path: &Path, offset: u64, length: u64) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_disk_holds_exactly_the_artefacts_and_zeros() {
    let fixture = fixture();
    let disk = fixture.out.join("disk.raw");
    let verdict = good(tool("sgdisk").arg("--verify").arg(&disk));
    assert!(verdict.contains("No problems found"), "{verdict}");
    for (number, name) in [(2, "usr.erofs"), (3, "usr.verity")] {
        let (start, length) = partition(&disk, number);
        let artefact = fs::read(fixture.out.join(name)).unwrap();
        let mut found = read_at(&disk, start, length);
        let rest = found.split_off(artefact.len());
        assert!(found == artefact, "partition {number} is not {name}");
        assert!(rest.iter().all(|&byte| byte == 0), "after {name}");
    }

    let manifest = manifest(fixture);
    let extents: Vec<Extent> = manifest
        .disk
        .extents
        .iter()
        .map(|e| Extent {
            offset: e.offset,
            len: e.length,
            sha256: e.sha256,
        })
        .collect();
    for extent in &extents {
        let bytes = read_at(&disk, extent.offset, extent.len);
        assert_eq!(hullwright::digest::Sha256::of(&bytes), extent.sha256);
    }
    assert_eq!(disk_hash(&extents), manifest.disk.sha256);
    let size = each_block(&disk, |offset, block| {
        let inside = |at: u64| {
            extents
                .iter()
                .any(|e| (e.offset..e.offset + e.len).contains(&at))
        };
        for (i, _) in block.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            let at = offset + i as u64;
            assert!(inside(at), "byte {at} is in no extent of the manifest");
        }
    });
    assert_eq!(size, manifest.disk.size);
}

#[test]
fn the_esp_is_clean_and_what_the_firmware_starts_is_signed() {
    let fixture = fixture();
    let disk = fixture.out.join("disk.raw");
    let esp = fixture.root.join("esp.img");
    let (start, length) = partition(&disk, 1);
    fs::write(&esp, read_at(&disk, start, length)).unwrap();
    good(tool("fsck.vfat").args(["-n", "-v"]).arg(&esp));

    let manifest = manifest(fixture);
    let entry = format!("::/EFI/Linux/{}_{}+3-0.efi", manifest.id, manifest.version);
    let certificate = fixture.keys.join("db.crt");
    for path in [
        "::/EFI/BOOT/BOOTX64.EFI",
        "::/EFI/systemd/systemd-bootx64.efi",
        &entry,
    ] {
        let file = fixture.root.join("taken.efi");
        good(
            tool("mcopy")
                .arg("-no")
                .arg("-i")
                .arg(&esp)
                .arg(path)
                .arg(&file),
        );
        let mut verify = tool("sbverify");
        let verdict = good(verify.arg("--cert").arg(&certificate).arg(&file));
        assert!(verdict.contains("Signature verification OK"), "{verdict}");
        let mut bytes = fs::read(&file).unwrap();
        if path == entry {
            assert!(bytes == fs::read(uki(fixture)).unwrap(), "{path}");
        }
        // A byte of the code: the judge must see it.
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, &bytes).unwrap();
        bad(
            tool("sbverify").arg("--cert").arg(&certificate).arg(&file),
            1,
        );
    }
    fs::remove_file(esp).unwrap();
}

fn dump_section(pe: &Path, section: &str, to: &Path) {
    let copy = to.with_extension("copy");
    good(
        tool("objcopy")
            .arg(format!("--dump-section={section}={}", to.display()))
            .args([pe, &copy]),
    );
    fs::remove_file(copy).unwrap();
}

/// The archives of an initrd, which the kernel unpacks one after the other; cpio knows only one.
fn archives(mut bytes: &[u8]) -> Vec<&[u8]> {
    const LAST: &[u8] = b"TRAILER!!!\0";
    const HEADER: usize = 110;
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let name = (HEADER..bytes.len())
            .find(|&at| {
                bytes[at..].starts_with(LAST) && bytes[at - HEADER..].starts_with(b"070701")
            })
            .unwrap();
        let end = name + LAST.len();
        let next = (end..bytes.len()).find(|&at| bytes[at] != 0);
        let (archive, rest) = bytes.split_at(next.unwrap_or(bytes.len()));
        found.push(archive);
        bytes = rest;
    }
    found
}

#[test]
fn cpio_lists_the_initrd_and_every_name_in_it() {
    let fixture = fixture();
    let packed = fixture.root.join("initrd.zst");
    dump_section(&uki(fixture), ".initrd", &packed);
    let plain = fixture.root.join("initrd.cpio");
    good(tool("zstd").arg("-dqf").arg(&packed).arg("-o").arg(&plain));
    let manifest = manifest(fixture);
    // Directories stand in each archive that has something in them, everything else in one.
    let mut listed = BTreeMap::new();
    for archive in archives(&fs::read(&plain).unwrap()) {
        fs::write(&plain, archive).unwrap();
        let mut cpio = tool("cpio");
        cpio.args(["--quiet", "-tv"])
            .stdin(File::open(&plain).unwrap());
        for line in good(&mut cpio).lines() {
            // Mode, links, owner, group, size, three words of time, name.
            let mut words = line.split_ascii_whitespace();
            let (mode, name) = (words.next().unwrap(), words.nth(7).unwrap());
            let before = listed.insert(name.to_owned(), mode.to_owned());
            assert!(
                before.is_none_or(|before| before == mode && mode.starts_with('d')),
                "{line}"
            );
        }
    }
    assert_eq!(listed.len() as u64, manifest.files.initrd);
    for needed in ["init", "usr/lib/systemd/systemd"] {
        assert!(listed.contains_key(needed), "no {needed}");
    }
}

#[test]
fn the_sums_and_the_manifest_tell_the_truth() {
    let fixture = fixture();
    let mut check = tool("sha256sum");
    good(check.arg("-c").arg("SHA256SUMS").current_dir(&fixture.out));
    let manifest = manifest(fixture);
    let efi = format!("{}_{}.efi", manifest.id, manifest.version);
    let sums = fs::read_to_string(fixture.out.join("SHA256SUMS")).unwrap();
    let summed: Vec<&str> = sums
        .lines()
        .filter_map(|line| Some(line.split_once("  ")?.1))
        .collect();
    let expected = [
        &efi,
        "manifest.json",
        "usr.erofs",
        "usr.verity",
        "usr.verity-sig",
    ];
    assert_eq!(summed, expected);
    let mut all = vec!["SHA256SUMS", "build-report.json", "disk.raw"];
    all.extend(&summed);
    all.sort_unstable();
    assert_eq!(names(&fixture.out), all);

    let lock = Lock::load(&fixture.lock).unwrap().unwrap();
    assert_eq!(
        (manifest.manifest, manifest.stamp),
        (1, lock.stamp.seconds())
    );
    assert!(manifest.development);
    assert_eq!(manifest.lock, lock.hash());
    assert_eq!(manifest.packages.len(), lock.packages.len());
    for (listed, locked) in manifest.packages.iter().zip(&lock.packages) {
        assert_eq!(
            (&listed.name, &listed.version, listed.sha256),
            (&locked.name, &locked.version, locked.sha256)
        );
    }
    let keys = Trust::open(&fixture.keys, now()).unwrap();
    assert_eq!(manifest.signing_certificate, keys.fingerprint());
    for artefact in &manifest.artefacts {
        let data = fs::metadata(fixture.out.join(&artefact.name)).unwrap();
        assert_eq!(data.len(), artefact.size);
        assert!(sums.contains(&format!("{}  {}", artefact.sha256, artefact.name)));
    }
}
