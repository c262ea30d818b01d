//! Secure Boot with the owner's keys: what firmware, boot loader and kernel refuse, and what does not
//! change a booted system.
//!
//! Firmware goes through its disks in their order, so one boot shows everything that is refused
//! before a UKI has started: each such thing is on a small disk before the good one.

mod console;
mod keys;
mod tamper;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::slots;
use crate::support::{build, good, hullwright, repository, tool};

const PROFILE: &str = "\
name: trust
extends: container-host
os:
  id: hwtrust
  name: Trust Test
  version: 1.0.0
boot:
  secure_boot_enroll: force
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
        let keys = keys::make(&state, "keys");
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
            state,
            keys,
            out,
            loader,
        }
    }

    fn disk(&self) -> PathBuf {
        self.out.join("disk.raw")
    }

    /// `hullwright run` with Secure Boot on and the variables of `keys`.
    fn run(&self, keys: &Path) -> std::process::Command {
        let mut command = hullwright(&self.state);
        command
            .args(["run", "--secure-boot", "--keys"])
            .arg(keys)
            .arg(self.disk());
        command
    }
}

/// Built once a run, because a build is dear too.
fn release() -> &'static Release {
    static RELEASE: LazyLock<Release> = LazyLock::new(Release::build);
    &RELEASE
}

/// What the report says of `name`.
fn fact<'a>(console: &'a str, name: &str) -> &'a str {
    let head = format!("TRUST {name}=");
    console
        .split_once(&head)
        .and_then(|(_, rest)| rest.split_once(';'))
        .map_or_else(
            || panic!("no {head} in\n{console}"),
            |(value, _)| value.trim(),
        )
}

const REPORTED: &str = "TRUST end=";
/// What ends a boot that should have come up.
const LOST: [&str; 2] = ["Kernel panic", "emergency mode"];

fn assert_enforced(console: &str) {
    assert_eq!(fact(console, "secure-boot"), "enabled (user)", "{console}");
}

/// Everything that is refused before a kernel runs, and at last the good image.
#[test]
fn firmware_refuses_what_was_changed_and_starts_what_was_not() {
    let release = release();
    let state = release.state.as_path();
    let other = keys::make(state, "other");
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
    let sections = [
        ("changed-linux", ".linux"),
        ("changed-initrd", ".initrd"),
        ("changed-cmdline", ".cmdline"),
        ("changed-stub", ".text"),
        ("changed-osrel", ".osrel"),
    ];
    for (name, section) in sections {
        add(name, &|to| tamper::flip(&release.uki, section, to));
    }
    add("unsigned", &|to| tamper::strip(&release.uki, to));
    add("other-key", &|to| {
        tamper::sign_again(&release.uki, &other, to);
    });
    let revoking = file("revoking");
    add("revoked", &|to| {
        let changed = file("changed.efi");
        tamper::flip(&release.uki, ".osrel", &changed);
        tamper::sign_again(&changed, &release.keys, to);
        keys::revoke(&release.keys, to, &revoking);
    });

    let mut command = release.run(&revoking);
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
    let console = console::listen(
        &mut command,
        &file("refused.log"),
        &[REPORTED, LOST[0], LOST[1]],
    );
    println!("{console}");
    let firmware = console.split("EFI stub:").next().unwrap();
    assert!(
        firmware
            .lines()
            .any(|line| line.starts_with("BdsDxe: failed to load Boot")
                && line.ends_with("Access Denied")),
        "the changed boot loader: {firmware}"
    );
    let names = sections.map(|(name, _)| name);
    for name in names.iter().chain(&["unsigned", "other-key", "revoked"]) {
        let refused = |line: &str| {
            line.contains(&format!("\\{name}.efi")) && line.to_lowercase().contains("access denied")
        };
        assert!(firmware.lines().any(refused), "{name}: {firmware}");
    }
    assert_eq!(
        console
            .matches("EFI stub: UEFI Secure Boot is enabled")
            .count(),
        1,
        "{console}"
    );
    assert_enforced(&console);
}

/// A machine in setup mode takes the keys of the image and ends where the others begin.
#[test]
fn a_machine_in_setup_mode_takes_the_keys_of_the_image() {
    let release = release();
    let console = console::listen(
        hullwright(&release.state)
            .args(["run", "--secure-boot=setup"])
            .arg(release.disk()),
        &release.state.join("setup.log"),
        &[REPORTED, LOST[0], LOST[1]],
    );
    println!("{console}");
    assert!(
        console.contains("Custom Secure Boot keys successfully enrolled"),
        "{console}"
    );
    assert_enforced(&console);
}
