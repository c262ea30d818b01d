//! A release of small payloads, made by the code that makes real ones and published by it: what a
//! build would give in a minute, in a moment.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hullwright::arch::Arch;
use hullwright::digest::Sha256;
use hullwright::disk::write::{Extent, disk_hash};
use hullwright::release::index::{File, Layout, Release};
use hullwright::release::names::Role;
use hullwright::release::tree::Incoming;
use hullwright::release::{Authority, Index, Tree, disk_zst};
use hullwright::report::manifest::{self, Artefact, DiskSummary, FileCounts, Manifest};
use hullwright::resolve::Lock;
use hullwright::sign::openpgp::{ReleaseKeys, ReleaseSigner};
use hullwright::sign::{FileSigner, Role as KeyRole, Signer, Trust, authenticode, no_passphrase};
use hullwright::stamp::Stamp;
use hullwright::uki::{Section, assemble};
use hullwright::verity::{self, signature};
use serde_json::json;
use uuid::Uuid;

/// What may differ between two releases.
#[derive(Clone, Copy)]
pub struct Version<'a> {
    pub id: &'a str,
    pub version: &'a str,
    pub stamp: u64,
    /// Blocks of `/usr`.
    pub blocks: u8,
}

const LAYOUT: Layout = Layout {
    esp: 64 << 20,
    usr: 1 << 20,
    verity: 1 << 20,
    signature: 1 << 20,
};

fn lock(version: &Version<'_>) -> Lock {
    Lock {
        lock: 1,
        profile: version.id.into(),
        arch: Arch::X86_64,
        profile_hash: Sha256::of(version.id.as_bytes()),
        tool: "0".into(),
        codecs: BTreeMap::new(),
        stamp: Stamp::from_seconds(version.stamp),
        allow_expired: false,
        suites: Vec::new(),
        artefacts: Vec::new(),
        packages: Vec::new(),
        files: BTreeMap::new(),
        ids: BTreeMap::from([("user sshd".into(), 101)]),
    }
}

/// Opens the keys in `dir`.
fn authority(dir: &Path) -> (Trust, Authority) {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = Stamp::from_seconds(now.as_secs());
    let trust = Trust::open(dir, now).unwrap();
    let public = trust.release_key().unwrap().to_owned();
    let authority = Authority {
        signer: ReleaseSigner::open(&trust, now, &no_passphrase).unwrap(),
        keys: ReleaseKeys::parse(&public).unwrap(),
        public,
        now,
    };
    (trust, authority)
}

/// The files of a release, in `folder`. With `change`, other bytes than are described.
fn release(
    version: &Version<'_>,
    trust: &Trust,
    folder: &Path,
    change: impl Fn(Role, &mut Vec<u8>),
) -> (Release, Vec<Incoming>) {
    let signer = |role| FileSigner::open(trust, role, &no_passphrase).unwrap();
    let db = signer(KeyRole::Db);
    let Version { id, version: v, .. } = *version;

    let usr: Vec<u8> = (0..version.blocks).flat_map(|n| [n; 4096]).collect();
    let mut tree = Vec::new();
    let built = verity::build(
        &mut usr.as_slice(),
        usr.len() as u64,
        &verity::salt(id),
        Uuid::from_u128(1),
        &mut tree,
    )
    .unwrap();
    let root = built.root_hash;
    let cmdline = format!("usrhash={root} rw");
    let os_release = format!("ID={id}\nIMAGE_ID={id}\nIMAGE_VERSION=\"{v}\"\n");
    let stub = crate::seeds::stub();
    let sections = [
        (".osrel", os_release.as_bytes()),
        (".cmdline", cmdline.as_bytes()),
        (".linux", &stub),
        (".initrd", b"initrd"),
    ];
    let sections = sections.map(|(name, data)| Section { name, data });
    let uki = authenticode::sign(assemble(&stub, &sections).unwrap(), &db).unwrap();
    let verity_key = signer(KeyRole::Verity);
    let p7s = signature::p7s(&root, &verity_key).unwrap();
    let partition = signature::partition(&root, verity_key.certificate(), &p7s, 8192).unwrap();

    let raw = folder.join("disk.raw");
    let mut disk = vec![0; 1_100_000];
    disk[..usr.len()].copy_from_slice(&usr);
    fs::write(&raw, &disk).unwrap();
    let mut packed = Vec::new();
    disk_zst::write(&raw, &mut packed).unwrap();
    let extent = Extent {
        offset: 0,
        len: usr.len() as u64,
        sha256: Sha256::of(&usr),
    };
    let lock = lock(version);
    let artefact = |name: &str, data: &[u8]| Artefact {
        name: name.into(),
        size: data.len() as u64,
        sha256: Sha256::of(data),
    };
    let manifest = Manifest {
        manifest: 1,
        profile: id.into(),
        id: id.into(),
        version: v.into(),
        arch: Arch::X86_64,
        development: false,
        stamp: version.stamp,
        tool: "0".into(),
        lock: lock.hash(),
        profile_hash: lock.profile_hash,
        allow_expired: false,
        root_hash: root,
        cmdline,
        kernel: "6.12".into(),
        signing_certificate: trust.fingerprint(),
        artefacts: vec![
            artefact("usr.erofs", &usr),
            artefact("usr.verity", &tree),
            artefact(manifest::SIGNATURE, &partition),
            artefact(&format!("{id}_{v}.efi"), &uki),
        ],
        board: None,
        disk: DiskSummary {
            size: disk.len() as u64,
            sha256: disk_hash(&[extent]),
            extents: vec![manifest::Extent {
                offset: extent.offset,
                length: extent.len,
                sha256: extent.sha256,
            }],
        },
        packages: Vec::new(),
        files: FileCounts {
            usr: 1,
            usr_bytes: 1,
            initrd: 1,
        },
    };
    let list = b"/usr\n".to_vec();
    let partitions = [
        ("esp", LAYOUT.esp),
        ("usr-a", LAYOUT.usr),
        ("usr-verity-a", LAYOUT.verity),
        ("usr-verity-sig-a", LAYOUT.signature),
        ("usr-b", LAYOUT.usr),
    ];
    let partitions = partitions.map(|(role, size)| json!({"role": role, "size": size}));
    let facts = json!({
        "facts": 1, "id": id, "version": v, "root_hash": root,
        "files": Sha256::of(&list), "layout": partitions,
    });
    let mut files = Vec::new();
    let mut incoming = Vec::new();
    for (role, mut data) in [
        (Role::Usr, usr),
        (Role::Verity, tree),
        (Role::Signature, partition),
        (Role::Uki, uki),
        (Role::BootLoader, authenticode::sign(stub, &db).unwrap()),
        (Role::Disk, packed),
        (
            Role::Manifest,
            serde_json::to_vec_pretty(&manifest).unwrap(),
        ),
        (Role::Lock, lock.to_text().into_bytes()),
        (Role::Profile, format!("name: {id}\n").into_bytes()),
        (Role::Files, list),
        (Role::Facts, facts.to_string().into_bytes()),
    ] {
        change(role, &mut data);
        let name = role.file_name(id, v, &root);
        let path = folder.join(&name);
        fs::write(&path, &data).unwrap();
        files.push(File {
            name: name.clone(),
            role,
            size: data.len() as u64,
            sha256: Sha256::of(&data),
        });
        incoming.push(Incoming {
            arch: Arch::X86_64,
            name,
            path,
        });
    }
    let release = Release {
        version: v.into(),
        stamp: version.stamp,
        root_hash: root,
        layout: LAYOUT,
        files,
        yanked: None,
    };
    (release, incoming)
}

/// Publishes one release after the other in `channel` of the tree `dir`, signed with the keys in
/// `keys`.
pub fn publish(dir: &Path, channel: &str, keys: &Path, versions: &[Version<'_>]) {
    publish_changed(dir, channel, keys, versions, |_, _| ());
}

/// The same, with other bytes than the files say of each other.
pub fn publish_changed(
    dir: &Path,
    channel: &str,
    keys: &Path,
    versions: &[Version<'_>],
    change: impl Fn(Role, &mut Vec<u8>),
) {
    let (trust, authority) = authority(keys);
    let tree = Tree::open(dir).unwrap();
    for version in versions {
        let folder = tempfile::tempdir_in(dir.parent().unwrap()).unwrap();
        let (release, incoming) = release(version, &trust, folder.path(), &change);
        let mut index: Index = tree.channel(channel, &authority).unwrap();
        let product = index.product_mut(version.id, Arch::X86_64);
        product.releases.push(release);
        product.current = product.newest_offered().map(str::to_owned);
        index.serial += 1;
        let scratch = tree.scratch().unwrap();
        tree.publish(&index, &incoming, &authority, &scratch)
            .unwrap();
    }
}
