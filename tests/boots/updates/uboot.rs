//! Nodes under U-Boot, which counts no boots: a new version is tried once at a time, and whatever becomes
//! of it, and whenever the power goes, the good one comes back by itself.

use std::time::{Duration, Instant};

use super::failures::{HANGS, SAYS_NO, SPINS, with_unit};
use super::fleet::{Fleet, Machines, Variant};
use super::node::{BOOT, Node};
use super::power::{Chance, seed};
use super::story::{PANICS, SOUND};
use crate::field;
use crate::support::exhaustive;

/// The kernel of clouds has no driver for the watchdog of this machine.
const HANGS_WITH_WATCHDOG: Variant<'_> = Variant {
    files: &[("usr/lib/systemd/system/hwtest-bad.service", 0o644, SPINS)],
    more: "kernel:\n  package: linux-image-arm64\n",
    timeout: 360,
};

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

/// Has the node take `bad`, and waits until it has given it up by itself.
fn gives_up(node: &mut Node, fleet: &Fleet, name: &str, bad: &str, good: &str, reason: &str) {
    let said = node.good("hullwright-update update; ls /boot/EFI/Linux /boot/hullwright/attempts");
    assert!(said.contains(&format!("hwfleet_{bad}+0-0.efi")), "{said}");
    assert!(said.contains(&format!("\n{bad}.1")), "{said}");
    let before = fleet.server.sent();
    policy(node, "immediate");
    let begun = Instant::now();
    node.reboot();
    let mut spoke = 0;
    let record = loop {
        let boot = node.next_boot(3 * BOOT);
        if boot.version != good {
            spoke += 1;
            continue;
        }
        // It reboots into the next try as soon as it is found good itself.
        let script = format!(
            "systemctl is-system-running --wait; sleep 15; cat /var/lib/hullwright/failed/{bad} || sleep 60"
        );
        if let Some(answer) = node.try_ask(&script, 2 * BOOT)
            && answer.output.contains("reason=")
        {
            break answer.output;
        }
    };
    eprintln!(
        "{name}: given up after {:.0?}, {spoke} boots of it spoke",
        begun.elapsed()
    );
    eprintln!("{}", record.lines().take(5).collect::<Vec<_>>().join("\n"));
    assert!(record.contains(reason), "{record}");
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
    fleet.cut_with("1.1.0", &PANICS);
    gives_up(
        &mut node,
        &fleet,
        "a kernel that panics",
        "1.1.0",
        "1.0.0",
        "",
    );
    takes(&mut node, &fleet, "1.2.0");
    if exhaustive() {
        node.reboot();
        node.wait_for("1.2.0", BOOT);
        assert_sound(&mut node, "1.2.0");

        fleet.cut_with("1.3.0", &HANGS_WITH_WATCHDOG);
        let name = "a userspace that gets no processor";
        gives_up(&mut node, &fleet, name, "1.3.0", "1.2.0", "");
        let unit = with_unit(&[("usr/lib/hullwright/health.d/50-test", 0o755, SAYS_NO)]);
        fleet.cut_with("1.4.0", &unit);
        let name = "a health check that fails";
        gives_up(
            &mut node,
            &fleet,
            name,
            "1.4.0",
            "1.2.0",
            "the test says no",
        );
        let unit = with_unit(&[("usr/lib/systemd/system/hwtest-bad.service", 0o644, HANGS)]);
        fleet.cut_with("1.5.0", &unit);
        let name = "a start that never ends";
        gives_up(
            &mut node,
            &fleet,
            name,
            "1.5.0",
            "1.2.0",
            "hwtest-bad.service",
        );

        takes(&mut node, &fleet, "1.6.0");
        let _ = node.try_ask("hullwright-update rollback", BOOT);
        node.wait_for("1.2.0", BOOT);
        assert_sound(&mut node, "1.2.0");
        takes(&mut node, &fleet, "1.7.0");
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

#[test]
fn whenever_the_power_goes_one_version_boots() {
    let seed = seed();
    eprintln!("HULLWRIGHT_SEED={seed}");
    let mut chance = Chance(seed);
    let cuts = if exhaustive() { 20 } else { 2 };
    let fleet = Fleet::of("u-boot-power", Machines::UBoot);
    let mut node = install(&fleet);
    // Each cut costs a try, and here one version is cut again and again.
    node.good("echo tries=99 >>/etc/hullwright/update.conf");
    let versions = ["1.0.0", "2.0.0"];
    fleet.cut(versions[1], &[]);
    node.good("hullwright-update update");
    let mut running = versions[0];
    for number in 0..cuts {
        let other = versions[usize::from(running == versions[0])];
        // The newer one stays blessed once it was: what can be cut then is a rollback.
        let (what, after) = if running == versions[1] {
            node.good("systemd-run --no-block --unit hwtest hullwright-update rollback");
            ("a rollback", chance.below(6_000))
        } else {
            let state = node.good("hullwright-update update --retry 2.0.0");
            eprintln!("{}", state.lines().last().unwrap_or_default());
            // CI has one in a first boot and one while the order is written.
            match if cuts == 2 {
                3 - 2 * number
            } else {
                chance.below(5)
            } {
                moment @ 0..3 => {
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
            }
        };
        std::thread::sleep(Duration::from_millis(after));
        node.cut();
        node.start();
        let boot = node.next_boot(2 * BOOT);
        eprintln!(
            "cut {}: {what}, {after} ms: up in {}",
            number + 1,
            boot.version
        );
        running = if boot.version == versions[0] {
            versions[0]
        } else {
            versions[1]
        };
        assert_eq!(boot.version, running);
        assert_sound(&mut node, running);
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
