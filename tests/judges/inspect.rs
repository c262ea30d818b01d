//! `inspect` against the kernel's EROFS, mtools, objcopy and damage.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use hullwright::disk::GptTable;

use crate::support::{bad, build, good, hullwright, tool};

/// A built image: the one that `HULLWRIGHT_TEST_IMAGE` names, or one made now.
fn image() -> &'static Path {
    static OUT: OnceLock<PathBuf> = OnceLock::new();
    OUT.get_or_init(|| {
        if let Some(out) = std::env::var_os("HULLWRIGHT_TEST_IMAGE") {
            return out.into();
        }
        // Kept for the other tests of this process.
        let dir = tempfile::tempdir().unwrap().keep();
        let out = dir.join("out");
        build(&dir, "qemu", &out, &[]);
        out
    })
}

fn inspect(words: &[&str]) -> Command {
    let mut command = hullwright(&std::env::temp_dir());
    command.arg("inspect").arg(image()).args(words);
    command
}

fn bytes(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

struct Mount(tempfile::TempDir);

impl Mount {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = tool("mount");
        mount.args(["-t", "erofs", "-o", "loop,ro"]);
        good(mount.arg(image().join("usr.erofs")).arg(dir.path()));
        Self(dir)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = tool("umount").arg(self.0.path()).status();
    }
}

#[test]
fn inspect_reads_usr_as_the_kernel_does() {
    let mount = Mount::new();
    let root = mount.0.path();
    for (path, below) in [
        ("/usr/lib/os-release", "lib/os-release"),
        ("/etc/passwd", "share/factory/etc/passwd"),
        ("/bin/containerd", "bin/containerd"),
        ("/usr/bin/bash", "bin/bash"),
        (
            "/lib/x86_64-linux-gnu/libc.so.6",
            "lib/x86_64-linux-gnu/libc.so.6",
        ),
    ] {
        let found = bytes(&mut inspect(&["cat", path]));
        assert!(found == fs::read(root.join(below)).unwrap(), "{path}");
    }
    let listed = good(&mut inspect(&["--json", "ls", "-r", "/usr"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let mut ours: Vec<String> = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let size = if text("kind") == "dir" {
                0
            } else {
                entry["size"].as_u64().unwrap()
            };
            let mode = u32::from_str_radix(&text("mode"), 8).unwrap();
            let path = text("path").replacen("/usr/", "", 1);
            let (uid, gid, target) = (&entry["uid"], &entry["gid"], text("target"));
            format!("{path} {mode:o} {uid}:{gid} {size} {target}")
        })
        .collect();
    let mut find = tool("find");
    find.arg(root).args(["-mindepth", "1"]);
    let format = [
        "-type",
        "d",
        "-printf",
        "%P %m %U:%G 0 \n",
        "-o",
        "-printf",
        "%P %m %U:%G %s %l\n",
    ];
    let found = good(find.args(format));
    let mut theirs: Vec<String> = found.lines().map(str::to_owned).collect();
    ours.sort();
    theirs.sort();
    assert!(ours.len() > 1000);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn inspect_reads_the_esp_and_the_uki_as_others_do() {
    let disk = image().join("disk.raw");
    let table = GptTable::read(&mut fs::File::open(&disk).unwrap()).unwrap();
    let at = table.by_name("esp").unwrap().offset();
    let mut copy = tool("mtype");
    copy.arg("-i").arg(format!("{}@@{at}", disk.display()));
    let theirs = bytes(copy.arg("::/EFI/BOOT/BOOTX64.EFI"));
    assert!(bytes(&mut inspect(&["cat", "esp:/EFI/BOOT/BOOTX64.EFI"])) == theirs);

    let facts = good(&mut inspect(&["--json"]));
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    let verity = &facts["usr"][0]["verity"];
    let hash = verity["root_hash"].as_str().unwrap();
    let mut judge = tool("veritysetup");
    judge.arg("verify");
    judge.args([image().join("usr.erofs"), image().join("usr.verity")]);
    good(judge.arg(hash));
    assert_eq!(verity["trusted_by"].as_array().unwrap().len(), 1);
    assert_eq!(verity["partuuids_match"], true);

    // The initrd unpacks, and holds what starts the machine.
    let names = good(&mut inspect(&["ls", "-r", "initrd:/"]));
    assert!(names.contains("/usr/lib/systemd/systemd\n"), "{names}");
}

#[test]
fn a_flipped_bit_is_found() {
    good(&mut inspect(&["verify"]));
    let dir = tempfile::tempdir().unwrap();
    for name in ["usr.erofs", "usr.verity"] {
        let mut copy = tool("cp");
        good(copy.arg(image().join(name)).arg(dir.path()));
    }
    let uki = fs::read_dir(image())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "efi"))
        .unwrap();
    let ours = dir.path().join(uki.file_name().unwrap());
    fs::copy(&uki, &ours).unwrap();
    let verify = || {
        let mut command = hullwright(dir.path());
        command.arg("inspect").arg(dir.path()).arg("verify");
        command
    };
    good(&mut verify());
    for (path, at, words) in [
        (
            dir.path().join("usr.erofs"),
            5_000_000,
            "block 1220 of the image is damaged",
        ),
        (
            dir.path().join("usr.verity"),
            200_000,
            "block 48 of the hash device is damaged",
        ),
        (ours, 3_000_000, "changed after it was signed"),
    ] {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        let flip = |byte: u8| file.write_all_at(&[byte], at).unwrap();
        flip(byte[0] ^ 4);
        let error = bad(&mut verify(), 4);
        assert!(error.contains(words), "{error}");
        flip(byte[0]);
    }
    good(&mut verify());
}

#[test]
fn what_is_not_in_the_image_is_told_apart() {
    let error = bad(&mut inspect(&["cat", "/usr/lib/os-relase"]), 2);
    assert!(
        error.contains("did you mean /usr/lib/os-release?"),
        "{error}"
    );
    let error = bad(&mut inspect(&["ls", "/var/log"]), 2);
    assert!(error.contains("holds /usr"), "{error}");
    let error = bad(&mut inspect(&["ls", "esp:/EFI/Linx"]), 2);
    assert!(error.contains("did you mean esp:/EFI/Linux?"), "{error}");
}
