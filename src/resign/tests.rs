//! Small images, signed at once and later.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use anyhow::bail;

use super::*;
use crate::arch::Arch;
use crate::disk::{self, ContentSizes, ImageLayout};
use crate::esp::EspContent;
use crate::failure::kind_of;
use crate::initrd::root_hash_signature;
use crate::profile::schema::Disk;
use crate::report::Manifest;
use crate::report::manifest::{Artefact, DiskSummary, FileCounts};
use crate::sign::keys::tests::{TestKeys, development_keys, other_keys};
use crate::sign::{Choice, Settings, Signer, authenticode, no_passphrase};
use crate::stamp::{Seed, Stamp};
use crate::uki::write::tests::{kernel, stub};
use crate::uki::{Section, assemble};
use crate::verity::signature;

const ROOT: Sha256 = Sha256([0xab; 32]);

fn signers(keys: &TestKeys) -> Signers {
    let needed = [Role::Db, Role::Verity];
    let settings = Settings::default();
    Signers::open(
        &Choice::File,
        &keys.trust,
        &needed,
        &settings,
        &no_passphrase,
    )
    .unwrap()
}

fn uki(keys: &TestKeys, p7s: Option<Option<&[u8]>>, sign: bool) -> Vec<u8> {
    let kernel = kernel();
    let mut initrd = b"initrd!".to_vec();
    if let Some(p7s) = p7s {
        root_hash_signature::append(&mut initrd, p7s).unwrap();
    }
    let cmdline = format!("usrhash={ROOT} quiet");
    let sections = [
        (".cmdline", cmdline.as_bytes()),
        (".linux", &kernel),
        (".initrd", &initrd),
    ]
    .map(|(name, data)| Section { name, data });
    program(keys, assemble(&stub(), &sections).unwrap(), sign)
}

fn program(keys: &TestKeys, image: Vec<u8>, sign: bool) -> Vec<u8> {
    if sign {
        authenticode::sign(image, keys).unwrap()
    } else {
        authenticode::reserve(image).unwrap()
    }
}

/// What is done with the root hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RootHash {
    /// There is no key for it.
    Unsigned,
    /// It is signed in its partition.
    Signed,
    /// The kernel asks for its signature, too.
    Required,
}

/// What a build would leave in `folder`.
fn build(folder: &Path, keys: &TestKeys, sign: bool, root_hash: RootHash) {
    fs::create_dir_all(folder).unwrap();
    let p7s = signature::p7s(&ROOT, &keys.verity).unwrap();
    let size = signature::PARTITION_SIZE;
    let has_key = root_hash != RootHash::Unsigned;
    let partition = match (has_key, sign) {
        (false, _) => Vec::new(),
        (true, false) => vec![0; size],
        (true, true) => signature::partition(&ROOT, keys.verity.certificate(), &p7s, size).unwrap(),
    };
    let in_uki = root_hash == RootHash::Required;
    let uki = uki(keys, in_uki.then_some(sign.then_some(&p7s)), sign);
    let loader = program(keys, stub(), sign);
    let text = b"timeout 0\n".to_vec();
    let mut files: Vec<EspFile> = [
        ("EFI/BOOT/BOOTX64.EFI", loader.clone()),
        ("EFI/systemd/systemd-bootx64.efi", loader),
        ("loader/loader.conf", text),
    ]
    .map(|(path, data)| EspFile {
        path: path.into(),
        data: data.into(),
    })
    .into();
    files.extend(enrolment(keys.trust.enrolment().unwrap()));
    files.push(EspFile {
        path: "EFI/Linux/os_1+3-0.efi".into(),
        data: uki.clone().into(),
    });
    let layout = ImageLayout::plan(
        &Disk::default(),
        Arch::X86_64,
        ContentSizes {
            usr: 4096,
            verity: 4096,
            signature: partition.len() as u64,
            uki: uki.len() as u64,
            esp_other: 1 << 20,
        },
    )
    .unwrap();
    let seed = Seed::new(&[b"test"]);
    let esp = crate::esp::build(&EspContent {
        files,
        size: layout.partition(disk::Role::Esp).unwrap().size,
        label: "ESP".into(),
        serial: seed.serial("esp"),
        stamp: Stamp::from_seconds(1_800_000_000),
    })
    .unwrap();
    for name in ["usr.erofs", "usr.verity"] {
        fs::write(folder.join(name), [1; 4096]).unwrap();
    }
    let part = |path| disk::PartFile { path, sha256: None };
    let report = disk::write_disk(
        &folder.join(DISK),
        &layout,
        &disk::Parts {
            esp: &esp,
            usr: part(&folder.join("usr.erofs")),
            verity: part(&folder.join("usr.verity")),
            signature: has_key.then_some(&*partition),
        },
        &disk::Identity {
            os_id: "os",
            version: "1",
            root_hash: ROOT,
            seed,
        },
    )
    .unwrap();
    fs::write(folder.join("os_1.efi"), &uki).unwrap();
    let file = if has_key { partition } else { vec![0; size] };
    fs::write(folder.join(SIGNATURE), &file).unwrap();
    let artefact = |name: &str, data: &[u8]| Artefact {
        name: name.into(),
        size: data.len() as u64,
        sha256: Sha256::of(data),
    };
    let extents = report.extents.into_iter().map(Extent::from);
    let manifest = Manifest {
        manifest: 1,
        profile: "p".into(),
        id: "os".into(),
        version: "1".into(),
        arch: Arch::X86_64,
        development: true,
        stamp: 1_800_000_000,
        tool: "0".into(),
        lock: ROOT,
        profile_hash: ROOT,
        allow_expired: false,
        root_hash: ROOT,
        cmdline: String::new(),
        kernel: "6".into(),
        signing_certificate: keys.trust.fingerprint(),
        artefacts: vec![artefact(SIGNATURE, &file), artefact("os_1.efi", &uki)],
        board: None,
        disk: DiskSummary {
            size: report.size,
            sha256: report.sha256,
            extents: extents.collect(),
        },
        packages: Vec::new(),
        files: FileCounts {
            usr: 1,
            usr_bytes: 1,
            initrd: 1,
        },
    };
    manifest.write(folder).unwrap();
    if !sign {
        write_to_sign(folder, &keys.trust).unwrap();
    }
}

/// Names and content of a folder; of the disk what is before its first slot.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let manifest = Manifest::read(folder).unwrap();
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            if name != DISK {
                return (name, fs::read(entry.path()).unwrap());
            }
            let disk = File::open(entry.path()).unwrap();
            let mut bytes = Vec::new();
            for extent in &manifest.disk.extents {
                let mut data = vec![0; extent.length as usize];
                disk.read_exact_at(&mut data, extent.offset).unwrap();
                assert_eq!(Sha256::of(&data), extent.sha256);
                bytes.extend(extent.offset.to_le_bytes());
                bytes.extend(data);
            }
            (name, bytes)
        })
        .collect()
}

fn sign(folder: &Path, keys: &TestKeys) -> Result<Signed> {
    Request::open(folder)?.sign(&keys.trust, &signers(keys), false)
}

#[test]
fn an_image_signed_later_is_the_one_signed_at_once() {
    for root_hash in [RootHash::Unsigned, RootHash::Signed, RootHash::Required] {
        let dir = tempfile::tempdir().unwrap();
        let (direct, later) = (dir.path().join("direct"), dir.path().join("later"));
        let keys = development_keys();
        build(&direct, keys, true, root_hash);
        build(&later, keys, false, root_hash);
        fs::write(later.join("note"), "mine").unwrap();
        fs::write(direct.join("note"), "mine").unwrap();
        assert!(content(&direct) != content(&later));

        let signed = sign(&later.join(DISK), keys).unwrap();
        assert_eq!(signed.removed, [TO_SIGN]);
        assert!(content(&direct) == content(&later), "{root_hash:?}");
        let usr = later.join("usr.erofs");
        assert_eq!(
            fs::metadata(usr).unwrap().nlink(),
            1,
            "the old folder is gone"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);

        let again = sign(&later, keys).unwrap();
        assert!(again.changes.is_empty() && again.removed.is_empty());
    }
}

#[test]
fn every_changed_byte_is_reported_and_the_first_key_brings_all_of_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("image");
    let (first, second) = (development_keys(), other_keys());
    build(&folder, first, true, RootHash::Required);
    let before = content(&folder);
    let disk = File::open(folder.join(DISK)).unwrap();

    let signed = sign(&folder, second).unwrap();
    let whats: BTreeSet<&str> = signed.changes.iter().map(|c| c.what.as_str()).collect();
    for what in [
        "EFI/BOOT/BOOTX64.EFI: signature",
        "EFI/Linux/os_1+3-0.efi: checksum",
        "EFI/Linux/os_1+3-0.efi: root hash signature",
        "loader/keys/auto/db.auth: content",
        "usr-verity-sig: root hash signature",
        "root hash signature",
        "signature",
        "checksum",
        "whole file",
    ] {
        assert!(whats.contains(what), "{what}: {whats:?}");
    }
    let now = File::open(folder.join(DISK)).unwrap();
    let end = 1_u64 << 30;
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for offset in (0..2 * end).step_by(1 << 20) {
        disk.read_exact_at(&mut a, offset).unwrap();
        now.read_exact_at(&mut b, offset).unwrap();
        if a == b {
            continue;
        }
        for at in (0..a.len()).filter(|at| a[*at] != b[*at]) {
            let at = offset + at as u64;
            let known = signed
                .changes
                .iter()
                .any(|c| c.file == DISK && (c.offset..c.offset + c.bytes).contains(&at));
            assert!(known, "byte {at} is not in the list");
        }
    }
    let image = Image::open(&folder).unwrap();
    authenticode::verify(&image.uki, second.certificate()).unwrap();
    let document = Document::read(&image.signature.unwrap().content)
        .unwrap()
        .unwrap();
    let certificate = second.verity.certificate();
    signature::verify(&document.p7s().unwrap(), &ROOT, certificate).unwrap();

    sign(&folder, first).unwrap();
    assert!(content(&folder) == before);
}

/// Fails when it is asked for the second time.
#[derive(Debug, Default)]
struct Failing(std::sync::atomic::AtomicU32);

impl Signer for Failing {
    fn certificate(&self) -> &[u8] {
        development_keys().certificate()
    }

    fn sign_sha256(&self, digest: &[u8; 32]) -> Result<Vec<u8>> {
        if self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            bail!(Failure::new(Kind::Keys, "no more"));
        }
        development_keys().sign_sha256(digest)
    }
}

#[test]
fn a_signer_that_fails_in_between_leaves_the_image_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("image");
    let keys = development_keys();
    build(&folder, keys, false, RootHash::Required);
    let before = content(&folder);
    let failing = Signers {
        db: Box::new(Failing::default()),
        verity: signers(keys).verity,
    };
    let request = Request::open(&folder).unwrap();
    assert_eq!(request.needed(), [Role::Db, Role::Verity]);
    let error = request.sign(&keys.trust, &failing, false).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Keys);
    assert!(content(&folder) == before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn the_list_says_what_a_machine_with_the_keys_has_to_sign() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("image");
    let keys = development_keys();
    build(&folder, keys, false, RootHash::Required);
    let text = fs::read_to_string(folder.join(TO_SIGN)).unwrap();
    let list: ToSign = serde_json::from_str(&text).unwrap();
    let short: Vec<_> = list
        .places
        .iter()
        .map(|p| {
            (
                p.name.as_str(),
                p.key.as_str(),
                p.digest.is_some(),
                p.files.len(),
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            ("root hash of /usr", "verity", true, 4),
            ("systemd-boot", "db", true, 2),
            ("os_1.efi", "db", false, 2),
        ]
    );
    assert_eq!(list.places[2].after.as_deref(), Some("root hash of /usr"));
    // Every place is empty, and where it is said to be.
    for place in &list.places {
        for file in &place.files {
            let disk = File::open(folder.join(&file.file)).unwrap();
            let mut bytes = vec![0; file.length as usize];
            disk.read_exact_at(&mut bytes, file.offset).unwrap();
            match place.kind.as_str() {
                "authenticode" => {
                    assert_eq!(bytes[..8], [0, 0x20, 0, 0, 0, 2, 2, 0]);
                    assert!(bytes[8..].iter().all(|byte| *byte == 0));
                }
                _ if file.file == SIGNATURE || file.path.as_deref() == Some("usr-verity-sig") => {
                    assert!(bytes.iter().all(|byte| *byte == 0));
                }
                _ => assert_eq!(root_hash_signature::read(&bytes), Some(&b""[..])),
            }
        }
    }
    // A signature over the digest alone completes the place.
    let loader = &list.places[1];
    let signature = keys.sign_sha256(&loader.digest.unwrap().0).unwrap();
    assert_eq!(signature.len(), 256);
    let attributes = crate::base64::decode(loader.content.as_ref().unwrap()).unwrap();
    assert_eq!(loader.digest, Some(Sha256::of(&attributes)));
}

#[test]
fn what_is_not_a_finished_image_or_was_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("image");
    let keys = development_keys();
    let refused = |expected: &str| {
        let error = sign(&folder, keys).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Usage, "{error:#}");
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    };
    refused("No such file");
    fs::create_dir(&folder).unwrap();
    refused("manifest.json");
    fs::remove_dir(&folder).unwrap();

    build(&folder, keys, true, RootHash::Required);
    let disk = OpenOptions::new()
        .write(true)
        .open(folder.join(DISK))
        .unwrap();
    let image = Image::open(&folder).unwrap();
    let at = image.signature.as_ref().unwrap().at;
    for offset in [image.esp_at + 300, at + 5] {
        let mut byte = [0];
        File::open(folder.join(DISK))
            .unwrap()
            .read_exact_at(&mut byte, offset)
            .unwrap();
        disk.write_all_at(&[byte[0] ^ 1], offset).unwrap();
        refused("disk.raw is not what its manifest says");
        disk.write_all_at(&byte, offset).unwrap();
    }
    let mut uki = image.uki.to_vec();
    uki[700] ^= 1;
    fs::write(folder.join("os_1.efi"), uki).unwrap();
    refused("os_1.efi is not what its manifest says");
}
