//! Secure Boot with the owner's keys: what firmware, boot loader and kernel refuse, and what does not
//! change a booted system.
//!
//! Firmware goes through its disks in their order, so one boot shows everything that is refused
//! before a UKI has started: each such thing is on a small disk before the good one.

mod arm64;
pub mod console;
mod document;
pub mod keys;
mod root_hash;
mod rotation;
mod tamper;
mod unsigned;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::slots;
use crate::support::{build, exhaustive, good, hullwright, repository, tool};

const PROFILE: &str = "\
name: trust
extends: container-host
os:
  id: hwtrust
  name: Trust Test
  version: 1.0.0
boot:
  secure_boot_enroll: force
  verity_signature: require
root:
  overlay: [files]
  units:
    enable: [hwtest-report.service]
";

const UNIT: &str = "\
[Unit]
Description=Report for the test
[Service]
Type=oneshot
ExecStart=/usr/lib/hwtest/report
[Install]
WantedBy=multi-user.target
";

/// A release image with a voice, and the keys that signed it.
struct Release {
    state: PathBuf,
    keys: PathBuf,
    other: PathBuf,
    out: PathBuf,
    uki: PathBuf,
    loader: PathBuf,
}

impl Release {
    fn build() -> Self {
        // Not a temporary folder: it outlives the test, for a look at what went wrong.
        let state = repository().join("target/test-trust");
        if state.exists() {
            fs::remove_dir_all(&state).unwrap();
        }
        fs::create_dir_all(&state).unwrap();
        let write = |path: &str, mode, text: &str| {
            let path = state.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("trust.yaml", 0o644, PROFILE);
        let unit = "files/usr/lib/systemd/system/hwtest-report.service";
        write(unit, 0o644, UNIT);
        let report = include_str!("report.sh");
        write("files/usr/lib/hwtest/report", 0o755, report);
        let keys = keys::make(&state, "keys", "release");
        let out = state.join("out");
        let keys_argument = keys.to_str().unwrap();
        // A mirror may lag by weeks; that is not what is judged here.
        let arguments = ["--allow-expired", "--keys", keys_argument];
        build(&state, state.join("trust.yaml"), &out, &arguments);
        let loader = state.join("loader.efi");
        good(
            tool("mcopy")
                .arg("-i")
                .arg(slots::esp(&out.join("disk.raw")))
                .arg("::EFI/BOOT/BOOTX64.EFI")
                .arg(&loader),
        );
        Self {
            uki: slots::uki(&out),
            other: keys::make(&state, "other", "release"),
            state,
            keys,
            out,
            loader,
        }
    }

    fn disk(&self) -> PathBuf {
        self.out.join("disk.raw")
    }

    /// A copy of the disk to change.
    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.state.join(name);
        good(
            tool("cp")
                .arg("--sparse=always")
                .arg(self.disk())
                .arg(&copy),
        );
        copy
    }

    /// `hullwright run` of `disk` with Secure Boot on and the variables of `keys`.
    fn run(&self, disk: &Path, keys: &Path) -> Command {
        let mut command = hullwright(&self.state);
        command
            .args(["run", "--secure-boot", "--keys"])
            .arg(keys)
            .arg(disk);
        command
    }
}

/// Built once a run, because a build is dear too.
fn release() -> &'static Release {
    static RELEASE: LazyLock<Release> = LazyLock::new(Release::build);
    &RELEASE
}

/// What the report says of `name`, the last time.
fn fact<'a>(console: &'a str, name: &str) -> &'a str {
    let head = format!("TRUST {name}=");
    console
        .rsplit_once(&head)
        .and_then(|(_, rest)| rest.split_once(';'))
        .map_or_else(
            || panic!("no {head} in\n{console}"),
            |(value, _)| value.trim(),
        )
}

const REPORTED: &str = "TRUST end=";
/// What the kernel's EFI stub says.
const ENFORCED: &str = "EFI stub: UEFI Secure Boot is enabled";
/// What ends listening to a boot that should come up.
const ENDS: [&str; 3] = [REPORTED, "Kernel panic", "emergency mode"];

fn assert_enforced(console: &str) {
    assert_eq!(fact(console, "secure-boot"), "enabled (user)", "{console}");
}

/// Everything that is refused before a kernel runs, at last the good image, and what does not change it.
#[test]
fn firmware_refuses_what_was_changed_and_starts_what_was_not() {
    let release = release();
    let state = release.state.as_path();
    let file = |name: &str| state.join(name);

    let loader = file("changed-loader.efi");
    tamper::flip(&release.loader, ".text", &loader);
    let mut disks = vec![tamper::disk(state, "changed-loader", &loader, &release.uki)];
    let mut add = |name: &str, make: &dyn Fn(&Path)| {
        let entry = file(&format!("{name}.efi"));
        make(&entry);
        disks.push(tamper::disk(state, name, &release.loader, &entry));
        fs::remove_file(entry).unwrap();
    };
    // Every further disk costs seconds.
    let more: &[_] = &[("changed-stub", ".text"), ("changed-osrel", ".osrel")];
    let sections: Vec<_> = [
        ("changed-linux", ".linux"),
        ("changed-initrd", ".initrd"),
        ("changed-cmdline", ".cmdline"),
    ]
    .iter()
    .chain(if exhaustive() { more } else { &[] })
    .collect();
    for (name, section) in &sections {
        add(name, &|to| tamper::flip(&release.uki, section, to));
    }
    add("unsigned", &|to| tamper::strip(&release.uki, to));
    add("other-key", &|to| {
        tamper::sign_again(&release.uki, &release.other, to);
    });
    let revoking = file("revoking");
    add("revoked", &|to| {
        let changed = file("changed.efi");
        tamper::flip(&release.uki, ".osrel", &changed);
        tamper::sign_again(&changed, &release.keys, to);
        keys::revoke(&release.keys, to, &revoking);
    });

    let disk = release.copy("unsigned.raw");
    unsigned::add_to_esp(state, &disk, "hwtrust_1.0.0", &release.keys, &release.other);
    let mut command = release.run(&disk, &revoking);
    unsigned::add_to_machine(&mut command);
    for (index, disk) in disks.iter().enumerate() {
        let drive = format!(
            "if=none,id=bad{index},format=raw,snapshot=on,file={}",
            disk.display()
        );
        let device = format!("virtio-blk-pci,drive=bad{index},bootindex={}", index + 1);
        for argument in ["-drive", &drive, "-device", &device] {
            command.arg(format!("--qemu-arg={argument}"));
        }
    }
    let console = console::listen(&mut command, &file("refused.log"), &ENDS);
    println!("{console}");
    let firmware = console.split("EFI stub:").next().unwrap();
    assert!(
        firmware
            .lines()
            .any(|line| line.starts_with("BdsDxe: failed to load Boot")
                && line.ends_with("Access Denied")),
        "the changed boot loader: {firmware}"
    );
    let refused = |text: &str| {
        firmware
            .lines()
            .any(|line| line.contains(text) && line.to_lowercase().contains("access denied"))
    };
    let names = sections.iter().map(|(name, _)| *name);
    for name in names.chain(["unsigned", "other-key", "revoked"]) {
        assert!(refused(&format!("\\{name}.efi")), "{name}: {firmware}");
    }
    for addon in ["other", "unsigned", "changed"] {
        assert!(
            refused(&format!("'hwtest.addon-{addon}.addon.efi'")),
            "{addon}: {firmware}"
        );
    }
    assert_eq!(console.matches(ENFORCED).count(), 1, "{console}");

    assert_enforced(&console);
    let cmdline = fact(&console, "cmdline");
    let foreign: Vec<_> = cmdline
        .split(' ')
        .filter(|word| word.contains("hwtest"))
        .collect();
    assert_eq!(foreign, ["hwtest.addon-good"], "{cmdline}");
    for name in ["credentials", "extensions", "effects"] {
        assert_eq!(fact(&console, name), "", "{name}: {console}");
    }
}

/// The same in a development image, where the hypervisor may: so the test above sees what it looks for.
#[test]
fn a_development_image_shows_what_a_release_image_does_not_take() {
    if !exhaustive() {
        return;
    }
    let release = release();
    let state = release.state.as_path();
    let text = PROFILE
        .replace("extends: container-host", "extends: [container-host, dev]")
        .replace("name: trust", "name: trust-dev");
    fs::write(state.join("trust-dev.yaml"), text).unwrap();
    let keys = keys::make(state, "dev-keys", "dev");
    let out = state.join("out-dev");
    build(
        state,
        state.join("trust-dev.yaml"),
        &out,
        &["--allow-expired", "--keys", keys.to_str().unwrap()],
    );
    let disk = out.join("disk.raw");
    unsigned::add_to_esp(state, &disk, "hwtrust_1.0.0", &keys, &release.other);
    let mut command = release.run(&disk, &keys);
    unsigned::add_to_machine(&mut command);
    let console = console::listen(&mut command, &state.join("dev.log"), &ENDS);
    println!("{console}");
    assert_enforced(&console);
    assert!(
        fact(&console, "cmdline").contains("hwtest.smbios-stub"),
        "{console}"
    );
    assert!(
        !fact(&console, "cmdline").contains("hwtest.addon-unsigned"),
        "{console}"
    );
    let credentials = fact(&console, "credentials");
    for name in ["hwtest-smbios", "hwtest-fwcfg", "hwtest-own", "hwtest-all"] {
        assert!(credentials.contains(name), "{name}: {credentials}");
    }
    assert_eq!(fact(&console, "effects"), "/run/hwtest-effect");
}

/// What the kernel says of a root hash with a wrong signature, and of one without.
const UNSIGNED: &str = "verity: Root hash verification failed (-ENOKEY)";

/// The kernel panics where `/usr` is another, and takes no root hash that nobody or somebody else signed.
/// One disk shows all: each entry has one try.
#[test]
fn the_kernel_refuses_another_usr_and_root_hashes_without_a_good_signature() {
    let release = release();
    let state = release.state.as_path();
    let disk = release.copy("root-hash.raw");
    root_hash::replace_usr(&disk, &release.out, state);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(release.out.join("manifest.json")).unwrap()).unwrap();
    let hash = manifest["root_hash"].as_str().unwrap();
    let others = root_hash::signature(hash, &release.other, state);
    // All say that they are version 1.0.0; of those the highest file name comes first.
    let add = |entry: &str, change: &dyn Fn(&Path)| {
        let changed = state.join("changed-signature.efi");
        let uki = state.join("changed-signature-signed.efi");
        change(&changed);
        tamper::sign_again(&changed, &release.keys, &uki);
        good(
            tool("mcopy")
                .arg("-i")
                .arg(slots::esp(&disk))
                .arg(&uki)
                .arg(format!("::EFI/Linux/{entry}+1-0.efi")),
        );
    };
    add("hwtrust_1.0.2", &|to| {
        root_hash::put_signature(&release.uki, &others, to);
    });
    add("hwtrust_1.0.1", &|to| {
        root_hash::forget_signature(&release.uki, to);
    });
    let console = console::listen(
        &mut release.run(&disk, &release.keys),
        &state.join("root-hash.log"),
        &[REPORTED, "Kernel panic"],
    );
    println!("{console}");
    let boots: Vec<_> = console.split(ENFORCED).skip(1).collect();
    assert_eq!(boots.len(), 3, "{console}");
    for (boot, why) in boots.iter().zip([UNSIGNED, UNSIGNED, "is corrupted"]) {
        assert!(boot.contains(why), "{why}: {boot}");
        assert!(
            !boot.contains("Reached target initrd-switch-root.target"),
            "{why}: {boot}"
        );
    }
}

/// A machine in setup mode takes the keys of the image and ends where the others begin.
#[test]
fn a_machine_in_setup_mode_takes_the_keys_of_the_image() {
    let release = release();
    // The rest of the boot is that of a machine whose keys were there from the start.
    let end = if exhaustive() { REPORTED } else { ENFORCED };
    let console = console::listen(
        hullwright(&release.state)
            .args(["run", "--secure-boot=setup"])
            .arg(release.disk()),
        &release.state.join("setup.log"),
        &[end, ENDS[1], ENDS[2]],
    );
    println!("{console}");
    assert!(
        console.contains("Custom Secure Boot keys successfully enrolled"),
        "{console}"
    );
    assert!(console.contains(ENFORCED), "{console}");
    if exhaustive() {
        assert_enforced(&console);
    }
}
