//! Builds that follow a build: with nothing changed, with one line changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compare::assert_same_output;
use crate::fixture::{Fixture, fixture, timed};
use crate::support::{good, hullwright};

/// What a person was told, and which file the disk image is.
fn built(command: &mut Command, dir: &Path) -> (String, u64) {
    let said = timed("a build", || good(command.args(["-o", "out"])));
    let disk = fs::metadata(dir.join("out/disk.raw")).unwrap();
    (said, disk.ino())
}

#[test]
fn a_build_that_would_change_nothing_writes_nothing() {
    let fixture = fixture();
    let dir = fixture.folder("unchanged");
    let (_, first) = built(&mut fixture.build_warm(&dir), &dir);
    let (said, same) = built(&mut fixture.build_warm(&dir), &dir);
    assert!(said.contains("unchanged"), "{said}");
    assert_eq!(first, same);
    let (said, other) = built(fixture.build_warm(&dir).arg("--rebuild"), &dir);
    assert!(!said.contains("unchanged"), "{said}");
    assert_ne!(other, same);
    assert_same_output(&fixture.out, &dir.join("out"));

    // Whoever touches an output wants it back; so does whoever lost one.
    fs::write(dir.join("out/manifest.json"), "{}").unwrap();
    built(&mut fixture.build_warm(&dir), &dir);
    assert_same_output(&fixture.out, &dir.join("out"));
    fs::remove_file(dir.join("out/usr.verity")).unwrap();
    built(&mut fixture.build_warm(&dir), &dir);
    assert_same_output(&fixture.out, &dir.join("out"));

    let (said, _) = built(
        fixture
            .build_warm(&dir)
            .args(["--set", "root.hostname=other"]),
        &dir,
    );
    assert!(!said.contains("unchanged"), "{said}");
}

/// The profile of the fixture with one more file, in a folder of its own.
fn with_overlay(fixture: &Fixture, name: &str, text: &str) -> PathBuf {
    let dir = fixture.folder(name);
    fs::rename(dir.join("qemu.x86_64.lock"), dir.join("mine.x86_64.lock")).unwrap();
    fs::create_dir_all(dir.join("files/usr/lib")).unwrap();
    fs::write(dir.join("files/usr/lib/marker"), text).unwrap();
    let profile = "name: mine\nextends: qemu\nroot: {overlay: [files]}\n";
    fs::write(dir.join("mine.yaml"), profile).unwrap();
    dir
}

/// Builds it with a cache of its own.
fn mine(fixture: &Fixture, dir: &Path) -> Command {
    let mut command = hullwright(dir);
    command
        .env("HULLWRIGHT_CACHE", dir.join("cache"))
        .args(["build", "mine.yaml", "--locked", "--offline", "--keys"])
        .arg(&fixture.keys)
        .arg("--from")
        .arg(&fixture.inputs);
    command
}

#[test]
fn a_changed_line_makes_the_bytes_that_a_build_from_nothing_makes() {
    let fixture = fixture();
    let warm = with_overlay(fixture, "changed", "before\n");
    built(&mut mine(fixture, &warm), &warm);
    fs::write(warm.join("files/usr/lib/marker"), "after\n").unwrap();
    let (said, _) = built(&mut mine(fixture, &warm), &warm);
    assert!(!said.contains("unchanged"), "{said}");
    let cold = with_overlay(fixture, "from-nothing", "after\n");
    built(&mut mine(fixture, &cold), &cold);
    assert_same_output(&cold.join("out"), &warm.join("out"));
}
