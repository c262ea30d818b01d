//! A node's update by systemd 257's own systemd-sysupdate, systemd-pull and gpg, over HTTP, into a disk
//! in a file: in the trixie tree, with mounts that only the test sees.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hullwright::arch::Arch;
use hullwright::digest::Sha256;
use hullwright::disk::{self, ContentSizes, GptTable, ImageLayout, usr_partuuids};
use hullwright::esp::{EspContent, build};
use hullwright::profile::schema::Disk;
use hullwright::sign::keys::{self, KeyProfile};
use hullwright::sign::openpgp;
use hullwright::stamp::{Seed, Stamp};

use crate::server::Server;
use crate::support::{good, repository, shown, tool, trixie};

const FOLDER: &str = "beta/x86_64";

struct Version {
    name: &'static str,
    root_hash: Sha256,
}

impl Version {
    fn new(name: &'static str) -> Self {
        let root_hash = Sha256::of(name.as_bytes());
        Self { name, root_hash }
    }

    fn bytes(&self, what: &str, len: usize) -> Vec<u8> {
        let seed = Sha256::of(format!("{}{what}", self.name).as_bytes());
        seed.0.iter().copied().cycle().take(len).collect()
    }

    fn usr(&self) -> Vec<u8> {
        self.bytes("usr", 3 << 20)
    }

    fn verity(&self) -> Vec<u8> {
        self.bytes("verity", 64 << 10)
    }

    fn signature(&self) -> Vec<u8> {
        self.bytes("signature", 8192)
    }

    fn uki(&self) -> Vec<u8> {
        let mut bytes = format!("MZ usrhash={} rw\0", self.root_hash).into_bytes();
        bytes.extend(self.bytes("uki", 1 << 20));
        bytes
    }

    /// What the channel has of it.
    fn files(&self) -> [(String, Vec<u8>); 4] {
        let (usr, verity) = usr_partuuids(&self.root_hash);
        let v = self.name;
        [
            (format!("os_{v}_{usr}.usr.raw"), self.usr()),
            (format!("os_{v}_{verity}.vty.raw"), self.verity()),
            (format!("os_{v}.sig.raw"), self.signature()),
            (format!("os_{v}.efi"), self.uki()),
        ]
    }
}

/// A node that runs version 1.0 from slot A.
struct Node {
    dir: tempfile::TempDir,
    server: Server,
    /// Who signs: the folder of GnuPG.
    home: RefCell<PathBuf>,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = Self {
            server: Server::start(),
            home: RefCell::default(),
            dir,
        };
        let now = crate::fixture::now();
        keys::generate(&node.path("keys"), KeyProfile::Development, now).unwrap();
        node.trust("keys");
        let keyring = openpgp::keyring(&fs::read(node.path("keys/release.asc")).unwrap()).unwrap();
        node.write("pubring.gpg", &keyring);
        node.write("os-release", b"IMAGE_ID=os\nIMAGE_VERSION=1.0\n");
        for folder in ["esp/EFI/Linux", "uuids", "state", "etc"] {
            fs::create_dir_all(node.path(folder)).unwrap();
        }
        node.write("etc/update.conf", b"channel=beta\n");
        let conf = format!(
            "arch=x86_64\ntries=3\nreboot=off\nurl={}\n",
            node.server.url
        );
        node.write("lib/update.conf", conf.as_bytes());
        let units = repository().join("profiles/units/update");
        for file in fs::read_dir(units).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            if name.ends_with(".transfer") {
                // A node finds its disk by itself.
                let text = text.replace("Path=auto", "Path=/mnt/disk.raw");
                node.write(&format!("lib/transfers/{name}"), text.as_bytes());
            } else {
                node.write(&format!("lib/{name}"), text.as_bytes());
            }
        }
        for name in ["node.sh", "oneshot.sh"] {
            let path = repository().join("profiles/health/scripts").join(name);
            node.write(&format!("lib/{name}"), &fs::read(path).unwrap());
        }
        node.write_disk(&Version::new("1.0"));
        node.write("esp/EFI/Linux/os_1.0.efi", &Version::new("1.0").uki());
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Signs with the keys in `folder` from now on.
    fn trust(&self, folder: &str) {
        let home = self.path(&format!("{folder}-gnupg"));
        let is_new = !home.exists();
        self.home.replace(home.clone());
        if is_new {
            fs::create_dir(&home).unwrap();
            good(tool("chmod").arg("700").arg(home));
            let key = self.path(folder).join("release.key");
            good(self.gpg().arg("--import").arg(key));
        }
    }

    fn gpg(&self) -> Command {
        let mut gpg = tool("gpg");
        gpg.env("GNUPGHOME", &*self.home.borrow())
            .args(["--batch", "--quiet", "--yes"]);
        gpg
    }

    fn write_disk(&self, version: &Version) {
        let (usr, verity) = (version.usr(), version.verity());
        self.write("usr", &usr);
        self.write("verity", &verity);
        let signature = version.signature();
        let layout = ImageLayout::plan(
            &Disk::default(),
            Arch::X86_64,
            ContentSizes {
                usr: usr.len() as u64,
                verity: verity.len() as u64,
                signature: signature.len() as u64,
                uki: 1 << 20,
                esp_other: 1 << 20,
            },
        )
        .unwrap();
        let seed = Seed::new(&[b"node"]);
        let esp = build(&EspContent {
            files: Vec::new(),
            size: layout.partition(disk::Role::Esp).unwrap().size,
            label: "ESP".into(),
            serial: 1,
            stamp: Stamp::from_seconds(1_800_000_000),
        })
        .unwrap();
        let (usr, verity) = (self.path("usr"), self.path("verity"));
        let part = |path| disk::PartFile { path, sha256: None };
        disk::write_disk(
            &self.path("disk.raw"),
            &layout,
            &disk::Parts {
                esp: &esp,
                usr: part(&usr),
                verity: part(&verity),
                signature: Some(&signature),
            },
            &disk::Identity {
                os_id: "os",
                version: version.name,
                root_hash: version.root_hash,
                seed,
            },
        )
        .unwrap();
        self.has_partitions(version);
    }

    /// What udev would say of a version's partitions.
    fn has_partitions(&self, version: &Version) {
        let (usr, verity) = usr_partuuids(&version.root_hash);
        for uuid in [usr, verity] {
            self.write(&format!("uuids/{uuid}"), b"");
        }
    }

    /// The channel has `versions` and nothing else.
    fn publish(&self, serial: u32, versions: &[&Version]) {
        for path in self.server.files().into_keys() {
            self.server.remove(&path);
        }
        let told = format!("channel=beta\narch=x86_64\nserial={serial}\n");
        let mut files = BTreeMap::from([("channel.txt".to_owned(), told.into_bytes())]);
        for version in versions {
            files.extend(version.files());
            self.has_partitions(version);
        }
        let sums: String = files
            .iter()
            .map(|(name, bytes)| format!("{}  {name}\n", Sha256::of(bytes)))
            .collect();
        for (name, bytes) in files {
            self.server.put(&format!("{FOLDER}/{name}"), bytes);
        }
        self.sign(&sums);
    }

    fn sign(&self, sums: &str) {
        self.write("SHA256SUMS", sums.as_bytes());
        let mut gpg = self.gpg();
        good(gpg.arg("--detach-sign").arg(self.path("SHA256SUMS")));
        let signature = fs::read(self.path("SHA256SUMS.sig")).unwrap();
        self.server.put(&format!("{FOLDER}/SHA256SUMS"), sums);
        self.server
            .put(&format!("{FOLDER}/SHA256SUMS.gpg"), signature);
    }

    /// Runs a command line of the tree's shell as the node would.
    fn sh(&self, line: &str) -> Output {
        let script = r#"
            set -e
            mount -t proc proc "$T/proc"
            mount -t tmpfs tmpfs "$T/run"
            mount -t tmpfs tmpfs "$T/tmp"
            mount --bind "$N" "$T/mnt"
            mount --bind "$N/os-release" "$T/usr/lib/os-release"
            mount --bind "$N/pubring.gpg" "$T/usr/lib/systemd/import-pubring.gpg"
            exec chroot "$T" env PATH=/usr/bin:/usr/sbin SYSTEMD_ESP_PATH=/mnt/esp \
                SYSTEMD_RELAX_ESP_CHECKS=1 HULLWRIGHT_LIB=/mnt/lib HULLWRIGHT_ETC=/mnt/etc \
                HULLWRIGHT_STATE=/mnt/state HULLWRIGHT_PARTUUIDS=/mnt/uuids HULLWRIGHT_ESP=/mnt/esp \
                sh -c "$L"
        "#;
        let mut command = tool("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .env("T", trixie())
            .env("N", self.dir.path())
            .env("L", line);
        command.output().unwrap()
    }

    #[track_caller]
    fn update(&self, code: i32, what: &str) {
        let output = self.sh("sh /mnt/lib/hullwright-update update");
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(what), "{what}\n{text}");
    }

    fn table(&self) -> GptTable {
        let mut disk = File::open(self.path("disk.raw")).unwrap();
        GptTable::read(&mut disk).unwrap()
    }

    fn labels(&self) -> Vec<String> {
        let table = self.table();
        table
            .partitions
            .iter()
            .map(|(_, e)| e.name.clone())
            .collect()
    }

    fn entries(&self) -> Vec<String> {
        let folder = fs::read_dir(self.path("esp/EFI/Linux")).unwrap();
        let mut names: Vec<_> = folder
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn relabel(&self, number: u32, label: &str) {
        let change = format!("--change-name={number}:{label}");
        good(tool("sgdisk").arg(change).arg(self.path("disk.raw")));
    }

    /// Slot B and the ESP have all of `version`, and slot A is as it was.
    fn has(&self, version: &Version) {
        let disk = File::open(self.path("disk.raw")).unwrap();
        let (usr, verity) = usr_partuuids(&version.root_hash);
        let expected = [
            (5, "usr", version.usr(), Some(usr)),
            (6, "vty", version.verity(), Some(verity)),
            (7, "sig", version.signature(), None),
        ];
        let table = self.table();
        for (number, kind, bytes, uuid) in expected {
            let (_, entry) = table.partitions.iter().find(|(n, _)| *n == number).unwrap();
            assert_eq!(entry.name, format!("os_{kind}_{}", version.name));
            assert_eq!(entry.attributes, 1 << 60, "read-only");
            assert!(uuid.is_none_or(|uuid| uuid == entry.guid), "{kind}");
            let mut there = vec![0; bytes.len()];
            disk.read_exact_at(&mut there, entry.offset()).unwrap();
            assert!(there == bytes, "{kind} of {}", version.name);
        }
        assert_eq!(
            self.labels()[1..4],
            ["os_usr_1.0", "os_vty_1.0", "os_sig_1.0"]
        );
        let name = format!("os_{}+3-0.efi", version.name);
        assert_eq!(self.entries(), ["os_1.0.efi", &name]);
        let uki = fs::read(self.path("esp/EFI/Linux").join(name)).unwrap();
        assert!(uki == version.uki());
    }
}

#[test]
fn the_real_tools_install_an_update_and_the_next() {
    let node = Node::new();
    let [one, two, three] = ["1.0", "2.0", "3.0"].map(Version::new);
    node.publish(1, &[&one, &two]);
    node.update(0, "2.0 starts at the next boot");
    node.has(&two);
    node.update(0, "2.0 starts at the next boot");
    node.has(&two);
    // It never came up; the newer one takes its slot.
    node.publish(2, &[&one, &two, &three]);
    node.update(0, "3.0 starts at the next boot");
    node.has(&three);
    let list = shown(
        &node.sh("mkdir -p /run/sysupdate.d && sh /mnt/lib/update-setup && \
                               /usr/lib/systemd/systemd-sysupdate list"),
    );
    assert!(
        list.contains("3.0") && !list.contains("incomplete"),
        "{list}"
    );
}

#[test]
fn the_real_tools_take_nothing_that_is_not_signed_or_not_what_was_signed() {
    let node = Node::new();
    let [one, two] = ["1.0", "2.0"].map(Version::new);
    let (table, bootable) = (node.labels(), node.entries());
    let unchanged = |node: &Node| {
        assert_eq!(node.labels(), table);
        assert_eq!(node.entries(), bootable);
    };
    let now = crate::fixture::now();
    keys::generate(&node.path("others"), KeyProfile::Development, now).unwrap();
    node.trust("others");
    node.publish(1, &[&one, &two]);
    node.update(4, "its signature is not good");
    unchanged(&node);

    node.trust("keys");
    node.publish(1, &[&one, &two]);
    node.server.change("SHA256SUMS.gpg", |reply| {
        *reply.body.last_mut().unwrap() ^= 1;
    });
    node.update(4, "its signature is not good");
    node.publish(1, &[&one, &two]);
    node.server
        .change("/SHA256SUMS", |reply| reply.body.push(b'\n'));
    node.update(4, "");
    unchanged(&node);

    for name in [".vty.raw", ".sig.raw", ".usr.raw", "os_2.0.efi"] {
        node.publish(1, &[&two]);
        node.server.change(name, |reply| reply.body[7] ^= 0x10);
        node.update(4, "2.0 could not be installed");
        unchanged(&node);
        node.publish(1, &[&two]);
        node.server.change(name, |reply| {
            reply.declared = Some(reply.body.len() as u64);
            let half = reply.body.len() / 2;
            reply.body.truncate(half);
        });
        node.update(4, "2.0 could not be installed");
        unchanged(&node);
    }
    node.publish(1, &[&two]);
    node.update(0, "2.0 starts");
    node.has(&two);
}

#[test]
fn the_real_tools_complete_an_update_that_was_cut() {
    let [one, two, three] = ["1.0", "2.0", "3.0"].map(Version::new);
    // In the order in which sysupdate names partitions; the UKI would have come next.
    for done in [&[6][..], &[6, 7], &[6, 7, 5]] {
        for next in [&two, &three] {
            let node = Node::new();
            node.publish(1, &[&one, &two]);
            node.update(0, "2.0 starts");
            for number in [5, 6, 7] {
                if !done.contains(&number) {
                    node.relabel(number, "_empty");
                }
            }
            fs::remove_file(node.path("esp/EFI/Linux/os_2.0+3-0.efi")).unwrap();
            node.write(
                "esp/EFI/Linux/.#sysupdateos_2.0+3-0.efi0123456789abcdef",
                b"MZ",
            );
            // Either the same version is still there, or it was withdrawn.
            node.publish(2, &[&one, next]);
            node.update(0, &format!("{} starts", next.name));
            node.has(next);
        }
    }
}

#[test]
fn the_real_tools_begin_again_where_room_was_being_made() {
    // Cut while the slot's old version was taken away, which sysupdate does in the order of transfers.
    let [one, two, three] = ["1.0", "2.0", "3.0"].map(Version::new);
    for gone in [&[6][..], &[6, 7], &[6, 7, 5]] {
        let node = Node::new();
        node.publish(1, &[&one, &two]);
        node.update(0, "2.0 starts");
        for number in gone {
            node.relabel(*number, "_empty");
        }
        node.publish(2, &[&one, &two, &three]);
        node.update(0, "3.0 starts");
        node.has(&three);
    }
}

#[test]
fn the_real_tools_end_when_a_server_stalls() {
    let node = Node::new();
    let two = Version::new("2.0");
    node.publish(1, &[&two]);
    node.server.change("os_2.0.efi", |reply| {
        reply.pause = std::time::Duration::from_secs(3);
    });
    let output = node.sh("HULLWRIGHT_PAYLOAD_LIMIT=5 sh /mnt/lib/hullwright-update update");
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    assert_eq!(node.entries(), ["os_1.0.efi"]);
    node.publish(1, &[&two]);
    node.update(0, "2.0 starts");
    node.has(&two);
}

/// The folder is the node's, and nothing of the tree was changed.
#[test]
fn the_tree_has_the_tools() {
    for name in ["systemd-sysupdate", "systemd-pull"] {
        let path = trixie().join("usr/lib/systemd").join(name);
        assert!(
            Path::new(&path).exists(),
            "{} (cargo xtask test makes it)",
            path.display()
        );
    }
}
