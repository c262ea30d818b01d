//! Two architectures in one run make what two runs make, and so does a host of the other one.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::compare::assert_same_output;
use crate::fixture::{fixture, timed};
use crate::support::{cache, exhaustive, good, hullwright, repository, tool};

const BOTH: [&str; 2] = ["x86_64", "arm64"];

/// Images of both architectures from one run, with their locks beside them, made on first use.
struct Both {
    root: PathBuf,
    events: Vec<Value>,
}

fn both() -> &'static Both {
    static BUILT: OnceLock<Both> = OnceLock::new();
    BUILT.get_or_init(|| {
        let fixture = fixture();
        let root = fixture.folder("both");
        let said = timed(
            "both architectures in one run, locking arm64 included",
            || {
                let mut command = hullwright(&root);
                command.args([
                    "build",
                    "qemu",
                    "--json",
                    "--arch",
                    "x86_64,arm64",
                    "--keys",
                ]);
                good(command.arg(&fixture.keys))
            },
        );
        let events = said.lines().map(|line| serde_json::from_str(line).unwrap());
        Both {
            events: events.collect(),
            root,
        }
    })
}

impl Both {
    fn image(&self, arch: &str) -> PathBuf {
        self.root.join(format!("out/qemu-{arch}-0.0.0-dev"))
    }

    /// Builds for `arch` alone, from the same locks, without network.
    fn again(&self, mut program: Command, arch: &str, name: &str) {
        let dir = self.root.join(name);
        fs::create_dir(&dir).unwrap();
        let lock = format!("qemu.{arch}.lock");
        fs::copy(self.root.join(&lock), dir.join(&lock)).unwrap();
        program
            .current_dir(&dir)
            .env("HULLWRIGHT_CACHE", cache())
            .env_remove("SOURCE_DATE_EPOCH")
            .args(["build", "qemu", "--locked", "--offline", "-o", "out"])
            .args(["--arch", arch, "--keys"])
            .arg(&fixture().keys);
        timed(name, || good(&mut program));
        assert_same_output(&self.image(arch), &dir.join("out"));
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn one_run_makes_the_images_that_two_make() {
    let (fixture, both) = (fixture(), both());
    assert_same_output(&fixture.out, &both.image("x86_64"));
    both.again(hullwright(&both.root), "arm64", "arm64 alone");

    let images: Vec<&Value> = both
        .events
        .iter()
        .filter(|e| e["event"] == "image")
        .collect();
    let arches: Vec<&Value> = images.iter().map(|image| &image["arch"]).collect();
    assert_eq!(arches, BOTH);
    let result = both.events.last().unwrap();
    assert_eq!(result["event"], "result");
    assert_eq!(result["images"].as_array().unwrap().len(), 2);

    // The second compiles only what the first did not have.
    let compiled: Vec<u64> = both
        .events
        .iter()
        .filter(|event| event["stage"] == "compile")
        .map(|event| event["bytes"].as_u64().unwrap())
        .collect();
    let manifest = fs::read(both.image("arm64").join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let common = manifest["packages"].as_array().unwrap().iter();
    let common = common
        .filter(|package| package["architecture"] == "all")
        .count();
    assert!(common > 5, "{common} packages for all architectures");
    let lock = fs::read_to_string(both.root.join("qemu.arm64.lock")).unwrap();
    let own: u64 = lock
        .split("\n- name: ")
        .filter(|package| package.contains("\n  architecture: arm64\n"))
        .filter_map(|package| package.split("\n  size: ").nth(1)?.lines().next())
        .map(|size| size.parse::<u64>().unwrap())
        .sum();
    assert!(own > 0 && compiled[1] <= own, "{compiled:?} of {own}");
    println!("           {common} packages compiled once; bytes compiled: {compiled:?}");
}

/// The program as an arm64 host would run it.
fn emulated() -> Command {
    let program = std::env::var_os("HULLWRIGHT_SHIPPED_ARM64").map_or_else(
        || repository().join("target/dist/hullwright-arm64"),
        PathBuf::from,
    );
    assert!(
        program.exists(),
        "{} is missing: `cargo xtask dist --arch arm64`",
        program.display()
    );
    let mut command = tool("qemu-aarch64");
    command.arg(program);
    command
}

#[test]
fn an_arm64_host_makes_the_same_bytes() {
    if !exhaustive() {
        println!("           left out: an emulated build takes minutes (HULLWRIGHT_EXHAUSTIVE)");
        return;
    }
    for arch in BOTH {
        both().again(
            emulated(),
            arch,
            &format!("{arch} on an emulated arm64 host"),
        );
    }
}
