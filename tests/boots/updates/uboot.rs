//! Nodes under U-Boot, which counts no boots: a new version is tried once at a time, and whatever becomes
//! of it, and whenever the power goes, the good one comes back by itself.

use std::time::{Duration, Instant};

use super::failures::{HANGS, SAYS_NO, STOPS, with_unit};
use super::fleet::{Fleet, Machines, Variant};
use super::node::{BOOT, Node};
use super::power::{Chance, seed};
use super::story::{PANICS, SOUND};
use crate::field;
use crate::support::exhaustive;

/// Boots of this architecture take longer here.
const fn slow(variant: Variant<'static>) -> Variant<'static> {
    Variant {
        timeout: 360,
        ..variant
    }
}

/// A bad version, and what its record must say.
struct Bad {
    name: &'static str,
    variant: Variant<'static>,
    reason: &'static str,
}

const BAD: &[Bad] = &[
    Bad {
        name: "a kernel that hangs",
        // The kernel of clouds has no driver for the watchdog of this machine.
        variant: Variant {
            files: &[("usr/lib/systemd/system/hwtest-bad.service", 0o644, STOPS)],
            more: "kernel:\n  package: linux-image-arm64\n",
            timeout: 360,
        },
        reason: "",
    },
    Bad {
        name: "a health check that fails",
        variant: slow(with_unit(&[(
            "usr/lib/hullwright/health.d/50-test",
            0o755,
            SAYS_NO,
        )])),
        reason: "the test says no",
    },
    Bad {
        name: "a start that never ends",
        variant: slow(with_unit(&[(
            "usr/lib/systemd/system/hwtest-bad.service",
            0o644,
            HANGS,
        )])),
        reason: "hwtest-bad.service",
    },
];

/// The node is up, verified, blessed, and runs `version`.
fn assert_sound(node: &mut Node, version: &str) {
    let text = node.good(SOUND);
    assert_eq!(field(&text, "state"), "running failed=", "{text}");
    assert_eq!(field(&text, "verity"), "V", "{text}");
    assert_eq!(field(&text, "usr"), "erofs /dev/mapper/usr", "{text}");
    assert_eq!(field(&text, "version"), version, "{text}");
    let blessed = format!("hwfleet_{version}.efi");
    let entries: Vec<&str> = field(&text, "entries").split_whitespace().collect();
    assert!(entries.contains(&blessed.as_str()), "{text}");
}

fn install(fleet: &Fleet) -> Node {
    fleet.cut("1.0.0", &[]);
    let mut node = Node::under_u_boot(&fleet.state, &fleet.image("1.0.0"), "node");
    node.start();
    node.wait_for("1.0.0", BOOT);
    assert_sound(&mut node, "1.0.0");
    node
}

fn policy(node: &mut Node, reboot: &str) {
    node.good(&format!(
        "sed -i '/^reboot=/d' /etc/hullwright/update.conf; echo reboot={reboot} >>/etc/hullwright/update.conf"
    ));
}

/// Has the node take the version `bad`, and waits until it has given it up by itself.
fn gives_up(node: &mut Node, fleet: &Fleet, kind: &Bad, bad: &str, good: &str) {
    fleet.cut_with(bad, &kind.variant);
    let said = node.good("hullwright-update update; ls /boot/EFI/Linux /boot/hullwright/attempts");
    assert!(said.contains(&format!("hwfleet_{bad}+0-0.efi")), "{said}");
    assert!(said.contains(&format!("\n{bad}.1")), "{said}");
    let before = fleet.server.sent();
    policy(node, "immediate");
    let begun = Instant::now();
    node.reboot();
    let mut boot = node.next_boot(3 * BOOT);
    let mut spoke = 0;
    let record = loop {
        if boot.version != good {
            spoke += 1;
            boot = node.next_boot(3 * BOOT);
            continue;
        }
        // It reboots into the next try as soon as it is found good itself.
        let script = format!(
            "systemctl is-system-running --wait; sleep 15; cat /var/lib/hullwright/failed/{bad} || sleep 60"
        );
        match node.try_ask(&script, 2 * BOOT) {
            Some(answer) if answer.output.contains("reason=") => break answer.output,
            Some(_) => {}
            None => boot = node.boots.last().unwrap().clone(),
        }
    };
    eprintln!(
        "{}: given up after {:.0?}, {spoke} boots of it spoke",
        kind.name,
        begun.elapsed()
    );
    eprintln!("{}", record.lines().take(5).collect::<Vec<_>>().join("\n"));
    assert!(record.contains(kind.reason), "{record}");
    assert_eq!(
        fleet.server.sent(),
        before,
        "it was not to be fetched again"
    );
    assert_sound(node, good);
    let entries = node.good("ls /boot/EFI/Linux");
    assert!(entries.contains(&format!("{bad}+0-2.efi")), "{entries}");
    policy(node, "off");
    let again = node.good("hullwright-update update; ls /boot/EFI/Linux");
    assert!(!again.contains(&format!("{bad}+0-0")), "{again}");
}

/// Has the node take `version`, which stays.
fn takes(node: &mut Node, fleet: &Fleet, version: &str) {
    fleet.cut(version, &[]);
    node.good("hullwright-update update");
    node.reboot();
    assert_eq!(node.next_boot(2 * BOOT).version, version);
    assert_sound(node, version);
}

#[test]
fn bad_versions_end_in_the_one_before_and_a_good_one_stays() {
    let fleet = Fleet::of("u-boot", Machines::UBoot);
    let mut node = install(&fleet);
    let panics = Bad {
        name: "a kernel that panics",
        variant: PANICS,
        reason: "",
    };
    gives_up(&mut node, &fleet, &panics, "1.1.0", "1.0.0");
    if exhaustive() {
        takes(&mut node, &fleet, "1.2.0");
        node.reboot();
        node.wait_for("1.2.0", BOOT);
        assert_sound(&mut node, "1.2.0");
        for (number, bad) in (3..).zip(BAD) {
            gives_up(&mut node, &fleet, bad, &format!("1.{number}.0"), "1.2.0");
        }
        takes(&mut node, &fleet, "1.8.0");
        node.restart_by("hullwright-update rollback");
        node.wait_for("1.2.0", BOOT);
        assert_sound(&mut node, "1.2.0");
        takes(&mut node, &fleet, "1.9.0");
    } else {
        // Cuts while it boots first, and while a try is ordered. Where it comes up all the same, it stays.
        fleet.cut("1.2.0", &[]);
        many_tries(&mut node);
        let mut chance = Chance(seed());
        let versions = ["1.0.0", "1.2.0"];
        let mut running = versions[0];
        for moment in [3, 1] {
            if running == versions[0] {
                let what = cut(&mut node, &mut chance, moment, versions[1]);
                running = one_is_up(&mut node, versions, &what);
            }
        }
        if running == versions[0] {
            node.good("hullwright-update update");
            node.reboot();
            assert_eq!(node.next_boot(2 * BOOT).version, versions[1]);
            assert_sound(&mut node, versions[1]);
        }
    }
    node.stop();
    std::fs::remove_dir_all(&fleet.state).unwrap();
}

/// What the node is doing when the power goes; `N` is the version that is not running.
const MOMENTS: &[(&str, &str)] = &[
    (
        "an update is installed",
        "rm -f /boot/EFI/Linux/hwfleet_N+0-*.efi; hullwright-update update --retry N",
    ),
    (
        "a try is ordered and called off, again and again",
        ". /usr/lib/hullwright/update-lib.sh; load_settings; while :; do arm N; disarm N; done",
    ),
    (
        "an entry is renamed, again and again",
        ". /usr/lib/hullwright/update-lib.sh; _esp=/boot; remount dirsync; cd /boot/EFI/Linux; \
         rm -f /boot/hullwright/attempts/N.*; while :; do \
         mv -T hwfleet_N+0-0.efi hwfleet_N.efi; mv -T hwfleet_N.efi hwfleet_N+0-0.efi; done",
    ),
];

/// Cuts the power at a moment of this kind, and switches it on again; `other` is not running, and newer.
/// Returns what was cut.
fn cut(node: &mut Node, chance: &mut Chance, moment: u64, other: &str) -> String {
    node.good(&format!("hullwright-update update --retry {other}"));
    let (what, after) = match moment {
        0..3 => {
            let (what, script) = MOMENTS[usize::try_from(moment).unwrap()];
            let script = script.replace('N', other);
            node.good(&format!(
                "systemd-run --no-block --unit hwtest bash -c {script:?}"
            ));
            (what, chance.below(15_000))
        }
        3 => {
            node.reboot();
            ("a first boot", chance.below(90_000))
        }
        _ => {
            node.reboot();
            assert_eq!(node.next_boot(BOOT).version, other);
            ("a first boot that becomes good", chance.below(40_000))
        }
    };
    off_and_on(node, after);
    format!("{what}, {after} ms")
}

fn off_and_on(node: &mut Node, after: u64) {
    std::thread::sleep(Duration::from_millis(after));
    node.cut();
    node.start();
}

/// One of the two versions is up and sound; which one.
fn one_is_up<'a>(node: &mut Node, versions: [&'a str; 2], what: &str) -> &'a str {
    let boot = node.next_boot(2 * BOOT);
    eprintln!("cut: {what}: up in {}", boot.version);
    let running = versions
        .into_iter()
        .find(|version| boot.version == *version)
        .unwrap();
    assert_sound(node, running);
    running
}

/// Each cut costs a try, and one version is cut again and again.
fn many_tries(node: &mut Node) {
    node.good("echo tries=99 >>/etc/hullwright/update.conf");
}

#[test]
fn whenever_the_power_goes_one_version_boots() {
    // Two cuts are in the story of every run.
    if !exhaustive() {
        return;
    }
    let seed = seed();
    eprintln!("HULLWRIGHT_SEED={seed}");
    let mut chance = Chance(seed);
    let fleet = Fleet::of("u-boot-power", Machines::UBoot);
    let mut node = install(&fleet);
    many_tries(&mut node);
    let versions = ["1.0.0", "2.0.0"];
    fleet.cut(versions[1], &[]);
    let mut running = versions[0];
    for number in 1..=20 {
        let what = if running == versions[0] {
            let moment = chance.below(5);
            cut(&mut node, &mut chance, moment, versions[1])
        } else {
            // The newer one stays once it was found good: what is left to be cut is a rollback.
            node.good("systemd-run --no-block --unit hwtest hullwright-update rollback");
            let after = chance.below(6_000);
            off_and_on(&mut node, after);
            format!("a rollback, {after} ms")
        };
        running = one_is_up(&mut node, versions, &format!("{number}: {what}"));
    }
    if running == versions[0] {
        node.good("hullwright-update update --retry 2.0.0");
        node.reboot();
        node.wait_for(versions[1], BOOT);
        assert_sound(&mut node, versions[1]);
    }
    node.stop();
    std::fs::remove_dir_all(&fleet.state).unwrap();
}
