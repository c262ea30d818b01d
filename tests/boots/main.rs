//! Guests that really boot. Boots are dear, so each is asked many questions.
#![allow(clippy::disallowed_methods, reason = "tests live in the outside world")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod arm64;
mod container;
mod health;
mod raspberry_pi;
mod removals;
mod script_only;
mod slots;
mod trust;
mod updates;
mod workloads;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{build, exhaustive, good, hullwright, shown};

/// Runs `script` in the guest on the persistent `disk`, with `input` on its stdin.
fn guest(state: &Path, disk: &Path, script: &str, input: &[u8]) -> String {
    guest_with(state, disk, &[], script, input)
}

/// [`guest`] on a machine that `run` has further `arguments` for.
fn guest_with(state: &Path, disk: &Path, arguments: &[&str], script: &str, input: &[u8]) -> String {
    let arguments = [&["--timeout", "1500"], arguments].concat();
    let output = ask_guest(state, disk, &arguments, script, input);
    assert!(output.status.success(), "{script}\n{}", shown(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// As [`guest_with`], with a time limit among the `arguments`, and however it ends.
fn ask_guest(
    state: &Path,
    disk: &Path,
    arguments: &[&str],
    script: &str,
    input: &[u8],
) -> std::process::Output {
    let mut child = hullwright(state)
        .args(["run", "--persist", "--console"])
        .arg(console_log(disk))
        .args(arguments)
        .arg("--exec")
        .arg(script)
        .arg(disk)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    // A guest that failed before it read anything has closed the pipe.
    let _ = feeder.join();
    output
}

fn console_log(disk: &Path) -> PathBuf {
    disk.with_extension("console.log")
}

/// Whether `case` is to run: `HULLWRIGHT_CASES` lists it, or is not set and tests are exhaustive.
fn asked_for(case: &str) -> bool {
    match std::env::var("HULLWRIGHT_CASES") {
        Ok(list) => list.split(',').any(|name| name == case),
        Err(_) => exhaustive(),
    }
}

/// The value of `NAME=…` in the output of a guest script.
fn field<'a>(output: &'a str, name: &str) -> &'a str {
    output
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("no {name}= in\n{output}"))
}

/// What [`assert_healthy`] reads, as `NAME=value` lines.
macro_rules! state {
    () => {
        r#"
echo "state=$(systemctl is-system-running --wait)"
echo "failed=$(systemctl --failed --no-legend --plain | tr '\n' ' ')"
echo "usr=$(findmnt -no FSTYPE,OPTIONS /usr | tr -s ' ')"
echo "source=$(findmnt -no SOURCE /usr)"
echo "verity=$(dmsetup status --target verity usr)"
touch /usr/probe 2>/dev/null && echo "writable=yes" || echo "writable=no"
mount -o remount,rw /usr 2>/dev/null && echo "remount=yes" || echo "remount=no"
. /etc/os-release; echo "version=$IMAGE_VERSION"
echo "started=$(systemd-analyze | tr '\n' ' ')"
echo "multi_user=$(($(systemctl show -P ActiveEnterTimestampMonotonic multi-user.target) / 1000)) ms after the kernel began"
"#
    };
}
use state;

/// What every good boot of an image with SSH shows.
const HEALTH: &str = concat!(
    state!(),
    r#"echo "variant=$VARIANT_ID"
echo "issue=$(tr '\n' ' ' </etc/issue)"
for i in $(seq 60); do ls $(bootctl -p)/EFI/Linux | grep -q "_$IMAGE_VERSION.efi" && break; sleep 1; done
echo "entries=$(ls $(bootctl -p)/EFI/Linux | tr '\n' ' ')"
echo "machine=$(cat /etc/machine-id)"
echo "hostkey=$(cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub)"
echo "upper=$(cd /var/lib/hullwright/etc/upper && find . -type f | sort | tr '\n' ' ')"
echo "root_bytes=$(findmnt -bno SIZE /)"
echo "journal=$(ls -d /var/log/journal/* | wc -l)"
echo "marker=$(cat /etc/marker 2>/dev/null)"
echo "uptime=$(cut -d' ' -f1 /proc/uptime)"
"#
);

fn assert_healthy(output: &str, version: &str) {
    assert_eq!(field(output, "state"), "running", "{output}");
    assert_eq!(field(output, "failed").trim(), "", "{output}");
    let usr = field(output, "usr");
    assert!(usr.starts_with("erofs ro"), "{output}");
    assert_eq!(field(output, "source"), "/dev/mapper/usr", "{output}");
    assert!(field(output, "verity").contains("verity V"), "{output}");
    assert_eq!(field(output, "writable"), "no", "{output}");
    assert_eq!(field(output, "remount"), "no", "{output}");
    assert_eq!(field(output, "version"), version, "{output}");
}

/// One story on one disk, because each chapter is a boot: first boot with a container, second boot on
/// a larger disk, a bad update that rolls back, a good update that stays.
#[test]
fn a_node_boots_runs_a_container_survives_a_bad_update_and_takes_a_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let first = state.join("first");
    build(state, "qemu", &first, &["--set", "os.version=1.0.0"]);
    let disk = state.join("disk.raw");
    good(
        Command::new("cp")
            .arg("--sparse=always")
            .arg(first.join("disk.raw"))
            .arg(&disk),
    );

    let script = format!(
        "{HEALTH}\n{}\necho kept > /etc/marker; sync",
        container::SCRIPT
    );
    let output = guest(state, &disk, &script, &container::oci_image("amd64"));
    println!("{output}");
    assert_healthy(&output, "1.0.0");
    assert_eq!(field(&output, "variant"), "development", "{output}");
    assert!(field(&output, "issue").contains("DEVELOPMENT"), "{output}");
    assert!(
        field(&output, "entries").contains("_1.0.0.efi"),
        "not blessed: {output}"
    );
    assert!(output.contains("HELLO-FROM-CONTAINER"), "{output}");
    for file in field(&output, "upper").split_whitespace() {
        let expected = ["./machine-id", "./.updated", "./.pwd.lock"].contains(&file)
            || file.starts_with("./ssh/ssh_host_");
        assert!(expected, "the first boot wrote {file} to /etc");
    }
    let (machine, hostkey) = (
        field(&output, "machine").to_owned(),
        field(&output, "hostkey").to_owned(),
    );
    let small: u64 = field(&output, "root_bytes").parse().unwrap();

    let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
    file.set_len(file.metadata().unwrap().len() + (3 << 30))
        .unwrap();
    drop(file);
    let output = guest(state, &disk, HEALTH, b"");
    println!("{output}");
    assert_healthy(&output, "1.0.0");
    assert_eq!(field(&output, "machine"), machine);
    assert_eq!(field(&output, "hostkey"), hostkey);
    assert_eq!(field(&output, "marker"), "kept");
    let large: u64 = field(&output, "root_bytes").parse().unwrap();
    assert!(
        large > small + (2 << 30),
        "root did not grow: {small} -> {large}"
    );

    // Bad and good updates are in `updates::story` of every run, by way of releases.
    if !exhaustive() {
        return;
    }
    let broken = state.join("broken");
    build(state, "qemu", &broken, &["--set", "os.version=9.0.0"]);
    slots::make_panic(&broken);
    slots::fill_b(&disk, &broken, "9.0.0");
    let output = guest(state, &disk, HEALTH, b"");
    println!("{output}");
    assert_healthy(&output, "1.0.0");
    assert!(
        field(&output, "entries").contains("_9.0.0+0-3.efi"),
        "{output}"
    );
    let console = fs::read_to_string(console_log(&disk)).unwrap_or_default();
    assert!(
        console.matches("Kernel panic").count() >= 3,
        "expected three panics on the console"
    );

    let second = state.join("second");
    build(state, "qemu", &second, &["--set", "os.version=2.0.0"]);
    slots::remove_entry(&disk, "9.0.0+0-3");
    slots::fill_b(&disk, &second, "2.0.0");
    let output = guest(state, &disk, HEALTH, b"");
    println!("{output}");
    assert_healthy(&output, "2.0.0");
    assert!(
        field(&output, "entries").contains("_2.0.0.efi"),
        "not blessed: {output}"
    );
    assert_eq!(field(&output, "machine"), machine);
    assert_eq!(field(&output, "marker"), "kept");
}

/// A release image has no way in: it is judged from outside.
#[test]
fn a_release_image_passes_the_boot_test_and_a_damaged_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    fs::write(
        state.join("release.yaml"),
        "name: release\nextends: container-host\nos:\n  id: hwtest\n  name: Release Test\n  version: 1.0.0\n",
    )
    .unwrap();
    let out = state.join("out");
    // A mirror may lag by weeks; that is not what is judged here.
    build(
        state,
        state.join("release.yaml"),
        &out,
        &["--allow-expired"],
    );
    let junit = state.join("junit.xml");
    good(
        hullwright(state)
            .arg("test")
            .arg(&out)
            .arg("--junit")
            .arg(&junit),
    );
    let report = fs::read_to_string(&junit).unwrap();
    assert!(report.contains("failures=\"0\""), "{report}");

    slots::flip_byte_of_usr(&out.join("disk.raw"), &out);
    let output = hullwright(state)
        .arg("test")
        .arg(&out)
        .args(["--timeout", "600", "--junit"])
        .arg(&junit)
        .output()
        .unwrap();
    assert!(!output.status.success(), "{}", shown(&output));
    let report = fs::read_to_string(&junit).unwrap();
    assert!(
        report.contains("is corrupted") || report.contains("Kernel panic"),
        "{report}"
    );
}
