//! Machines and profiles that are too small, and two builds at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::compare::{assert_same_output, names};
use crate::fixture::{fixture, give, timed};
use crate::support::{bad, good, shown, tool};

const STRANGER: u32 = 12_345;

/// An error fits on a screen, and is no panic.
fn assert_readable(error: &str) {
    assert!(error.contains("error: "), "{error}");
    assert!(error.lines().count() < 24, "{error}");
    for word in ["panicked", "RUST_BACKTRACE", "defect in hullwright"] {
        assert!(!error.contains(word), "{error}");
    }
}

/// A small file system of its own, unmounted with the value.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn new(at: PathBuf, options: &str) -> Self {
        fs::create_dir(&at).unwrap();
        let mut mount = tool("mount");
        good(mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at));
        Self(at)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = tool("umount").arg(&self.0).status();
    }
}

#[test]
fn a_slot_that_is_too_small_is_named_with_the_numbers() {
    let fixture = fixture();
    let dir = fixture.folder("small-slot");
    let mut build = fixture.build_warm(&dir);
    let error = timed("a slot of 64 MiB", || {
        bad(build.args(["--set", "disk.usr=64MiB", "-o", "out"]), 6)
    });
    println!("{error}");
    assert_readable(&error);
    let needed = fixture.out.join("usr.erofs").metadata().unwrap().len();
    let numbers = [needed.to_string(), (64 << 20).to_string()];
    for word in ["`disk.usr`", &numbers[0], &numbers[1]] {
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(names(&dir), ["qemu.x86_64.lock"]);
}

#[test]
fn a_full_disk_under_the_output_is_named_and_left_empty() {
    let fixture = fixture();
    let dir = fixture.folder("full-output");
    let disk = Tmpfs::new(dir.join("mnt"), "size=60m");
    let mut build = fixture.build_warm(&dir);
    let error = timed("60 MiB for the output", || {
        bad(build.arg("-o").arg(disk.0.join("out")), 7)
    });
    println!("{error}");
    assert_readable(&error);
    assert!(error.contains("No space left"), "{error}");
    assert!(error.contains("hint: "), "{error}");
    assert!(names(&disk.0).is_empty(), "{:?}", names(&disk.0));
}

#[test]
fn a_full_disk_under_the_cache_is_named_and_holds_nothing_half() {
    let fixture = fixture();
    let dir = fixture.folder("full-cache");
    let disk = Tmpfs::new(dir.join("mnt"), "size=20m");
    let mut build = fixture.build(&dir);
    build.env("HULLWRIGHT_CACHE", &disk.0).args(["-o", "out"]);
    let error = timed("20 MiB for the cache", || bad(&mut build, 7));
    println!("{error}");
    assert_readable(&error);
    assert!(error.contains("No space left"), "{error}");
    assert!(error.contains("HULLWRIGHT_CACHE"), "{error}");
    assert_eq!(names(&dir), ["mnt", "qemu.x86_64.lock"]);
    assert_cache_whole(&disk.0);
}

/// Everything under its hash has that hash, and no temporary file is left.
fn assert_cache_whole(cache: &Path) {
    for shard in names(&cache.join("downloads")) {
        let shard = cache.join("downloads").join(shard);
        for name in names(&shard) {
            let found = hullwright::store::hash_file(&shard.join(&name)).unwrap();
            assert_eq!(found.to_string(), name);
        }
    }
    let left: Vec<String> = names(&cache.join("tmp"))
        .into_iter()
        .filter(|name| name != ".lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_folder_that_is_not_writable_is_named_at_once() {
    let fixture = fixture();
    let dir = fixture.folder("read-only");
    let (program, keys) = fixture.for_user(&dir, STRANGER);
    let closed = dir.join("closed");
    fs::create_dir(&closed).unwrap();
    give(&closed, 0);
    let mounted = Tmpfs::new(dir.join("mounted"), "size=1m,ro");
    for parent in [&closed, &mounted.0] {
        let mut build = tool("setpriv");
        build
            .args(["--reuid", &STRANGER.to_string()])
            .args(["--regid", &STRANGER.to_string(), "--clear-groups"])
            .arg(&program)
            .args(["build", "qemu", "--locked", "--offline", "--keys"])
            .arg(&keys)
            .arg("--from")
            .arg(&fixture.inputs)
            .arg("-o")
            .arg(parent.join("out"))
            .env("HULLWRIGHT_CACHE", dir.join("cache"))
            .current_dir(&dir);
        let error = bad(&mut build, 7);
        println!("{error}");
        assert_readable(&error);
        assert!(error.contains(parent.to_str().unwrap()), "{error}");
        assert!(error.contains("--output"), "{error}");
        assert!(names(parent).is_empty());
    }
}

#[test]
fn two_builds_at_once_share_a_cache_and_agree() {
    let fixture = fixture();
    let dir = fixture.folder("two");
    let mut start = |name: &str| {
        let mut build = fixture.build(&dir);
        build.args(["-o", name]);
        build.stdout(Stdio::piped()).stderr(Stdio::piped());
        build.spawn().unwrap()
    };
    timed("two builds at once, one cold cache", || {
        // Two into one place as well: whichever is last is whole.
        for child in ["one", "two"].map(&mut start) {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", shown(&output));
        }
    });
    assert_same_output(&fixture.out, &dir.join("one"));
    assert_same_output(&fixture.out, &dir.join("two"));
    assert_eq!(names(&dir), ["cache", "one", "qemu.x86_64.lock", "two"]);
    assert_cache_whole(&dir.join("cache"));
}
