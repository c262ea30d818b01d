//! The Raspberry Pi 4's image, as far as QEMU goes: on its `raspi4b` through the board's own U-Boot to a
//! login, and on `virt` with Debian's U-Boot for QEMU, which has the same EFI code, to a container.

mod trim;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{build, good, tool, u_boot};
use crate::trust::console;
use crate::{HEALTH, assert_healthy, container, field, guest_with, slots};

/// The PL011 is the console of QEMU's machine; on a Pi it belongs to Bluetooth.
const PROFILE: &str = "\
name: pi
extends: [rpi4, dev]
os:
  id: hwpi
  name: Raspberry Pi Test
  version: 1.0.0
boot:
  timeout: 2
kernel:
  cmdline: [\"console=ttyAMA0,115200\"]
";

#[test]
fn the_raspberry_pi_image_boots_through_u_boot() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    fs::write(state.join("pi.yaml"), PROFILE).unwrap();
    let out = state.join("out");
    build(state, state.join("pi.yaml"), &out, &[]);
    let disk = out.join("disk.raw");

    let card = state.join("card.raw");
    good(tool("cp").arg("--sparse=always").arg(&disk).arg(&card));
    let console = on_raspi4b(state, &card);
    for expected in [
        "U-Boot",
        "Raspberry Pi Test 1.0.0",
        "device-mapper: verity: sha256",
        "hwpi login:",
        "verity=V",
        "usr=erofs /dev/mapper/usr",
    ] {
        assert!(console.contains(expected), "no `{expected}` in\n{console}");
    }

    let script = format!("{HEALTH}\n{}", container::SCRIPT);
    let image = container::oci_image("arm64");
    File::options()
        .write(true)
        .open(&disk)
        .unwrap()
        .set_len(8 << 30)
        .unwrap();
    let output = guest_with(state, &disk, &["--firmware", &u_boot()], &script, &image);
    println!("{output}");
    assert_healthy(&output, "1.0.0");
    assert!(field(&output, "entries").contains("_1.0.0.efi"), "{output}");
    assert!(output.contains("HELLO-FROM-CONTAINER"), "{output}");
}

/// Boots the card on QEMU's Raspberry Pi with the U-Boot and the trimmed device tree of its own ESP, and
/// returns the console from power-on to what a command at the login says.
fn on_raspi4b(state: &Path, card: &Path) -> String {
    // QEMU's cards have sizes of powers of two.
    File::options()
        .write(true)
        .open(card)
        .unwrap()
        .set_len(4 << 30)
        .unwrap();
    let take = |name: &str| -> PathBuf {
        let file = state.join(name);
        good(
            tool("mcopy")
                .args(["-no", "-i", &slots::esp(card)])
                .arg(format!("::/{name}"))
                .arg(&file),
        );
        file
    };
    let u_boot = take("u-boot.bin");
    let tree = take("bcm2711-rpi-4-b.dtb");
    for line in trim::trim(&tree) {
        println!("trim: {line}");
    }
    let log = state.join("raspi4b.log");
    let output = File::create(&log).unwrap();
    let mut child = tool("qemu-system-aarch64")
        .args(["-M", "raspi4b", "-display", "none", "-monitor", "none"])
        .args(["-serial", "stdio", "-serial", "null"])
        // The others only spin, and starve a small host.
        .args(["-global", "bcm2838.enabled-cpus=1"])
        .arg("-kernel")
        .arg(&u_boot)
        .arg("-dtb")
        .arg(&tree)
        .arg("-drive")
        .arg(format!("if=sd,format=raw,file={}", card.display()))
        .stdin(Stdio::piped())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let begun = Instant::now();
    let read = || console::shown(&log);
    let mut wait_for = |end: &str, limit: u64| {
        let limit = Duration::from_secs(limit);
        while begun.elapsed() < limit && !read().contains(end) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        println!("`{end}` after {:.0} s", begun.elapsed().as_secs_f64());
    };
    wait_for("Welcome to", 600);
    // A login prompt within 600 s is what is promised.
    wait_for("hwpi login:", 600);
    wait_for("root@", 700);
    keyboard
        .write_all(b"\necho usr=$(findmnt -no FSTYPE,SOURCE /usr); echo verity=$(dmsetup status usr | cut -d' ' -f4); echo end=$((40+2))\n")
        .unwrap();
    wait_for("end=42", 800);
    let _ = child.kill();
    let _ = child.wait();
    let console = read();
    println!("{console}");
    console
}
