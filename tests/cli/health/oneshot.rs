//! Boots under U-Boot: what waits (`+0-0`), what is tried, what is kept and what is given up.

use std::fs;

use super::{Node, VENDOR};
use crate::support::shown;
use crate::ubootefi::{Variable, write};

const ESP: &str = "run/hullwright/esp";

impl Node {
    fn under_u_boot(version: &str) -> Self {
        let node = Self::new(version);
        node.variable("LoaderFirmwareInfo", "Das U-Boot 8229.256");
        node.put("usr/lib/hullwright/update.conf", "arch=arm64\ntries=3\n");
        node
    }

    fn attempted(&self, names: &[&str]) {
        for name in names {
            self.put(&format!("{ESP}/hullwright/attempts/{name}"), "");
        }
    }

    fn attempts(&self) -> Vec<String> {
        self.list(&format!("{ESP}/hullwright/attempts"))
    }

    fn linux(&self) -> Vec<String> {
        self.list(&format!("{ESP}/EFI/Linux"))
    }

    fn runs(&self, entry: &str, trial: &str) {
        self.put(
            "run/hullwright/boot",
            &format!("esp=/dev/x\nentry={entry}\ntrial={trial}\n"),
        );
    }

    fn is_good(&self) -> String {
        let output = self.script("boot-good");
        assert!(output.status.success(), "{}", shown(&output));
        shown(&output)
    }

    fn tries_again(&self) -> bool {
        self.calls()
            .contains("systemctl --no-block start hullwright-update-try.service")
    }
}

#[test]
fn a_try_was_counted_before_it_was_started() {
    struct Case {
        firmware: &'static str,
        entries: &'static [&'static str],
        attempts: &'static [&'static str],
        expected: [&'static str; 4],
    }
    let u_boot = "Das U-Boot 8229.256";
    for case in [
        Case {
            firmware: u_boot,
            entries: &["hw_1.0.efi", "hw_2.0+0-0.efi"],
            attempts: &["2.0.1", "2.0.2"],
            expected: ["hw_2.0+0-0.efi", "yes", "2", "oneshot"],
        },
        // Started by hand.
        Case {
            firmware: u_boot,
            entries: &["hw_1.0.efi", "hw_2.0+0-0.efi"],
            attempts: &[],
            expected: ["hw_2.0+0-0.efi", "yes", "0", "oneshot"],
        },
        // There is nothing to fall back to.
        Case {
            firmware: u_boot,
            entries: &["hw_1.0+0-3.efi", "hw_2.0+0-0.efi"],
            attempts: &[],
            expected: ["hw_2.0+0-0.efi", "no", "0", "oneshot"],
        },
        // Given up, and started all the same.
        Case {
            firmware: u_boot,
            entries: &["hw_1.0.efi", "hw_2.0+0-3.efi"],
            attempts: &["2.0.1"],
            expected: ["hw_2.0+0-3.efi", "yes", "3", "initrd"],
        },
        // The first boots of a new disk are counted as before.
        Case {
            firmware: u_boot,
            entries: &["hw_2.0+3-0.efi"],
            attempts: &[],
            expected: ["hw_2.0+2-1.efi", "yes", "1", "initrd"],
        },
        // A cut while it was blessed: the new name has no content yet.
        Case {
            firmware: u_boot,
            entries: &["hw_1.0.efi", "!hw_2.0.efi", "hw_2.0+0-0.efi"],
            attempts: &["2.0.1"],
            expected: ["hw_2.0+0-0.efi", "yes", "1", "oneshot"],
        },
        // Or the old name is still there.
        Case {
            firmware: u_boot,
            entries: &["hw_1.0.efi", "hw_2.0.efi", "hw_2.0+0-0.efi"],
            attempts: &[],
            expected: ["hw_2.0.efi", "no", "1", "markers"],
        },
        // Firmware that renames has no such entries; one is bad there.
        Case {
            firmware: "EDK II 1.00",
            entries: &["hw_1.0.efi", "hw_2.0+0-0.efi"],
            attempts: &["2.0.1"],
            expected: ["hw_2.0+0-0.efi", "yes", "0", "initrd"],
        },
    ] {
        let node = Node::new("2.0");
        node.variable("LoaderFirmwareInfo", case.firmware);
        for name in case.entries {
            match name.strip_prefix('!') {
                Some(empty) => node.put(&format!("{ESP}/EFI/Linux/{empty}"), ""),
                None => node.entries(&[name]),
            }
        }
        fs::create_dir_all(node.path(&format!("{ESP}/hullwright/attempts"))).unwrap();
        node.attempted(case.attempts);
        let (known, output) = node.count();
        let found = ["entry", "trial", "attempt", "counter"].map(|key| known[key].as_str());
        assert_eq!(
            found,
            case.expected,
            "{:?}\n{}",
            case.entries,
            shown(&output)
        );
        assert!(!node.rebooted());
    }
}

#[test]
fn a_version_that_waits_is_something_to_fall_back_to() {
    for (firmware, gives_up) in [("Das U-Boot 8229.256", true), ("EDK II 1.00", false)] {
        let node = Node::new("1.0");
        node.variable("LoaderFirmwareInfo", firmware);
        node.entries(&["hw_1.0.efi", "hw_2.0+0-0.efi"]);
        node.attempted(&["1.0.1", "1.0.2", "1.0.3"]);
        node.count();
        assert_eq!(node.linux()[0] == "hw_1.0+0-3.efi", gives_up);
        assert_eq!(node.rebooted(), gives_up);
    }
}

#[test]
fn a_good_try_is_blessed_and_its_attempts_are_gone_before() {
    let node = Node::under_u_boot("2.0");
    node.entries(&["hw_1.0.efi", "hw_2.0+0-0.efi"]);
    node.attempted(&["2.0.1", "2.0.2", "2.0.3"]);
    node.runs("hw_2.0+0-0.efi", "yes");
    // Where the power goes at the rename, the attempts would give a version up that was good.
    node.program(
        "mv",
        "case $* in *.efi*) exit 1 ;; esac; exec /bin/mv \"$@\"",
    );
    node.is_good();
    assert_eq!(node.attempts(), [""; 0]);
    assert_eq!(node.linux(), ["hw_1.0.efi", "hw_2.0+0-0.efi"]);
    assert!(!node.path("run/hullwright/blessed").exists());
    fs::remove_file(node.path("bin/mv")).unwrap();
    node.is_good();
    assert_eq!(node.linux(), ["hw_1.0.efi", "hw_2.0.efi"]);
    assert!(node.path("run/hullwright/blessed").exists());
    assert!(!node.tries_again());
    assert_eq!(node.list("var/lib/hullwright/failed"), [""; 0]);
}

#[test]
fn back_in_the_good_version_the_next_try_is_asked_for_or_the_new_one_given_up() {
    for made in 0..=3 {
        let node = Node::under_u_boot("1.0");
        node.entries(&["hw_1.0.efi", "hw_2.0+0-0.efi"]);
        node.attempted(&["2.0.1", "2.0.2", "2.0.3"][..made]);
        node.runs("hw_1.0.efi", "no");
        node.put(
            "var/lib/hullwright/attempts/2.0",
            "version=2.0\nreason=health check: no disk\nwhen=x\n\nlog of 2.0\n",
        );
        let said = node.is_good();
        assert_eq!(node.tries_again(), made < 3, "{made}: {said}");
        assert_eq!(node.attempts().len(), made, "they are not forgotten");
        let record = node.read("var/lib/hullwright/failed/2.0");
        if made < 3 {
            assert_eq!(node.linux(), ["hw_1.0.efi", "hw_2.0+0-0.efi"]);
            assert_eq!(record, "");
        } else {
            assert_eq!(node.linux(), ["hw_1.0.efi", "hw_2.0+0-3.efi"]);
            assert!(
                record.contains("\nreason=health check: no disk\n"),
                "{record}"
            );
            // The attempts go with the entry that they were for.
            node.is_good();
            assert_eq!(node.attempts(), [""; 0]);
            assert_eq!(node.linux(), ["hw_1.0.efi", "hw_2.0+0-3.efi"]);
        }
    }
}

#[test]
fn the_node_s_own_number_of_tries_wins() {
    for (line, gives_up) in [("tries=2", true), ("tries=4", false), ("tries=x", false)] {
        let node = Node::under_u_boot("1.0");
        node.put(
            "etc/hullwright/update.conf",
            &format!("channel=x\n{line}\n"),
        );
        node.entries(&["hw_1.0.efi", "hw_2.0+0-0.efi"]);
        node.attempted(&["2.0.1", "2.0.2"]);
        node.runs("hw_1.0.efi", "no");
        node.is_good();
        assert_eq!(node.linux()[1] == "hw_2.0+0-2.efi", gives_up, "{line}");
    }
}

#[test]
fn a_try_that_is_ordered_and_was_not_begun_is_left_alone() {
    let node = Node::under_u_boot("1.0");
    node.entries(&["hw_1.0.efi", "hw_2.0+0-0.efi"]);
    node.attempted(&["2.0.1", "2.0.2", "2.0.3"]);
    node.runs("hw_1.0.efi", "no");
    let order = Variable::oneshot("hw_2.0[+.][0e][f-][0i]*");
    fs::write(node.path(&format!("{ESP}/ubootefi.var")), write(&[order])).unwrap();
    node.is_good();
    assert_eq!(node.linux(), ["hw_1.0.efi", "hw_2.0+0-0.efi"]);
    assert!(!node.tries_again());
}

#[test]
fn names_that_cut_renames_have_left_are_not_renamed_over() {
    // Both names have the same clusters: a rename over one would free them.
    for (entries, attempts) in [
        (
            &["hw_1.0.efi", "hw_2.0+0-0.efi", "hw_2.0+0-3.efi"][..],
            &["2.0.1", "2.0.2", "2.0.3"][..],
        ),
        (&["hw_1.0.efi", "hw_2.0+0-0.efi", "hw_2.0.efi"], &[]),
    ] {
        let node = Node::under_u_boot("1.0");
        node.entries(entries);
        node.attempted(attempts);
        node.runs("hw_1.0.efi", "no");
        node.is_good();
        assert_eq!(node.linux(), entries);
        assert!(!node.tries_again());
    }
    // What has a foreign name is nobody's.
    let node = Node::under_u_boot("1.0");
    node.entries(&["hw_1.0.efi", "hw_$(reboot)+0-0.efi"]);
    node.runs("hw_1.0.efi", "no");
    node.is_good();
    assert!(!node.rebooted() && !node.tries_again());
}

#[test]
fn other_firmware_gives_no_entry_time() {
    let node = Node::new("1.0");
    assert!(
        !node
            .path(&format!(
                "sys/firmware/efi/efivars/LoaderFirmwareInfo-{VENDOR}"
            ))
            .exists()
    );
    node.entries(&["hw_1.0.efi", "hw_2.0+0-0.efi"]);
    node.runs("hw_1.0.efi", "no");
    node.is_good();
    assert_eq!(node.list("var/lib/hullwright/failed"), ["2.0"]);
    assert!(!node.tries_again());
}
