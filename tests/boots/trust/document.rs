//! Does what `docs/secure-boot.md` says, command by command. Each section begins in a folder of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{console, tamper};
use crate::slots;
use crate::support::{cache, good, hullwright, repository, tool};

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

/// The commands of the section `title`: what stands behind `$ `, with its continuation lines.
fn commands(title: &str) -> Vec<String> {
    let (_, rest) = DOCUMENT.split_once(&format!("\n## {title}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let mut out: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in section.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            out.push(command.to_owned());
        } else if goes_on {
            let command = out.last_mut().unwrap();
            command.push('\n');
            command.push_str(line);
        } else {
            continue;
        }
        goes_on = line.ends_with('\\');
    }
    out
}

/// A place to follow the document in, with `hullwright` on the path.
struct Desk {
    dir: PathBuf,
}

impl Desk {
    fn new(name: &str) -> Self {
        let dir = repository().join("target/test-document").join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        fs::create_dir_all(dir.join("safe")).unwrap();
        fs::create_dir_all(dir.join("bin")).unwrap();
        let program = dir.join("bin/hullwright");
        let text = format!(
            "#!/bin/sh\nexec {} \"$@\"\n",
            env!("CARGO_BIN_EXE_hullwright")
        );
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.join("my-host.yaml"), PROFILE).unwrap();
        Self { dir }
    }

    /// A shell with `command`, in which a few things stand for those of the document's reader.
    fn shell(&self, command: &str) -> Command {
        let digest = "ab".repeat(32);
        let command = command
            .replace("/media/safe", self.dir.join("safe").to_str().unwrap())
            .replace("--sha256 HEX", &format!("--sha256 {digest}"))
            // A mirror may lag by weeks; that is not what is judged here.
            .replace("hullwright build", "hullwright build --allow-expired");
        let mut shell = tool("bash");
        let path = std::env::var("PATH").unwrap();
        shell
            .args(["-euc", &format!("exec {command}")])
            .current_dir(&self.dir)
            .env("PATH", format!("{}:{path}", self.dir.join("bin").display()))
            .env("HULLWRIGHT_CACHE", cache())
            .env("HULLWRIGHT_STATE", self.dir.join("state"))
            .env("HULLWRIGHT_PASSPHRASE", "correct horse battery staple")
            .env_remove("HULLWRIGHT_KEYS");
        shell
    }

    fn follow(&self, section: &str) -> usize {
        let commands = commands(section);
        for command in &commands {
            println!("$ {command}");
            match MACHINES.iter().find(|(head, _)| command.starts_with(head)) {
                Some((_, expected)) => {
                    let log = self.dir.join("console.log");
                    let seen = console::listen(&mut self.shell(command), &log, &[expected]);
                    assert!(seen.contains(expected), "{command}\n{seen}");
                }
                None => {
                    println!("{}", good(&mut self.shell(command)));
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
            let to = self.dir.join(name);
            let from = out.join("disk.raw");
            good(tool("cp").arg("--sparse=always").arg(from).arg(&to));
            to
        };
        copy("disk.raw");
        let changed = copy("changed.raw");
        let uki = self.dir.join("changed.efi");
        tamper::flip(&slots::uki(&out), ".linux", &uki);
        let entry = "::EFI/Linux/my-host_1.4.2+3-0.efi";
        let mut mcopy = tool("mcopy");
        mcopy.arg("-o").arg("-i").arg(slots::esp(&changed));
        good(mcopy.arg(&uki).arg(entry));
    }

    fn image(&self) -> PathBuf {
        self.dir.join("out/my-host-x86_64-1.4.2")
    }
}

fn copy(from: &Path, to: &Path) {
    good(tool("cp").args(["-a", "--sparse=always"]).arg(from).arg(to));
}

#[test]
fn every_command_of_the_secure_boot_guide_does_what_it_says() {
    let keys = Desk::new("keys");
    assert!(keys.follow("Keys") >= 4);
    assert!(keys.dir.join("safe/owner/PK.key").exists());
    assert!(!keys.dir.join("keys/owner").exists());

    let machine = Desk::new("machine");
    assert!(machine.follow("Trying it in a virtual machine") >= 7);

    // The reader has keys, whose owner's half is in the safe, and an image by now.
    let rotation = Desk::new("rotation");
    for name in ["keys", "safe"] {
        fs::remove_dir_all(rotation.dir.join(name)).ok();
        copy(&keys.dir.join(name), &rotation.dir.join(name));
    }
    copy(&machine.dir.join("out"), &rotation.dir.join("out"));
    assert!(rotation.follow("Rotation and revocation") >= 5);
    let checked = hullwright(&rotation.dir)
        .args(["keys", "check", "keys", "--owner", "safe/owner"])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
