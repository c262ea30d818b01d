//! Does what `docs/secure-boot.md` says, command by command. Each section begins in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};

use super::{console, tamper};
use crate::slots;
use crate::support::document::{Desk, commands};
use crate::support::{good, hullwright, tool};

const DOCUMENT: &str = include_str!("../../../docs/secure-boot.md");

const PROFILE: &str = "\
name: my-host
extends: container-host
os:
  id: my-host
  name: My Host
  version: 1.4.2
";

/// Commands that end with a running machine, and the words by which it shows what the document says.
const MACHINES: [(&str, &str); 3] = [
    ("hullwright run changed.raw", "Access denied"),
    ("hullwright run out/", "UEFI Secure Boot is enabled"),
    ("qemu-system-x86_64", "UEFI Secure Boot is enabled"),
];

/// A place to follow the document in.
struct Reader(Desk);

impl Reader {
    fn new(name: &str) -> Self {
        let mut desk = Desk::new(name, PROFILE);
        let digest = "ab".repeat(32);
        desk.instead("--sha256 HEX", &format!("--sha256 {digest}"));
        // A mirror may lag by weeks; that is not what is judged here.
        desk.instead("hullwright build", "hullwright build --allow-expired");
        Self(desk)
    }

    fn dir(&self) -> &Path {
        &self.0.dir
    }

    fn follow(&self, section: &str) -> usize {
        let commands = commands(DOCUMENT, section, "$ ");
        for command in &commands {
            println!("$ {command}");
            let mut shell = self.0.shell(command);
            match MACHINES.iter().find(|(head, _)| command.starts_with(head)) {
                Some((_, expected)) => {
                    let log = self.dir().join("console.log");
                    let seen = console::listen(&mut shell, &log, &[expected]);
                    assert!(seen.contains(expected), "{command}\n{seen}");
                }
                None => {
                    println!("{}", good(&mut shell));
                }
            }
            if command.starts_with("hullwright build") {
                self.change_a_byte();
            }
        }
        commands.len()
    }

    /// What the reader has besides: a disk, and a copy of it whose UKI has one byte changed.
    fn change_a_byte(&self) {
        let out = self.image();
        let copy = |name: &str| {
            let to = self.dir().join(name);
            let from = out.join("disk.raw");
            good(tool("cp").arg("--sparse=always").arg(from).arg(&to));
            to
        };
        copy("disk.raw");
        let changed = copy("changed.raw");
        let uki = self.dir().join("changed.efi");
        tamper::flip(&slots::uki(&out), ".linux", &uki);
        let entry = "::EFI/Linux/my-host_1.4.2+3-0.efi";
        let mut mcopy = tool("mcopy");
        mcopy.arg("-o").arg("-i").arg(slots::esp(&changed));
        good(mcopy.arg(&uki).arg(entry));
    }

    fn image(&self) -> PathBuf {
        self.dir().join("out/my-host-x86_64-1.4.2")
    }
}

fn copy(from: &Path, to: &Path) {
    good(tool("cp").args(["-a", "--sparse=always"]).arg(from).arg(to));
}

#[test]
fn every_command_of_the_secure_boot_guide_does_what_it_says() {
    let keys = Reader::new("keys");
    assert!(keys.follow("Keys") >= 4);
    assert!(keys.dir().join("safe/owner/PK.key").exists());
    assert!(!keys.dir().join("keys/owner").exists());

    let machine = Reader::new("machine");
    assert!(machine.follow("Trying it in a virtual machine") >= 7);

    // The reader has keys, whose owner's half is in the safe, and an image by now.
    let rotation = Reader::new("rotation");
    for name in ["keys", "safe"] {
        fs::remove_dir_all(rotation.dir().join(name)).ok();
        copy(&keys.dir().join(name), &rotation.dir().join(name));
    }
    copy(&machine.dir().join("out"), &rotation.dir().join("out"));
    assert!(rotation.follow("Rotation and revocation") >= 5);
    let checked = hullwright(rotation.dir())
        .args(["keys", "check", "keys", "--owner", "safe/owner"])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
