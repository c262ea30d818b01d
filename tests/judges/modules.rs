//! The modules and the firmware that `kernel.modules` and `kernel.firmware` keep, before kmod.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use hullwright::uki::Pe;

use crate::fixture::{now, timed};
use crate::image::Inside;
use crate::support::{bad, good, shipped, trixie_tool};

/// A folder with keys, and the profiles of this judge.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().unwrap();
    let keys = desk.path().join("keys");
    hullwright::sign::keys::generate(
        &keys,
        hullwright::sign::keys::KeyProfile::Development,
        now(),
    )
    .unwrap();
    desk
}

fn command(desk: &Path, words: &[&str], profile: &str) -> Command {
    fs::write(desk.join("p.yaml"), profile).unwrap();
    let mut command = shipped(desk);
    command.args([words[0], "p.yaml"]).args(&words[1..]);
    command.args(["--keys", "keys"]);
    command
}

/// The image of `profile`, its `/usr` unpacked to `lib` and the like inside the trixie tree.
fn unpacked(desk: &Path, name: &str, profile: &str) -> Inside {
    timed(&format!("a build of {name}"), || {
        good(&mut command(desk, &["build", "-o", "out"], profile))
    });
    let inside = Inside::new(&format!("judges-modules-{name}"));
    fs::copy(desk.join("out/usr.erofs"), inside.0.join("usr.erofs")).unwrap();
    let mut fsck = trixie_tool("fsck.erofs");
    good(fsck.args([
        &format!("--extract={}/usr", inside.1),
        &format!("{}/usr.erofs", inside.1),
    ]));
    inside
}

/// Names of the modules below `dir`, and the folder's own name, the kernel's version.
fn modules(usr: &Path) -> (String, BTreeSet<String>) {
    let dir = usr.join("lib/modules");
    let mut versions = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap());
    let version = versions.next().unwrap().file_name();
    let mut names = BTreeSet::new();
    let mut todo = vec![dir.join(&version)];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else if let Some((name, _)) = name.split_once(".ko") {
                names.insert(name.replace('-', "_"));
            }
        }
    }
    (version.into_string().unwrap(), names)
}

/// Asks modprobe for all modules of an image: each can be loaded, with files that are there.
fn assert_loadable(inside: &Inside) -> BTreeSet<String> {
    // modprobe looks into /lib below its root.
    let usr = inside.0.join("usr");
    let (version, names) = modules(&usr);
    for name in &names {
        let mut modprobe = trixie_tool("modprobe");
        let shown = good(modprobe.args([
            "--dry-run",
            "--show-depends",
            "-S",
            &version,
            "-d",
            &format!("{}/usr", inside.1),
            name,
        ]));
        for line in shown.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("builtin") => {}
                Some("insmod") => {
                    let path = words.next().unwrap();
                    let path = path.strip_prefix(&inside.1).unwrap();
                    let path = inside.0.join(path.trim_start_matches('/'));
                    assert!(path.is_file(), "{name}: {line}");
                }
                _ => panic!("{name}: {line}"),
            }
        }
    }
    names
}

/// Names of the modules of the initrd.
fn of_initrd(out: &Path) -> BTreeSet<String> {
    let mut files = fs::read_dir(out)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let uki = files.find(|path| path.extension() == Some("efi".as_ref()));
    let uki = fs::read(uki.unwrap()).unwrap();
    let initrd = Pe::parse(&uki).unwrap().section(".initrd").unwrap();
    let mut names = BTreeSet::new();
    hullwright::initrd::list(initrd, |entry| {
        let name = String::from_utf8_lossy(entry.name);
        if let Some(name) = name.strip_suffix(".ko") {
            names.insert(name.rsplit('/').next().unwrap().replace('-', "_"));
        }
        Ok(())
    })
    .unwrap();
    names
}

#[test]
fn every_module_of_minimal_can_be_loaded_and_has_what_the_initrd_has() {
    let desk = desk();
    let inside = unpacked(
        desk.path(),
        "minimal",
        "extends: minimal\nos: {version: 1.0.0}\n",
    );
    let names = assert_loadable(&inside);
    for wanted in [
        "overlay",
        "virtio_blk",
        "veth",
        "nf_tables",
        "bridge",
        "softdog",
    ] {
        assert!(names.contains(wanted), "{wanted}");
    }
    for gone in ["btrfs", "kvm", "irqbypass", "sunrpc", "bcachefs"] {
        assert!(!names.contains(gone), "{gone}");
    }
    let initrd = of_initrd(&desk.path().join("out"));
    assert!(initrd.len() > 10);
    let missing: Vec<_> = initrd.difference(&names).collect();
    assert!(missing.is_empty(), "only the initrd has {missing:?}");
    println!("{} modules, {} in the initrd", names.len(), initrd.len());
}

/// A server with the kernel for all machines, and free firmware.
const SERVER: &str = "\
extends: qemu
kernel:
  package: linux-image-{arch}
  modules: [container-host, isci]
  firmware: modules
packages: {include: [firmware-linux-free]}
";

#[test]
fn the_kernel_for_all_machines_keeps_what_the_set_names_and_the_firmware_of_that() {
    let desk = desk();
    let inside = unpacked(desk.path(), "server", SERVER);
    let names = assert_loadable(&inside);
    for wanted in [
        "e1000e",
        "mlx5_core",
        "megaraid_sas",
        "usb_storage",
        "ast",
        "tpm_crb",
        "isci",
    ] {
        let builtin = fs::read_to_string(
            inside
                .0
                .join("usr/lib/modules")
                .join(modules(&inside.0.join("usr")).0)
                .join("modules.builtin"),
        )
        .unwrap();
        assert!(
            names.contains(wanted) || builtin.contains(&format!("/{wanted}.ko")),
            "{wanted}"
        );
    }
    for gone in ["i915", "snd_hda_intel", "bluetooth", "usbdux"] {
        assert!(!names.contains(gone), "{gone}");
    }
    let firmware = inside.0.join("usr/lib/firmware");
    let there = |name: &str| {
        ["", ".xz", ".zst"]
            .iter()
            .any(|end| firmware.join(format!("{name}{end}")).is_file())
    };
    assert!(there("isci/isci_firmware.bin"));
    assert!(!there("usbdux_firmware.bin") && !there("keyspan_pda/keyspan_pda.fw"));
    println!("{} modules", names.len());
}

#[test]
fn what_the_kernel_does_not_have_and_what_is_cut_off_are_errors_with_their_lines() {
    let desk = desk();
    let failed = |status: i32, more: &str| {
        let profile = format!("extends: minimal\nos: {{version: 1.0.0}}\n{more}");
        bad(&mut command(desk.path(), &["size"], &profile), status)
    };
    for (status, more, wanted) in [
        (
            2,
            "kernel: {modules: [virtio_nte]}\n",
            &["p.yaml:3:", "has no module `virtio_nte`", "`virtio_net`"][..],
        ),
        (
            2,
            "kernel: {modules: [contaner-host]}\n",
            &["has no module `contaner-host`", "`container-host`"],
        ),
        (
            2,
            "kernel: {modules: [\"!btrsf\"]}\n",
            &["has no module `btrsf`", "`!btrfs`"],
        ),
        (
            2,
            "kernel: {modules: [\"kernel/not/here/**\"]}\n",
            &["has no module that matches `kernel/not/here/**`"],
        ),
        (
            2,
            "kernel: {firmware: [\"not/here/**\"]}\n",
            &["p.yaml:3:", "ships firmware that matches `not/here/**`"],
        ),
        (
            5,
            "kernel: {modules: [kvm_intel]}\nroot: {prune: [\"/usr/lib/modules/*/kernel/arch/x86/kvm/kvm.*\"]}\n",
            &[
                "kvm_intel needs kvm: root.prune: `/usr/lib/modules/*/kernel/arch/x86/kvm/kvm.*`",
                "p.yaml:4",
            ],
        ),
        (
            5,
            "root: {prune: [\"/usr/lib/modules/*/kernel/drivers/block/virtio_blk.*\"]}\n",
            &[
                "the initrd is to have virtio_blk",
                "root.prune: `/usr/lib/modules/*",
            ],
        ),
        (
            5,
            "root: {initrd_only: [\"/usr/lib/modules/*/kernel/drivers/md/dm-mod.*\"]}\n",
            &["needs dm_mod: root.initrd_only:"],
        ),
    ] {
        let said = failed(status, more);
        for part in wanted {
            assert!(said.contains(part), "{more}: {said}");
        }
    }
}
