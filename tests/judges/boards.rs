//! Images for boards, judged by the tools that firmware's authors and Debian use: sgdisk, fsck.vfat,
//! mtools and dpkg-deb.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use hullwright::profile::board::Board;
use hullwright::profile::{LoadRequest, load};
use hullwright::report::Manifest;

use crate::fixture::{fixture, timed};
use crate::support::{build, good, hullwright, tool};

/// The largest download that the issue of a card allows.
const MOST_COMPRESSED: u64 = 200_000_000;

/// The build of a profile for a board, with the files it was made from.
struct Image {
    root: PathBuf,
    out: PathBuf,
    board: Board,
    manifest: Manifest,
    inputs: PathBuf,
    lock: String,
}

impl Image {
    /// Builds `files`, of which the first is the profile.
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = fixture().root.join(name);
        for (file, text) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let profile = root.join(files[0].0);
        let out = root.join("out");
        let keys = fixture().keys.to_str().unwrap();
        timed(name, || build(&root, &profile, &out, &["--keys", keys]));
        let inputs = root.join("inputs");
        let mut fetch = hullwright(&root);
        good(
            fetch
                .arg("fetch")
                .arg(&profile)
                .args(["--offline", "--to"])
                .arg(&inputs),
        );
        let loaded = load(&LoadRequest {
            reference: profile.to_str().unwrap(),
            ..LoadRequest::default()
        })
        .unwrap();
        let lock = profile.with_extension("arm64.lock");
        Self {
            manifest: Manifest::read(&out).unwrap(),
            board: loaded.profile.board.unwrap(),
            lock: fs::read_to_string(lock).unwrap(),
            inputs,
            out,
            root,
        }
    }

    fn disk(&self) -> PathBuf {
        self.out.join("disk.raw")
    }

    /// A file of the package `from`, as dpkg-deb and tar have it.
    fn of_package(&self, from: &str, path: &str) -> Vec<u8> {
        let kernel = &self.manifest.kernel;
        let (sha256, path) = match from {
            "kernel" => (
                self.locked(&format!("linux-image-{kernel}")),
                format!("usr/lib/linux-image-{kernel}/{path}"),
            ),
            _ => {
                let mut all = self.board.artefacts.iter();
                let artefact = all.find(|artefact| artefact.name == from).unwrap();
                (artefact.sha256.to_string(), path.to_owned())
            }
        };
        let output = tool("sh")
            .args([
                "-c",
                "dpkg-deb --fsys-tarfile \"$1\" | tar -xO \"./$2\"",
                "-",
            ])
            .arg(self.inputs.join(sha256))
            .arg(path)
            .output()
            .unwrap();
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{from}"
        );
        output.stdout
    }

    /// The hash of a package in the lock.
    fn locked(&self, name: &str) -> String {
        let start = self.lock.find(&format!("- name: {name}\n")).unwrap();
        let line = self.lock[start..]
            .lines()
            .find(|line| line.contains("sha256:"));
        line.unwrap()
            .trim_start_matches("  sha256:")
            .trim_matches([' ', '"'])
            .into()
    }

    /// A file of the EFI system partition, as mtools has it.
    fn on_esp(&self, path: &str) -> Vec<u8> {
        let image = format!("{}@@1M", self.disk().display());
        let output = tool("mtype")
            .args(["-i", &image, &format!("::/{path}")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{path}: {output:?}");
        output.stdout
    }

    /// Every file of the board has the content of its package, and the manifest says so.
    fn judge_files(&self) {
        let summary = self.manifest.board.as_ref().unwrap();
        let listed: BTreeMap<_, _> = summary
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.sha256.to_string()))
            .collect();
        assert_eq!(listed.len(), self.board.esp.files.len());
        for file in &self.board.esp.files {
            let found = self.on_esp(&file.to);
            let wanted = match (&file.from, &file.path, &file.text) {
                (Some(from), Some(path), _) => self.of_package(from, path),
                (_, _, text) => text.clone().unwrap().into_bytes(),
            };
            assert!(found == wanted, "{}", file.to);
            let copy = self.root.join("copy");
            fs::write(&copy, &found).unwrap();
            let sum = good(tool("sha256sum").arg(&copy));
            assert_eq!(listed[file.to.as_str()], sum[..64], "{}", file.to);
        }
        assert_eq!(summary.artefacts.len(), self.board.artefacts.len());
        for artefact in &self.board.artefacts {
            assert!(
                self.manifest
                    .packages
                    .iter()
                    .all(|p| p.name != artefact.package()),
                "{} is not installed",
                artefact.name
            );
        }
    }

    /// Device trees in the UKI are those of the kernel's package, before the kernel.
    fn judge_uki(&self) {
        let uki = self.out.join(format!(
            "{}_{}.efi",
            self.manifest.id, self.manifest.version
        ));
        let sections = sections(&fs::read(uki).unwrap());
        let trees: Vec<_> = sections
            .iter()
            .filter(|(name, _)| name == ".dtbauto")
            .collect();
        assert_eq!(trees.len(), self.board.devicetrees.len());
        for ((_, found), tree) in trees.iter().zip(&self.board.devicetrees) {
            assert!(
                *found == self.of_package(&tree.from, &tree.path),
                "{}",
                tree.path
            );
            assert_eq!(
                found[..4],
                [0xd0, 0x0d, 0xfe, 0xed],
                "the magic of a device tree"
            );
        }
        let names: Vec<_> = sections.iter().map(|(name, _)| name.as_str()).collect();
        let mut wanted = vec![".osrel", ".cmdline", ".uname"];
        wanted.extend(trees.iter().map(|_| ".dtbauto"));
        wanted.extend([".linux", ".initrd"]);
        assert!(names.ends_with(&wanted), "{names:?}");
        let cmdline = sections
            .iter()
            .find(|(name, _)| name == ".cmdline")
            .unwrap();
        let cmdline = String::from_utf8(cmdline.1.clone()).unwrap();
        let serial = self.board.serial.as_ref().unwrap();
        assert!(
            cmdline.ends_with(&format!("console=tty0 console={serial},115200")),
            "{cmdline}"
        );
    }

    /// The first partition is an ESP of FAT32 that every firmware takes for one.
    fn judge_partition(&self) {
        let verdict = good(tool("sgdisk").arg("--verify").arg(self.disk()));
        assert!(verdict.contains("No problems found"), "{verdict}");
        let first = good(tool("sgdisk").arg("--info=1").arg(self.disk()));
        assert!(
            first.contains("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
            "{first}"
        );
        assert!(first.contains("First sector: 2048 "), "{first}");
        let number = |key: &str| -> u64 {
            let rest = &first[first.find(key).unwrap() + key.len()..];
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        let sectors = number("Partition size: ");
        let esp = self.root.join("esp.img");
        let mut disk = File::open(self.disk()).unwrap();
        disk.seek(SeekFrom::Start(2048 * 512)).unwrap();
        std::io::copy(
            &mut disk.take(sectors * 512),
            &mut File::create(&esp).unwrap(),
        )
        .unwrap();
        let text = good(tool("fsck.vfat").args(["-n", "-v"]).arg(&esp));
        assert!(text.contains("32 bit entries"), "{text}");
        let clusters = text
            .lines()
            .find(|line| line.contains("data clusters"))
            .unwrap();
        let clusters: u32 = clusters.split_whitespace().next().unwrap().parse().unwrap();
        assert!(clusters >= 65_525, "{text}");
        fs::remove_file(&esp).unwrap();
    }

    /// Kind, first sector and sectors of the MBR's entries.
    fn mbr(&self) -> Vec<(u8, u32, u32)> {
        let mut sector = [0; 512];
        File::open(self.disk())
            .unwrap()
            .read_exact(&mut sector)
            .unwrap();
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        sector[446..510]
            .chunks(16)
            .map(|entry| (entry[4], number(&entry[8..12]), number(&entry[12..16])))
            .filter(|entry| entry.0 != 0)
            .collect()
    }
}

/// The sections of a PE file (Microsoft's "PE Format"), by its headers alone.
fn sections(pe: &[u8]) -> Vec<(String, Vec<u8>)> {
    let number = |at: usize, len: usize| {
        let bytes = pe[at..at + len].iter().rev();
        bytes.fold(0_usize, |n, byte| n << 8 | usize::from(*byte))
    };
    let coff = number(0x3c, 4) + 4;
    let table = coff + 20 + number(coff + 16, 2);
    (0..number(coff + 2, 2))
        .map(|index| {
            let at = table + 40 * index;
            let name = String::from_utf8(pe[at..at + 8].to_vec()).unwrap();
            let (size, start) = (number(at + 8, 4), number(at + 20, 4));
            (
                name.trim_end_matches('\0').into(),
                pe[start..start + size].to_vec(),
            )
        })
        .collect()
}

#[test]
fn an_image_for_the_raspberry_pi_4_has_what_its_firmware_looks_for() {
    let image = Image::new(
        "pi",
        &[("pi.yaml", "extends: rpi4\nos: {version: 1.0.0}\n")],
    );
    image.judge_partition();
    image.judge_files();
    image.judge_uki();
    let sectors = fs::metadata(image.disk()).unwrap().len() / 512;
    assert_eq!(image.mbr(), [(0xee, 1, sectors as u32 - 1)]);
    for name in [
        "start4.elf",
        "fixup4.dat",
        "u-boot.bin",
        "EFI/BOOT/BOOTAA64.EFI",
    ] {
        assert!(!image.on_esp(name).is_empty(), "{name}");
    }
    let config = String::from_utf8(image.on_esp("config.txt")).unwrap();
    for line in [
        "arm_64bit=1",
        "enable_uart=1",
        "upstream_kernel=1",
        "kernel=u-boot.bin",
    ] {
        assert!(config.lines().any(|found| found == line), "{config}");
    }
    let notice = String::from_utf8(image.on_esp("licences/raspi-firmware.txt")).unwrap();
    assert!(notice.contains("Raspberry Pi"), "{notice}");
    assert!(!image.manifest.development);

    let packed = tool("sh")
        .args(["-c", "zstd -3 -T2 -q -c \"$1\" | wc -c", "-"])
        .arg(image.disk())
        .output()
        .unwrap();
    let packed: u64 = String::from_utf8_lossy(&packed.stdout)
        .trim()
        .parse()
        .unwrap();
    println!("disk.raw has {packed} bytes behind zstd -3");
    assert!(packed < MOST_COMPRESSED, "{packed}");
    fs::remove_dir_all(&image.root).unwrap();
}

/// Nothing of this board is in the program.
const FICTIONAL: &str = "\
name: fictional
description: A board that nobody has built
arch: arm64
serial: ttyS5
profile:
  kernel:
    package: \"linux-image-{arch}\"
    initrd_modules: [dw_mmc]
  disk: {size: auto, esp: 256 MiB, usr: 512 MiB, verity: 8 MiB, slack: 0}
artefacts:
  - name: loader
    package: u-boot-qemu
    suite: trixie
    version: 2025.01-3+deb13u1
    path: pool/main/u/u-boot/u-boot-qemu_2025.01-3+deb13u1_all.deb
    size: 2330704
    sha256: a3751b5d36a411457b2e7a2834cdce0e5d40493e6588a65d51c5603740a0c71c
    snapshot: 20260912T075541Z
esp:
  files:
    - {to: boot/loader.bin, from: loader, path: usr/lib/u-boot/qemu_arm64/u-boot.bin}
    - {to: fictional.dtb, from: kernel, path: broadcom/bcm2837-rpi-3-b.dtb}
    - {to: settings.txt, text: \"first line\\nsecond line\\n\"}
    - {to: licences/loader.txt, from: loader, path: usr/share/doc/u-boot-qemu/copyright}
devicetrees:
  - {path: broadcom/bcm2837-rpi-3-b.dtb}
partitions: {hybrid_mbr: true}
";

#[test]
fn a_board_that_is_a_yaml_file_alone_is_built() {
    let profile = "extends: container-host\nboard: ./boards/fictional.yaml\nos: {version: 1.0.0}\n\
                   packages: {-include: [containerd, containernetworking-plugins, runc]}\n\
                   kernel: {modules: container-host}\n\
                   root: {units: {-enable: [containerd.service]}}\n";
    let image = Image::new(
        "fictional",
        &[("mine.yaml", profile), ("boards/fictional.yaml", FICTIONAL)],
    );
    image.judge_partition();
    image.judge_files();
    image.judge_uki();
    let esp = 256 << 11;
    assert_eq!(image.mbr(), [(0x0c, 2048, esp), (0xee, 1, 2047)]);
    let entries = good(tool("sgdisk").arg("--print").arg(image.disk()));
    assert!(entries.contains("512.0 MiB"), "{entries}");
    assert_eq!(image.manifest.board.as_ref().unwrap().name, "fictional");

    // A file that the package does not have is named, with what is meant and where it is asked for.
    let broken = FICTIONAL.replace("qemu_arm64/u-boot.bin", "qemu_arm64/uboot.bin");
    fs::write(image.root.join("boards/fictional.yaml"), broken).unwrap();
    let text = crate::support::bad(
        hullwright(&image.root)
            .arg("build")
            .arg(image.root.join("mine.yaml"))
            .args(["--offline", "-o"])
            .arg(image.root.join("out2")),
        2,
    );
    assert!(
        text.contains("has no file `usr/lib/u-boot/qemu_arm64/uboot.bin`"),
        "{text}"
    );
    assert!(
        text.contains("did you mean `usr/lib/u-boot/qemu_arm64/u-boot.bin`?"),
        "{text}"
    );
    assert!(text.contains("fictional.yaml:"), "{text}");
    fs::remove_dir_all(&image.root).unwrap();
}
