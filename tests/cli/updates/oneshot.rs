//! Updates under U-Boot, which counts nothing: `ID_V+0-0.efi` waits, and the running version orders one
//! try after the other by a variable in a file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::Node;
use crate::ubootefi::{Variable, read, utf16, write};

const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const STORE: &str = "esp/ubootefi.var";

/// What systemd-boot is told so that it starts 2.
const TWO: &str = "os_2[+.][0e][f-][0i]*";

impl Node {
    fn firmware(&self, name: &str) {
        let mut bytes = vec![6, 0, 0, 0];
        bytes.extend(utf16(name));
        self.bytes(&format!("efivars/LoaderFirmwareInfo-{VENDOR}"), &bytes);
    }

    /// A node under U-Boot that runs 1; its channel has 2.
    fn under_u_boot(reboot: &str) -> Self {
        let node = Self::new("1");
        node.firmware("Das U-Boot 8229.256");
        node.write(
            "etc/update.conf",
            &format!("channel=beta\nreboot={reboot}\n"),
        );
        node.publish("beta", 1, &["1", "2"]);
        node
    }

    fn bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// What U-Boot would read.
    fn store(&self) -> Option<Vec<Variable>> {
        read(&fs::read(self.path(STORE)).unwrap())
    }

    fn attempts(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path("esp/hullwright/attempts"))
            .map(|folder| {
                folder
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect()
            })
            .unwrap_or_default();
        names.sort();
        names
    }

    /// What the boot loader does with the order, before it starts the entry; whether there was one.
    fn boot(&self) -> bool {
        let mut variables = self.store().unwrap_or_default();
        let before = variables.len();
        variables.retain(|variable| variable.name != "LoaderEntryOneShot");
        self.bytes(STORE, &write(&variables));
        variables.len() != before
    }

    fn tries_again(&self) -> String {
        let ended = self.script("update-try", &[]);
        assert_eq!(ended.code, 0, "{}", ended.text);
        ended.text
    }

    fn program(&self, name: &str, text: &str) {
        self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{text}\n"));
        let path = self.path("bin").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn an_update_waits_behind_the_good_version_and_is_tried_once() {
    let node = Node::under_u_boot("off");
    let others = [
        Variable::global("BootOrder", &[0, 0]),
        Variable {
            attributes: 3,
            time: 0x1234_5678_9abc,
            ..Variable::global("Boot0000", b"odd length!")
        },
        Variable::loader("LoaderSystemToken", &[0, 0xff, b'%', b'\\', 10]),
    ];
    node.bytes(STORE, &write(&others));
    node.does("update", 0, "2 starts at the next boot");
    assert!(
        node.read("sysupdate.d/90-uki.transfer")
            .contains("\nTriesLeft=0\n")
    );
    assert_eq!(node.entries(), ["os_1.efi", "os_2+0-0.efi"]);
    assert_eq!(node.attempts(), ["2.1"]);
    let expected = [&others[..], &[Variable::oneshot(TWO)]].concat();
    assert_eq!(
        fs::read(node.path(STORE)).unwrap(),
        write(&expected),
        "byte for byte"
    );
    node.does("status", 0, "2 (starts at the next boot)");
    assert!(
        node.does("status --json", 0, "")
            .contains(r#""pending":"2""#)
    );
    // Looking again neither orders nor counts again.
    node.does("update", 0, "2 starts at the next boot");
    node.tries_again();
    assert_eq!(node.attempts(), ["2.1"]);
    assert!(!node.log().contains("reboot"));

    assert!(node.boot());
    assert_eq!(node.store().unwrap(), others);
    node.runs("2");
    node.write("run/boot", "entry=os_2+0-0.efi\ntrial=yes\n");
    node.does("status", 0, "2 (running, on trial)");
    node.does("update", 5, "2 has not been found good yet");
    assert_eq!(node.tries_again(), "");
    assert_eq!(node.attempts(), ["2.1"]);
}

#[test]
fn a_store_that_u_boot_would_not_take_is_made_anew() {
    let good = write(&[Variable::global("BootOrder", &[0, 0])]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= byte;
        bytes
    };
    // The checksum is right, and what it covers makes no sense.
    let mut nonsense = Variable::global("BootOrder", &[0, 0]);
    nonsense.name = "x".repeat(200);
    let mut endless = write(&[nonsense]);
    endless.truncate(24 + 64);
    let endless = rewritten(&endless);
    let mut too_long = write(&[Variable::global("Boot0000", &[1; 40])]);
    too_long[24..28].copy_from_slice(&900_u32.to_le_bytes());
    let too_long = rewritten(&too_long);
    for (what, store) in [
        ("reserved", with(0, 1)),
        ("magic", with(15, 2)),
        ("length", with(16, 8)),
        ("checksum", with(20, 1)),
        ("a bit of data", with(40, 4)),
        ("cut", good[..good.len() - 8].to_vec()),
        ("longer than it says", [&good[..], &[0; 8]].concat()),
        ("a name without end", endless),
        ("data beyond the end", too_long),
        ("no header", vec![1, 2, 3]),
        ("empty", Vec::new()),
        ("too large for U-Boot", vec![0; 131_080]),
    ] {
        let node = Node::under_u_boot("off");
        node.bytes(STORE, &store);
        node.does("update", 0, "2 starts at the next boot");
        assert_eq!(
            fs::read(node.path(STORE)).unwrap(),
            write(&[Variable::oneshot(TWO)]),
            "{what}"
        );
    }
    let node = Node::under_u_boot("off");
    node.does("update", 0, "");
    assert_eq!(node.store().unwrap(), [Variable::oneshot(TWO)], "none yet");
}

/// `file` with length and checksum that are right.
fn rewritten(file: &[u8]) -> Vec<u8> {
    let frame = write(&[]);
    let mut bytes = frame[..16].to_vec();
    bytes.extend(u32::try_from(file.len()).unwrap().to_le_bytes());
    bytes.extend(crate::ubootefi::crc32(&file[24..]).to_le_bytes());
    bytes.extend(&file[24..]);
    bytes
}

#[test]
fn a_large_store_and_one_that_names_another_entry_are_kept_right() {
    let node = Node::under_u_boot("off");
    let large: Vec<u8> = (0..40_000_u32).map(|n| (n * 7 + n / 256) as u8).collect();
    let others = [Variable::global("Boot0001", &large)];
    let stale = [&others[..], &[Variable::oneshot("os_9.efi")]].concat();
    node.bytes(STORE, &write(&stale));
    node.does("update", 0, "2 starts at the next boot");
    let expected = [&others[..], &[Variable::oneshot(TWO)]].concat();
    assert_eq!(fs::read(node.path(STORE)).unwrap(), write(&expected));
}

#[test]
fn after_each_try_that_failed_the_next_one_is_ordered_until_none_is_left() {
    for (reboot, reboots) in [("immediate", true), ("off", false), ("window", false)] {
        let node = Node::under_u_boot(reboot);
        node.does("update", 0, "2");
        for attempt in 1..=3 {
            assert_eq!(node.attempts().len(), attempt, "{reboot}");
            assert_eq!(node.log().contains("--no-block reboot"), reboots);
            if reboot == "window" {
                assert_eq!(node.script("update-reboot", &[]).code, 0);
                assert!(node.log().contains("--no-block reboot"));
            }
            assert!(node.boot(), "{reboot}: try {attempt} was not ordered");
            // It has failed: 1 is up again.
            let said = node.tries_again();
            assert_eq!(said.is_empty(), attempt == 3, "{reboot} {attempt}: {said}");
        }
        assert_eq!(node.attempts(), ["2.1", "2.2", "2.3"]);
        assert_eq!(node.store().unwrap(), []);
        assert!(!node.log().contains("reboot"));
        // boot-good will rename it; until then it is bad all the same.
        node.does("status", 0, "2 (failed)");
        node.does("update", 0, "1 is up to date");
        let record = node.read("state/failed/2");
        assert!(record.contains("reason=no boot of it"), "{record}");
        // Another try begins from the beginning.
        node.does("update --retry 2", 0, "2");
        assert_eq!(node.entries(), ["os_1.efi", "os_2+0-0.efi"]);
        assert_eq!(node.attempts(), ["2.1"]);
        assert_eq!(node.store().unwrap(), [Variable::oneshot(TWO)]);
    }
}

#[test]
fn an_attempt_counts_before_it_is_ordered_and_a_cut_in_between_costs_it() {
    let node = Node::under_u_boot("immediate");
    // The power goes when the store is to be renamed.
    node.program(
        "mv",
        "case $* in *ubootefi.var*) exit 1 ;; esac; exec /bin/mv \"$@\"",
    );
    node.does("update", 1, "ubootefi.var can't be written");
    assert_eq!(node.attempts(), ["2.1"]);
    assert!(!node.path(STORE).exists());
    assert!(!node.log().contains("systemctl"));
    node.does("status", 0, "2 (waits for a try)");
    fs::remove_file(node.path("bin/mv")).unwrap();
    node.does("update", 0, "rebooting into 2");
    assert_eq!(node.attempts(), ["2.1", "2.2"]);
    assert!(!node.path("esp/ubootefi.var.new").exists());
    assert!(node.boot());
}

#[test]
fn firmware_that_does_not_read_the_order_is_not_rebooted_in_a_circle() {
    let node = Node::under_u_boot("immediate");
    node.does("update", 0, "rebooting into 2");
    let _ = node.log();
    for _ in 0..2 {
        let said = node.tries_again();
        assert!(said.contains("the last reboot did not start it"), "{said}");
        node.does("update", 0, "not rebooting again by itself");
    }
    assert_eq!(node.attempts(), ["2.1"]);
    assert!(!node.log().contains("systemctl"));
}

#[test]
fn a_newer_update_takes_the_place_of_one_that_waits() {
    let node = Node::under_u_boot("off");
    node.does("update", 0, "2 starts");
    // What sysupdate does to make room, after the order for it is gone.
    node.program(
        "systemd-sysupdate",
        "! grep -q O.n.e.S.h.o.t \"$HULLWRIGHT_ESP/ubootefi.var\" || exit 1\n\
         rm \"$HULLWRIGHT_ESP/EFI/Linux/os_2+0-0.efi\"; sh \"$DIR/install\" \"$2\"",
    );
    node.publish("beta", 2, &["1", "2", "3"]);
    node.does("update", 0, "3 starts at the next boot");
    assert_eq!(node.entries(), ["os_1.efi", "os_3+0-0.efi"]);
    assert_eq!(
        node.store().unwrap(),
        [Variable::oneshot("os_3[+.][0e][f-][0i]*")]
    );
}

#[test]
fn a_rollback_gives_up_what_runs_whatever_its_name() {
    for (counter, boot) in [("", ""), ("+0-0", "trial=yes\n")] {
        let node = Node::under_u_boot("off");
        node.install("2", counter);
        node.runs("2");
        node.write("run/boot", boot);
        node.does("rollback", 0, "2 is given up; rebooting into 1");
        assert_eq!(node.entries(), ["os_1.efi", "os_2+0-3.efi"]);
        node.runs("1");
        node.write("run/boot", "");
        node.does("status", 0, "2 (failed)");
        node.does("update", 0, "1 is up to date");
        assert!(!node.path(STORE).exists());
    }
    // One that was never good is nothing to go back to.
    let node = Node::under_u_boot("off");
    node.install("2", "+0-0");
    node.does("rollback", 5, "there is no other version to go back to");
}

#[test]
fn names_that_a_cut_rename_has_left_are_read_right() {
    let node = Node::under_u_boot("off");
    node.install("2", "");
    node.install("2", "+0-0");
    // Blessed, and the old name is still there.
    node.does("status", 0, "2 (starts at the next boot)");
    assert!(!node.does("status", 0, "").contains("waits"));
    node.tries_again();
    // A new name without content is none.
    node.write("esp/EFI/Linux/os_2.efi", "");
    node.does("status", 0, "2 (waits for a try)");
    // Given up, and both names are there.
    fs::remove_file(node.path("esp/EFI/Linux/os_2.efi")).unwrap();
    node.install("2", "+0-3");
    for attempt in 1..=3 {
        node.write(&format!("esp/hullwright/attempts/2.{attempt}"), "");
    }
    assert!(!node.does("status", 0, "").contains("waits"));
    assert_eq!(node.tries_again(), "");
}

#[test]
fn other_firmware_has_no_part_in_this() {
    let node = Node::new("1");
    node.firmware("EDK II 1.00");
    node.publish("beta", 1, &["2"]);
    node.does("update", 0, "2 starts at the next boot");
    assert_eq!(node.entries(), ["os_1.efi", "os_2+3-0.efi"]);
    assert!(!node.path(STORE).exists());
    assert_eq!(node.attempts(), [""; 0]);
}

/// What systemd-boot takes for the entry, with and without the counter in its identifier.
#[test]
fn the_order_names_one_version_and_none_that_begins_alike() {
    let pattern = |version: &str| {
        let script = format!(". {}/oneshot.sh; pattern os {version}", super::SCRIPTS);
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(pattern("2"), TWO);
    let matches = |pattern: &str, name: &str| {
        let script = format!("case '{name}' in {pattern}) exit 0 ;; esac; exit 1");
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .status();
        status.unwrap().success()
    };
    for version in ["2", "1.1", "1.1~rc1", "2026.11-4"] {
        let pattern = pattern(version);
        for name in [format!("os_{version}.efi"), format!("os_{version}+0-0.efi")] {
            assert!(matches(&pattern, &name), "{pattern} {name}");
        }
        for more in [".1", "1", ".0", "0", "~rc2", "-1", ".e"] {
            for counter in ["", "+0-0", "+0-3"] {
                let name = format!("os_{version}{more}{counter}.efi");
                assert!(!matches(&pattern, &name), "{pattern} {name}");
            }
        }
    }
}
