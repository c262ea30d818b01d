//! Releases that are rightly signed and bad all the same, and slots that go bad later. After each the
//! node is back in a good version by itself, and takes the next good one.

use std::time::Instant;

use super::fleet::{Fleet, Variant};
use super::node::{BOOT, Node};
use super::story::{PANICS, assert_sound, update};
use crate::{asked_for, exhaustive};

pub const HANGS: &str = "\
[Unit]
Description=A start job that never ends
Before=multi-user.target
[Service]
Type=oneshot
ExecStart=sleep infinity
TimeoutStartSec=infinity
[Install]
WantedBy=multi-user.target
";

const PANICS_LATER: &str = "\
[Unit]
Description=A panic
[Service]
Type=oneshot
ExecStart=bash -c 'echo c > /proc/sysrq-trigger'
[Install]
WantedBy=multi-user.target
";

/// PID 1 catches the signal, and freezes.
const FREEZES: &str = "\
[Unit]
Description=The end of PID 1
[Service]
Type=oneshot
ExecStart=kill -SEGV 1
[Install]
WantedBy=multi-user.target
";

/// The kernel stops for good, with all processors: only the watchdog is left. (Real-time loops no longer
/// do that: Linux 6.12 keeps a share of each processor for everybody else.)
pub const STOPS: &str = "\
[Unit]
Description=A kernel that does nothing any more
[Service]
Type=oneshot
ExecStart=bash -c 'sysctl -w kernel.panic=0; echo c > /proc/sysrq-trigger'
[Install]
WantedBy=multi-user.target
";

pub const SAYS_NO: &str = "#!/bin/sh\necho the test says no\nexit 1\n";

/// A bad release, what its record must say, and how many of its boots speak at most.
struct Case {
    number: u32,
    name: &'static str,
    variant: Variant<'static>,
    reason: &'static str,
}

pub const fn with_unit(unit: &'static [super::fleet::File<'static>]) -> Variant<'static> {
    Variant {
        files: unit,
        more: "",
        timeout: 150,
    }
}

const CASES: &[Case] = &[
    Case {
        number: 1,
        name: "a UKI that panics",
        variant: PANICS,
        reason: "",
    },
    Case {
        number: 1,
        name: "a panic that leaves its last words in the firmware",
        variant: with_unit(&[(
            "usr/lib/systemd/system/hwtest-bad.service",
            0o644,
            PANICS_LATER,
        )]),
        reason: "sysrq triggered crash",
    },
    Case {
        number: 2,
        name: "userspace that hangs",
        variant: with_unit(&[("usr/lib/systemd/system/hwtest-bad.service", 0o644, HANGS)]),
        reason: "hwtest-bad.service",
    },
    Case {
        number: 2,
        name: "a PID 1 that freezes",
        variant: with_unit(&[("usr/lib/systemd/system/hwtest-bad.service", 0o644, FREEZES)]),
        reason: "",
    },
    Case {
        number: 3,
        name: "a kernel that hangs",
        variant: with_unit(&[("usr/lib/systemd/system/hwtest-bad.service", 0o644, STOPS)]),
        reason: "",
    },
    Case {
        number: 4,
        name: "a health check that fails",
        variant: with_unit(&[("usr/lib/hullwright/health.d/50-test", 0o755, SAYS_NO)]),
        reason: "the test says no",
    },
];

/// Writes into a slot of `version` as a dying disk does: single bits, all over the data.
fn rot(node: &mut Node, version: &str) {
    node.good(&format!(
        "part=/dev/disk/by-partlabel/hwfleet_usr_{version}; blocks=$(($(blockdev --getsize64 $part) / 4096)); \
         [ $blocks -gt 30000 ] && blocks=30000; at=64; \
         while [ $at -lt $blocks ]; do \
         byte=$(dd if=$part bs=1 skip=$((at * 4096 + 100)) count=1 status=none | od -An -tu1); \
         printf \"\\\\$(printf %03o $((byte ^ 64)))\" | dd of=$part bs=1 seek=$((at * 4096 + 100)) conv=notrunc status=none; \
         at=$((at + 997)); done; sync"
    ));
}

#[test]
fn every_bad_release_ends_in_the_version_before_and_the_next_one_is_taken() {
    // The panic is in the story of every run, and rot in `health`.
    let chosen: Vec<&Case> = CASES
        .iter()
        .filter(|case| asked_for(&case.number.to_string()))
        .collect();
    let rot = exhaustive() || asked_for("rot");
    if chosen.is_empty() && !rot {
        return;
    }
    let fleet = Fleet::new("failures");
    fleet.cut("1.0.0", &[]);
    let mut node = Node::install(&fleet.state, &fleet.keys, &fleet.image("1.0.0"), "node");
    node.start();
    node.wait_for("1.0.0", BOOT);
    assert_sound(&mut node, "1.0.0");
    let mut good = "1.0.0".to_owned();
    let mut minor = 0;
    for case in chosen {
        minor += 1;
        let bad = format!("1.{minor}.0");
        fleet.cut_with(&bad, &case.variant);
        update(&mut node, &fleet);
        node.reboot();
        let begun = Instant::now();
        let spoke = node.wait_for(&good, 4 * BOOT);
        eprintln!(
            "{}: {}: back in {good} after {:.0?}, {spoke} boots spoke",
            case.number,
            case.name,
            begun.elapsed()
        );
        assert_sound(&mut node, &good);
        let record = node.good(&format!("cat /var/lib/hullwright/failed/{bad}"));
        eprintln!("{}", record.lines().take(4).collect::<Vec<_>>().join("\n"));
        assert!(record.contains(case.reason), "{record}");
        // What failed is not taken again; what is newer is.
        node.ask("hullwright-update update");
        assert!(
            !node
                .good("ls /boot/EFI/Linux")
                .contains(&format!("{bad}+3"))
        );
        minor += 1;
        good = format!("1.{minor}.0");
        fleet.cut(&good, &[]);
        update(&mut node, &fleet);
        node.reboot();
        node.wait_for(&good, BOOT);
        assert_sound(&mut node, &good);
    }
    if rot {
        rotten(&fleet, &mut node, &good, minor);
    }
    node.stop();
    std::fs::remove_dir_all(&fleet.state).unwrap();
}

/// Bits flip in a slot before its first boot, and in the running slot long after it was blessed.
fn rotten(fleet: &Fleet, node: &mut Node, good: &str, mut minor: u32) {
    let mut next = || {
        minor += 1;
        let version = format!("1.{minor}.0");
        fleet.cut(&version, &[]);
        version
    };
    let before_blessing = next();
    update(node, fleet);
    rot(node, &before_blessing);
    node.reboot();
    let begun = Instant::now();
    node.wait_for(good, 4 * BOOT);
    eprintln!("5: rot before blessing: back after {:.0?}", begun.elapsed());
    assert_sound(node, good);

    let blessed = next();
    update(node, fleet);
    node.reboot();
    node.wait_for(&blessed, BOOT);
    assert_sound(node, &blessed);
    rot(node, &blessed);
    // What is cached would still read well, and an orderly end would need what is not.
    node.restart_by("sync; echo b > /proc/sysrq-trigger");
    let begun = Instant::now();
    node.wait_for(good, 6 * BOOT);
    eprintln!(
        "6: rot long after: back in {good} after {:.0?}",
        begun.elapsed()
    );
    assert_sound(node, good);
    let record = node.good(&format!("cat /var/lib/hullwright/failed/{blessed}"));
    eprintln!("{record}");

    let last = next();
    update(node, fleet);
    node.reboot();
    node.wait_for(&last, BOOT);
    assert_sound(node, &last);
}
