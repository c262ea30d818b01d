//! One node over several versions: what a fleet sees in a year, on one disk.

use std::fs;
use std::time::{Duration, Instant};

use super::fleet::{Fleet, Variant, payload};
use super::node::{BOOT, Node};
use super::server::Fault;
use crate::field;
use crate::support::exhaustive;

/// What must not change over updates: local edits, data, keys and numbers.
pub const KEPT: &str = r#"
cat /etc/motd.local /var/lib/workload/data
sha256sum /etc/ssh/ssh_host_*_key | cut -c1-64
cat /etc/machine-id
for user in systemd-network systemd-resolve systemd-timesync messagebus sshd; do id "$user"; done
"#;

/// Everything that may be wrong with a node that is up.
pub const SOUND: &str = r#"
state=$(systemctl is-system-running --wait)
. /usr/lib/os-release
echo "state=$state failed=$(systemctl --failed --no-legend --plain | tr '\n' ';')"
echo "verity=$(dmsetup status --target verity usr | cut -d' ' -f4)"
echo "usr=$(findmnt -no FSTYPE,SOURCE /usr | tr -s ' ')"
echo "secure=$(bootctl status 2>/dev/null | sed -n 's/^ *Secure Boot: //p')"
echo "entries=$(ls /boot/EFI/Linux | tr '\n' ' ')"
echo "version=$IMAGE_VERSION"
"#;

/// A kernel that finds no initrd, and so panics before anything could keep a trace of it.
pub const PANICS: Variant<'_> = Variant {
    files: &[],
    more: "kernel:\n  cmdline: [noinitrd]\n",
    timeout: 360,
};

/// The node is up, verified, blessed, and runs `version`.
pub fn assert_sound(node: &mut Node, version: &str) {
    let text = node.good(SOUND);
    assert_eq!(field(&text, "state"), "running failed=", "{text}");
    assert_eq!(field(&text, "verity"), "V", "{text}");
    assert_eq!(field(&text, "usr"), "erofs /dev/mapper/usr", "{text}");
    assert_eq!(field(&text, "secure"), "enabled (user)", "{text}");
    assert_eq!(field(&text, "version"), version, "{text}");
    let blessed = format!("hwfleet_{version}.efi");
    let entries: Vec<&str> = field(&text, "entries").split_whitespace().collect();
    assert!(entries.contains(&blessed.as_str()), "{text}");
}

/// Has the node install what is newest, and tells how long it took and what was sent.
pub fn update(node: &mut Node, fleet: &Fleet) -> (Duration, u64) {
    let before = fleet.server.sent();
    let begun = Instant::now();
    let said = node.good("hullwright-update update");
    eprintln!("{said}");
    (begun.elapsed(), fleet.server.sent() - before)
}

/// One fault of the server or of the way to it: the update fails, and nothing new would boot.
fn refused(node: &mut Node, name: &str) {
    let begun = Instant::now();
    let answer = node.ask("timeout 300 hullwright-update update");
    eprintln!(
        "{name}: status {} after {:.0?}: {}",
        answer.status,
        begun.elapsed(),
        answer.output.lines().last().unwrap_or_default()
    );
    assert!(
        ![0, 124].contains(&answer.status),
        "{name}: {}",
        answer.output
    );
    let entries = node.good("ls /boot/EFI/Linux");
    assert!(!entries.contains("2.0.0"), "{name}: {entries}");
}

#[test]
fn a_node_goes_from_version_to_version_and_comes_back_from_bad_ones() {
    let fleet = Fleet::new("story");
    fleet.cut("1.0.0", &[("etc/hwtest-default", 0o644, "default of 1\n")]);
    let mut node = Node::install(&fleet.state, &fleet.keys, &fleet.image("1.0.0"), "node");
    node.start();
    node.wait_for("1.0.0", BOOT);
    assert_sound(&mut node, "1.0.0");
    node.good(
        "echo edited by hand > /etc/motd.local; mkdir /var/lib/workload; echo data > /var/lib/workload/data",
    );
    let kept = node.good(KEPT);

    let old = fleet.snapshot("only-1.0.0");
    fleet.cut(
        "2.0.0",
        &[
            ("etc/hwtest-default", 0o644, "default of 2\n"),
            ("etc/hwtest-new", 0o644, "new in 2\n"),
        ],
    );
    faults(&fleet, &mut node);

    let (time, bytes) = update(&mut node, &fleet);
    eprintln!(
        "1.0.0 -> 2.0.0: {time:.1?}, {bytes} bytes sent, payload {} bytes",
        payload(&fleet.folder(), "2.0.0")
    );
    node.reboot();
    node.wait_for("2.0.0", BOOT);
    assert_sound(&mut node, "2.0.0");
    assert_eq!(node.good(KEPT), kept);
    assert_eq!(
        node.good("cat /etc/hwtest-default /etc/hwtest-new"),
        "default of 2\nnew in 2"
    );

    // An index from before 2.0.0, though rightly signed.
    fleet.server.serve(&old);
    let replay = node.ask("hullwright-update update");
    assert_ne!(replay.status, 0, "{}", replay.output);
    assert!(replay.output.contains("serial"), "{}", replay.output);
    fleet.server.serve(&fleet.tree);

    // 1: a kernel that finds no initrd panics three times.
    fleet.cut_with("2.1.0", &PANICS);
    update(&mut node, &fleet);
    node.reboot();
    let begun = Instant::now();
    assert_eq!(node.wait_for("2.0.0", 3 * BOOT), 0, "{:?}", node.boots);
    eprintln!("three panics and back: {:.0?}", begun.elapsed());
    assert_sound(&mut node, "2.0.0");
    let record = node.good("cat /var/lib/hullwright/failed/2.1.0");
    eprintln!("{record}");
    assert!(record.contains("reason="), "{record}");
    let again = node.good("hullwright-update update");
    assert!(
        !node.good("ls /boot/EFI/Linux").contains("2.1.0+3"),
        "{again}"
    );

    fleet.cut("3.0.0", &[("etc/hwtest-default", 0o644, "default of 3\n")]);
    let (time, bytes) = update(&mut node, &fleet);
    eprintln!("2.0.0 -> 3.0.0: {time:.1?}, {bytes} bytes sent");
    node.reboot();
    node.wait_for("3.0.0", BOOT);
    assert_sound(&mut node, "3.0.0");
    assert_eq!(node.good(KEPT), kept);
    assert_eq!(node.good("cat /etc/hwtest-default"), "default of 3");
    if exhaustive() {
        roll_back(&fleet, &mut node);
    }
    node.stop();
    fs::remove_dir_all(&fleet.state).unwrap();
}

/// By hand, and on again: what was given up is not taken again, what is newer is.
fn roll_back(fleet: &Fleet, node: &mut Node) {
    node.restart_by("hullwright-update rollback");
    node.wait_for("2.0.0", BOOT);
    assert_sound(node, "2.0.0");
    let status = node.good("hullwright-update status; hullwright-update history");
    assert!(status.contains("rolled back by hand"), "{status}");
    node.good("hullwright-update update");
    assert!(
        !node.good("ls /boot/EFI/Linux").contains("3.0.0+3"),
        "{status}"
    );
    node.good("hullwright-update pin");
    fleet.cut("4.0.0", &[]);
    node.good("hullwright-update update");
    assert!(!node.good("ls /boot/EFI/Linux").contains("4.0.0"));
    node.good("hullwright-update unpin");
    update(node, fleet);
    // Nobody restarts it: the next window does.
    node.good("echo reboot=window >>/etc/hullwright/update.conf");
    node.wait_for("4.0.0", BOOT);
    assert_sound(node, "4.0.0");
    let history = node.good("hullwright-update history");
    assert!(history.contains("in a maintenance window"), "{history}");
}

/// Servers as bad as they get, while 2.0.0 is to be had.
fn faults(fleet: &Fleet, node: &mut Node) {
    let all: &[(&str, &str, Fault)] = &[
        (
            "a payload that is not what was signed",
            ".usr.raw",
            Fault::Flip,
        ),
        ("half a UKI", ".efi", Fault::Truncate),
        ("sums that were changed", "SHA256SUMS", Fault::Flip),
        (
            "a signature that was changed",
            "SHA256SUMS.gpg",
            Fault::Flip,
        ),
        ("a hotel's network", "/", Fault::Redirect),
        (
            "garbage instead of the hash tree",
            ".vty.raw",
            Fault::Garbage,
        ),
        ("a server that breaks", "/", Fault::Broken),
        ("a payload that is gone", ".usr.raw", Fault::Missing),
        ("a server that stalls", ".usr.raw", Fault::Stall),
    ];
    // Each costs up to a download.
    let few = if exhaustive() { all.len() } else { 4 };
    for (name, part, fault) in &all[..few] {
        fleet.server.break_(part, *fault);
        refused(node, name);
        fleet.server.mend();
    }
    if exhaustive() {
        node.ask("dd if=/dev/zero of=/boot/full bs=1M; sync");
        refused(node, "a full ESP");
        node.good("rm /boot/full; sync");
    }
}
