//! The power goes: while an update is downloaded, while it is written, while it boots first.

use std::time::Duration;

use super::fleet::{Fleet, payload};
use super::node::{BOOT, Node};
use super::story::{KEPT, assert_sound, update};
use crate::support::exhaustive;

/// xorshift64*: the same cuts for the same seed.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

pub fn seed() -> u64 {
    std::env::var("HULLWRIGHT_SEED").map_or(20_261_122, |text| text.parse().unwrap())
}

#[test]
fn a_node_survives_power_cuts_at_any_moment_of_an_update() {
    let seed = seed();
    eprintln!("HULLWRIGHT_SEED={seed}");
    let mut chance = Chance(seed);
    let cuts = if exhaustive() { 20 } else { 5 };
    let fleet = Fleet::new("power");
    fleet.cut("1.0.0", &[]);
    let mut node = Node::install(&fleet.state, &fleet.keys, &fleet.image("1.0.0"), "node");
    node.start();
    node.wait_for("1.0.0", BOOT);
    assert_sound(&mut node, "1.0.0");
    node.good("echo edited > /etc/motd.local; mkdir /var/lib/workload; echo data > /var/lib/workload/data; sync");
    let kept = node.good(KEPT);

    let mut good = "1.0.0".to_owned();
    let mut newest = good.clone();
    let mut major = 1;
    let mut boots_of_newest = 0;
    for number in 1..=cuts {
        if newest == good {
            major += 1;
            newest = format!("{major}.0.0");
            fleet.cut(&newest, &[]);
            boots_of_newest = 0;
        }
        // Each phase once, then as chance has it. A third try that is cut would rightly be the last one
        // of this version.
        let phase = match number {
            1..=3 => number - 1,
            _ => chance.below(if boots_of_newest < 2 { 3 } else { 2 }),
        };
        let whole = payload(&fleet.folder(), &newest);
        let base = fleet.server.sent();
        let what = match phase {
            0 | 1 => {
                node.good("systemd-run --no-block --unit hwtest-update hullwright-update update");
                let (threshold, more) = if phase == 0 {
                    (chance.below(whole), 0)
                } else {
                    (whole, chance.below(15_000))
                };
                let mut waited = 0;
                // An update that a cut came late for has nothing left to send.
                while fleet.server.sent() - base < threshold && waited < 600 {
                    std::thread::sleep(Duration::from_millis(100));
                    waited += 1;
                }
                std::thread::sleep(Duration::from_millis(more));
                format!(
                    "{} of {whole} bytes and {more} ms",
                    fleet.server.sent() - base
                )
            }
            _ => {
                // A rename that was cut leaves a name without content.
                let entries = node.good("find /boot/EFI/Linux -type f -size +0");
                let installed = entries.contains(&newest);
                if !installed {
                    update(&mut node, &fleet);
                }
                boots_of_newest += 1;
                node.reboot();
                let after = chance.below(75_000);
                std::thread::sleep(Duration::from_millis(after));
                format!("{after} ms after the reboot into {newest}")
            }
        };
        node.cut();
        node.start();
        let boot = node.next_boot(2 * BOOT);
        eprintln!("cut {number}: {what}: up in {}", boot.version);
        assert!([&good, &newest].contains(&&boot.version), "{boot:?}");
        assert_sound(&mut node, &boot.version);
        if boot.version == newest {
            good.clone_from(&newest);
        }
    }
    if newest == good {
        newest = format!("{}.0.0", major + 1);
        fleet.cut(&newest, &[]);
    }
    update(&mut node, &fleet);
    node.reboot();
    node.wait_for(&newest, BOOT);
    assert_sound(&mut node, &newest);
    assert_eq!(node.good(KEPT), kept);
    node.stop();
    std::fs::remove_dir_all(&fleet.state).unwrap();
}
