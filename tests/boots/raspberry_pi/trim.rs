//! A device tree of a real Raspberry Pi 4, without what QEMU's `raspi4b` does not have. QEMU and dtc say
//! what that is; the list of trims stands in docs/raspberry-pi-4.md.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::support::{good, tool};

/// Address ranges of a bus and where the processor sees them (`ranges` of /soc and /scb in bcm2711.dtsi).
const WINDOWS: &[(u64, u64, u64)] = &[
    (0x7e00_0000, 0xfe00_0000, 0x0180_0000),
    (0x7c00_0000, 0xfc00_0000, 0x0200_0000),
    (0x4000_0000, 0xff80_0000, 0x0080_0000),
];

/// What the processors of QEMU's machine see: first and last address of each device and memory.
fn mapped() -> Vec<(u64, u64)> {
    let mut child = tool("qemu-system-aarch64")
        .args(["-M", "raspi4b", "-S", "-display", "none", "-serial", "null"])
        .args(["-monitor", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut monitor = child.stdin.take().unwrap();
    monitor.write_all(b"info mtree -f\nquit\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut ours = false;
    let mut all = Vec::new();
    for line in text.lines() {
        if line.starts_with("FlatView") {
            ours = false;
        }
        ours |= line.contains("\"cpu-memory-0\"");
        let range = line.trim_start().split_once(" (prio ");
        if let (true, Some((range, rest))) = (ours, range)
            && let Some((first, last)) = range.split_once('-')
            && ["i/o)", "ram)", "rom)", "romd)"]
                .iter()
                .any(|kind| rest.contains(kind))
        {
            let number = |hex: &str| u64::from_str_radix(hex, 16).unwrap();
            all.push((number(first), number(last)));
        }
    }
    assert!(all.len() > 10, "{text}");
    all
}

fn seen_by_processor(address: u64) -> u64 {
    WINDOWS
        .iter()
        .find(|(bus, _, size)| (*bus..bus + size).contains(&address))
        .map_or(address, |(bus, processor, _)| address - bus + processor)
}

/// The names of the nodes below `path`.
fn children(tree: &Path, path: &str) -> Vec<String> {
    let text = good(tool("fdtget").arg("-l").arg(tree).arg(path));
    text.lines().map(str::to_owned).collect()
}

fn has(tree: &Path, path: &str, property: &str) -> bool {
    let text = good(tool("fdtget").arg("-p").arg(tree).arg(path));
    text.lines().any(|line| line == property)
}

fn put(tree: &Path, path: &str, property: &str, values: &[&str]) {
    good(
        tool("fdtput")
            .args(["-t", "s"])
            .arg(tree)
            .args([path, property])
            .args(values),
    );
}

fn drop_property(tree: &Path, path: &str, property: &str) {
    if has(tree, path, property) {
        good(tool("fdtput").arg("-d").arg(tree).args([path, property]));
    }
}

fn drop_node(tree: &Path, path: &str) {
    good(tool("fdtput").arg("-r").arg(tree).arg(path));
}

/// Trims `tree` in place, and returns what was done, one line a trim.
pub fn trim(tree: &Path) -> Vec<String> {
    let mapped = mapped();
    let mut done = Vec::new();
    for bus in ["/soc", "/scb"] {
        for name in children(tree, bus) {
            let address = name
                .split_once('@')
                .map(|(_, hex)| u64::from_str_radix(hex, 16));
            let Some(Ok(address)) = address else { continue };
            let address = seen_by_processor(address);
            if !mapped
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&address))
            {
                let path = format!("{bus}/{name}");
                put(tree, &path, "status", &["disabled"]);
                done.push(format!("disabled, because QEMU has nothing there: {path}"));
            }
        }
    }
    for processor in ["cpu@1", "cpu@2", "cpu@3"] {
        drop_node(tree, &format!("/cpus/{processor}"));
        done.push(format!(
            "removed, because one processor is enough: {processor}"
        ));
    }
    let uart = "/soc/serial@7e201000";
    for name in children(tree, uart) {
        drop_node(tree, &format!("{uart}/{name}"));
        done.push(format!(
            "removed, because it takes the serial port away: {uart}/{name}"
        ));
    }
    put(tree, "/soc/serial@7e215040", "status", &["disabled"]);
    put(tree, "/chosen", "stdout-path", &["serial0:115200n8"]);
    done.push(
        "the mini-UART is disabled, because Linux locks up on QEMU's; the console is the PL011"
            .into(),
    );
    put(tree, "/gpu", "status", &["disabled"]);
    done.push(
        "the GPU is disabled, because the display parts that it is made of are not there".into(),
    );
    put(tree, "/soc/watchdog@7e100000", "status", &["disabled"]);
    done.push(
        "the watchdog is disabled, because QEMU's resets the machine when it is armed".into(),
    );
    let card = "/soc/mmc@7e300000";
    for name in children(tree, "/soc")
        .into_iter()
        .filter(|name| name.starts_with("mmc"))
    {
        for property in ["vmmc-supply", "vqmmc-supply", "mmc-pwrseq", "non-removable"] {
            drop_property(tree, &format!("/soc/{name}"), property);
        }
    }
    put(tree, card, "status", &["okay"]);
    done.push(format!(
        "{card} has the card, without regulators, which QEMU's firmware does not have"
    ));
    // systemd-stub takes the tree of the UKI whose first `compatible` is the firmware's.
    put(
        tree,
        "/",
        "compatible",
        &["qemu,raspi4b", "raspberrypi,4-model-b", "brcm,bcm2711"],
    );
    done.push(
        "/compatible begins with qemu,raspi4b, so that the UKI's own tree is not taken".into(),
    );
    done
}
