//! The scripts that count boots and judge them, run by dash on the host in a tree of their own. What
//! FAT, systemd and firmware make of them is judged by `tests/boots/health.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{repository, shown};

mod oneshot;

const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const ESP: &str = "0a1b2c3d-0000-4000-8000-00000000000e";
const USR: &str = "00112233-4455-6677-8899-aabbccddeeff";
const VERITY: &str = "ffeeddcc-bbaa-9988-7766-554433221100";

/// A node's files, with programs that only write down how they were called.
struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new(version: &str) -> Self {
        let node = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let release = format!("IMAGE_ID=\"hw\"\nIMAGE_VERSION={version}\n");
        node.put("etc/initrd-release", &release);
        node.put("usr/lib/os-release", &release);
        node.put(
            "proc/cmdline",
            &format!("rw usrhash={}\n", format!("{USR}{VERITY}").replace('-', "")),
        );
        node.put("proc/uptime", "31.25 60.00\n");
        for uuid in [ESP, USR, VERITY] {
            node.put(&format!("dev/disk/by-partuuid/{uuid}"), "");
        }
        node.variable("LoaderDevicePartUUID", &ESP.to_uppercase());
        for folder in ["run/hullwright/esp/EFI/Linux", "bin", "var/lib/hullwright"] {
            fs::create_dir_all(node.path(folder)).unwrap();
        }
        for program in [
            "mount",
            "umount",
            "systemctl",
            "udevadm",
            "journalctl",
            "sync",
            "sleep",
        ] {
            node.program(program, "");
        }
        for script in [
            "node.sh",
            "oneshot.sh",
            "boot.sh",
            "health",
            "boot-failed",
            "boot-good",
            "deadline",
        ] {
            let text =
                fs::read_to_string(repository().join("profiles/health/scripts").join(script));
            node.executable(&format!("usr/lib/hullwright/{script}"), &text.unwrap());
        }
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn executable(&self, path: &str, text: &str) {
        self.put(path, text);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A program in PATH that writes its arguments down, and then does `what`.
    fn program(&self, name: &str, what: &str) {
        let log = self.path("calls");
        self.executable(
            &format!("bin/{name}"),
            &format!(
                "#!/bin/sh\necho \"{name} $*\" >>{}\n{what}\n",
                log.display()
            ),
        );
    }

    /// An EFI variable: attributes, UTF-16, a final zero.
    fn variable(&self, name: &str, value: &str) {
        let mut bytes = vec![6, 0, 0, 0];
        bytes.extend(value.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        let path = self.path(&format!("sys/firmware/efi/efivars/{name}-{VENDOR}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn entries(&self, names: &[&str]) {
        for name in names {
            self.put(&format!("run/hullwright/esp/EFI/Linux/{name}"), "UKI");
        }
    }

    fn list(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(path))
            .map(|dir| {
                dir.map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect()
            })
            .unwrap_or_default();
        names.sort();
        names
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    fn dash(&self, script: &Path) -> Output {
        Command::new("dash")
            .arg(script)
            .arg(self.dir.path())
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.path("bin").display()),
            )
            .current_dir("/")
            .output()
            .unwrap()
    }

    fn script(&self, name: &str) -> Output {
        self.dash(&self.path("usr/lib/hullwright").join(name))
    }

    /// A start of the initrd; what it leaves for the running system.
    fn count(&self) -> (BTreeMap<String, String>, Output) {
        let _ = fs::remove_file(self.path("run/hullwright/boot"));
        let script = repository().join("profiles/initrd/files/usr/lib/hullwright/boot-count");
        let output = self.dash(&script);
        let known = self
            .read("run/hullwright/boot")
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        (known, output)
    }

    fn rebooted(&self) -> bool {
        self.calls().contains("reboot")
    }
}

#[test]
fn a_trial_is_what_has_a_counter_and_something_to_fall_back_to() {
    struct Case {
        boot_count_path: Option<&'static str>,
        entries: &'static [&'static str],
        entry: &'static str,
        trial: &'static str,
        attempt: &'static str,
        after: &'static [&'static str],
    }
    let cases = [
        // systemd-boot has renamed it.
        Case {
            boot_count_path: Some("\\EFI\\Linux\\hw_2.0+2-1.efi"),
            entries: &["hw_1.0.efi", "hw_2.0+2-1.efi"],
            entry: "hw_2.0+2-1.efi",
            trial: "yes",
            attempt: "1",
            after: &["hw_1.0.efi", "hw_2.0+2-1.efi"],
        },
        // The last try still falls back.
        Case {
            boot_count_path: Some("\\EFI\\Linux\\hw_2.0+0-3.efi"),
            entries: &["hw_1.0.efi", "hw_2.0+0-3.efi"],
            entry: "hw_2.0+0-3.efi",
            trial: "yes",
            attempt: "3",
            after: &["hw_1.0.efi", "hw_2.0+0-3.efi"],
        },
        // Nothing to fall back to: none, or only bad ones.
        Case {
            boot_count_path: Some("\\EFI\\Linux\\hw_2.0+0-4.efi"),
            entries: &["hw_1.0+0-3.efi", "hw_2.0+0-4.efi"],
            entry: "hw_2.0+0-4.efi",
            trial: "no",
            attempt: "4",
            after: &["hw_1.0+0-3.efi", "hw_2.0+0-4.efi"],
        },
        // The first boots of a new disk.
        Case {
            boot_count_path: Some("\\EFI\\Linux\\hw_2.0+2-1.efi"),
            entries: &["hw_2.0+2-1.efi"],
            entry: "hw_2.0+2-1.efi",
            trial: "yes",
            attempt: "1",
            after: &["hw_2.0+2-1.efi"],
        },
        // Firmware that can't rename: counted here.
        Case {
            boot_count_path: None,
            entries: &["hw_1.0.efi", "hw_2.0+3-0.efi"],
            entry: "hw_2.0+2-1.efi",
            trial: "yes",
            attempt: "1",
            after: &["hw_1.0.efi", "hw_2.0+2-1.efi"],
        },
        Case {
            boot_count_path: None,
            entries: &["hw_1.0.efi", "hw_2.0+1.efi"],
            entry: "hw_2.0+0-1.efi",
            trial: "yes",
            attempt: "1",
            after: &["hw_1.0.efi", "hw_2.0+0-1.efi"],
        },
        Case {
            boot_count_path: None,
            entries: &["hw_2.0+0-3.efi"],
            entry: "hw_2.0+0-3.efi",
            trial: "no",
            attempt: "3",
            after: &["hw_2.0+0-3.efi"],
        },
        // The entry that the loader names is gone: still a trial.
        Case {
            boot_count_path: Some("\\EFI\\Linux\\hw_2.0+2-1.efi"),
            entries: &["hw_1.0.efi"],
            entry: "hw_2.0+2-1.efi",
            trial: "yes",
            attempt: "0",
            after: &["hw_1.0.efi"],
        },
        // Another version whose name begins alike is another entry.
        Case {
            boot_count_path: None,
            entries: &["hw_2.0.1.efi", "hw_2.0~rc1.efi", "hw_2.0.efi"],
            entry: "hw_2.0.efi",
            trial: "no",
            attempt: "1",
            after: &["hw_2.0.1.efi", "hw_2.0.efi", "hw_2.0~rc1.efi"],
        },
    ];
    for case in cases {
        let node = Node::new("2.0");
        node.entries(case.entries);
        if let Some(path) = case.boot_count_path {
            node.variable("LoaderBootCountPath", path);
        }
        let (known, output) = node.count();
        let what = format!("{:?}\n{known:?}\n{}", case.entries, shown(&output));
        assert_eq!(known["entry"], case.entry, "{what}");
        assert_eq!(known["trial"], case.trial, "{what}");
        assert_eq!(known["attempt"], case.attempt, "{what}");
        assert!(
            known["esp"].ends_with(&format!("by-partuuid/{ESP}")),
            "{what}"
        );
        assert_eq!(
            node.list("run/hullwright/esp/EFI/Linux"),
            case.after,
            "{what}"
        );
        assert!(!node.rebooted() && output.status.success(), "{what}");
    }
}

#[test]
fn three_failed_boots_of_a_good_version_select_the_other_one() {
    for (others, gives_up) in [
        (&["hw_1.0.efi"][..], true),
        (&["hw_3.0+3-0.efi"], true),
        (&["hw_1.0+0-3.efi"], false),
        (&["hw_1.0+0.efi", "other_9.efi"], false),
        (&[], false),
    ] {
        let node = Node::new("2.0");
        node.entries(&["hw_2.0.efi"]);
        node.entries(others);
        fs::create_dir_all(node.path("run/hullwright/esp/hullwright/attempts")).unwrap();
        for attempt in 1..=3 {
            let (known, output) = node.count();
            assert_eq!(known["attempt"], attempt.to_string(), "{}", shown(&output));
            assert_eq!(known["trial"], "no");
            assert_eq!(known["counter"], "markers");
            assert_eq!(
                node.list("run/hullwright/esp/hullwright/attempts").len(),
                attempt
            );
            assert!(!node.rebooted());
        }
        // Not at the fourth boot alone: a power cut may come before the reboot.
        for _ in 0..2 {
            let (_, output) = node.count();
            let bad = node
                .list("run/hullwright/esp/EFI/Linux")
                .contains(&"hw_2.0+0-3.efi".to_owned());
            assert_eq!(bad, gives_up, "{others:?} {}", shown(&output));
            assert_eq!(node.rebooted(), gives_up, "{others:?}");
            let markers = node.list("run/hullwright/esp/hullwright/attempts");
            assert_eq!(markers, ["2.0.1", "2.0.2", "2.0.3"], "{others:?}");
        }
    }
}

#[test]
fn names_that_an_attacker_gives_to_files_of_the_esp_run_nothing() {
    for (path, entries) in [
        (
            Some("\\EFI\\Linux\\hw_2.0+$(touch bad)-1.efi"),
            &["hw_1.0.efi"][..],
        ),
        (
            Some("\\EFI\\Linux\\..\\..\\x;reboot +2-1.efi"),
            &["hw_1.0.efi"],
        ),
        (
            Some("\\EFI\\Linux\\hw_2.0+2-1.efi"),
            &["hw_1.0.efi", "hw_`reboot`+0-1.efi", "hw_..+0.efi"],
        ),
        (None, &["hw_2.0+$(reboot).efi", "hw_1.0.efi"]),
    ] {
        let node = Node::new("2.0");
        node.entries(entries);
        if let Some(path) = path {
            node.variable("LoaderBootCountPath", path);
        }
        let (known, output) = node.count();
        let entry = &known["entry"];
        assert!(entry.is_empty() || entry == "hw_2.0+2-1.efi", "{entry}");
        assert_eq!(
            known["trial"] == "yes",
            path.is_some(),
            "{}",
            shown(&output)
        );
        node.put(
            "run/hullwright/boot",
            &format!("esp=/dev/x\ntrial=$(reboot)\nentry={entry};reboot\nversion=9\n"),
        );
        let output = node.script("boot-good");
        assert!(output.status.success(), "{}", shown(&output));
        assert!(!node.rebooted(), "{}", node.calls());
        assert_eq!(node.list("var/lib/hullwright/failed"), [""; 0]);
    }
}

#[test]
fn a_rename_that_the_power_cut_in_two_is_finished() {
    let node = Node::new("2.0");
    node.entries(&["hw_1.0.efi", "hw_2.0.efi", "hw_2.0+0-3.efi"]);
    for marker in 1..=3 {
        node.put(
            &format!("run/hullwright/esp/hullwright/attempts/2.0.{marker}"),
            "",
        );
    }
    node.count();
    assert_eq!(
        node.list("run/hullwright/esp/EFI/Linux"),
        ["hw_1.0.efi", "hw_2.0+0-3.efi"]
    );
    assert!(node.rebooted());
}

#[test]
fn whatever_fails_while_counting_is_said_and_the_boot_goes_on() {
    type Change = fn(&Node);
    let cases: [(&str, Change, bool, &str); 7] = [
        (
            "no EFI variables",
            |n| fs::remove_dir_all(n.path("sys")).unwrap(),
            true,
            "has not said",
        ),
        (
            "a variable that is no UUID",
            |n| n.variable("LoaderDevicePartUUID", "../../sda1"),
            false,
            "not a UUID",
        ),
        (
            "an ESP that is not there",
            |n| fs::remove_file(n.path(&format!("dev/disk/by-partuuid/{ESP}"))).unwrap(),
            false,
            "is not there",
        ),
        (
            "an ESP that can't be mounted",
            |n| n.program("mount", "exit 32"),
            false,
            "can't mount",
        ),
        (
            "an ESP without our entry",
            |n| fs::remove_dir_all(n.path("run/hullwright/esp/EFI")).unwrap(),
            true,
            "no entry of version 2.0",
        ),
        // Without the folder a marker can't be made, as on an ESP that is full.
        ("an ESP that is full", |_| {}, true, "can't count"),
        (
            "an entry that can't be renamed",
            |n| {
                for marker in 1..=3 {
                    n.put(
                        &format!("run/hullwright/esp/hullwright/attempts/2.0.{marker}"),
                        "",
                    );
                }
                n.program("mv", "exit 1");
            },
            true,
            "giving it up",
        ),
    ];
    for (what, change, good, says) in cases {
        let node = Node::new("2.0");
        node.entries(&["hw_1.0.efi", "hw_2.0.efi"]);
        change(&node);
        let (known, output) = node.count();
        let text = shown(&output);
        assert_eq!(output.status.success(), good, "{what}: {text}");
        assert!(text.contains(says), "{what}: {text}");
        assert_eq!(known["trial"], "no", "{what}: {text}");
        assert!(!node.rebooted(), "{what}: {text}");
    }
}

#[test]
fn partitions_of_usr_that_are_not_there_end_the_boot() {
    let node = Node::new("2.0");
    node.entries(&["hw_2.0+2-1.efi"]);
    node.program("udevadm", "exit 1");
    let (_, output) = node.count();
    assert!(node.rebooted(), "{}", shown(&output));
    let wanted = format!("by-partuuid/{USR} ");
    assert!(node.calls().contains(&wanted), "{}", node.calls());
    assert!(
        node.calls().contains(&format!("by-partuuid/{VERITY}\n")),
        "{}",
        node.calls()
    );
}

#[test]
fn the_esp_is_unmounted_whatever_was_found_on_it() {
    for entries in [&["hw_2.0.efi"][..], &["hw_2.0+2-1.efi"], &[]] {
        let node = Node::new("2.0");
        node.entries(entries);
        node.count();
        let calls = node.calls();
        assert!(calls.contains("mount -t vfat -o rw,dirsync"), "{calls}");
        assert_eq!(calls.matches("umount ").count(), 1, "{calls}");
    }
}

#[test]
fn an_initrd_that_hangs_is_ended_but_not_one_that_checks_a_disk() {
    let script = repository().join("profiles/initrd/files/usr/lib/hullwright/deadline");
    for (busy, uptime, reboots) in [
        ("none", "601.5", true),
        ("systemd-fsck-root.service", "601.5", false),
        ("systemd-repart.service", "3000.1", false),
        ("systemd-fsck-root.service", "21600.0", true),
        ("sysroot.mount", "601.5", true),
    ] {
        let node = Node::new("2.0");
        node.put("proc/uptime", &format!("{uptime} 9.0\n"));
        node.program(
            "systemctl",
            &format!("case \"$*\" in show*{busy}) echo activating ;; show*) echo inactive ;; esac"),
        );
        let output = node.dash(&script);
        assert!(output.status.success(), "{busy} {}", shown(&output));
        assert_eq!(
            node.rebooted(),
            reboots,
            "{busy} {uptime} {}",
            shown(&output)
        );
    }
}

/// A `systemctl` that knows units by state.
fn systemctl(failed: &str, restarting: &str, active: &str) -> String {
    format!(
        "case \"$*\" in\n\
         *--state=failed*) for u in {failed}; do echo \"$u loaded failed failed x\"; done ;;\n\
         *--state=auto-restart*) for u in {restarting}; do echo \"$u loaded activating auto-restart x\"; done ;;\n\
         is-active*) for u in {active}; do [ \"$u\" != \"$2\" ] || {{ echo active; exit 0; }}; done; echo inactive; exit 3 ;;\n\
         esac"
    )
}

#[test]
fn a_boot_is_good_when_every_check_is() {
    type Change = fn(&Node);
    let good: [(&str, Change); 10] = [
        ("nothing special", |_| {}),
        ("a failure in the initrd", |n| {
            n.program(
                "systemctl",
                "case \"$*\" in *state=failed*) echo 'a.service not-found failed failed a' ;; esac",
            );
        }),
        ("an ESP that is full", |n| {
            n.program(
                "systemctl",
                &systemctl("systemd-boot-random-seed.service", "", ""),
            );
        }),
        ("a login that failed", |n| {
            n.program(
                "systemctl",
                &systemctl("session-1.scope user@0.service", "", ""),
            );
        }),
        ("an allowed failure", |n| {
            n.program("systemctl", &systemctl("app-7.service", "", ""));
            n.put(
                "etc/hullwright/health.conf",
                "allow_failed='x.service app-*.service'\n",
            );
        }),
        ("active units", |n| {
            n.program("systemctl", &systemctl("", "", "a.service b.timer"));
            n.put(
                "usr/lib/hullwright/health.d/p.units",
                "# comment\na.service # why\n\n  b.timer\n",
            );
        }),
        ("a check that the node takes away", |n| {
            n.executable("usr/lib/hullwright/health.d/10-no", "#!/bin/sh\nexit 1\n");
            n.put("etc/hullwright/health.d/10-no", "");
        }),
        ("a link without a carrier", |n| {
            n.put(
                "run/systemd/netif/links/2",
                "ADMIN_STATE=configuring\nOPER_STATE=no-carrier\n",
            );
        }),
        ("one link of two is up", |n| {
            n.put(
                "run/systemd/netif/links/2",
                "ADMIN_STATE=configuring\nOPER_STATE=degraded\n",
            );
            n.put(
                "run/systemd/netif/links/3",
                "ADMIN_STATE=configured\nOPER_STATE=routable\n",
            );
        }),
        ("a network that does not matter", |n| {
            n.put("etc/hullwright/health.conf", "network=off\n");
            n.put(
                "run/systemd/netif/links/2",
                "ADMIN_STATE=failed\nOPER_STATE=degraded\n",
            );
        }),
    ];
    for (what, change) in good {
        let node = Node::new("2.0");
        node.put("usr/lib/hullwright/health.conf", "grace=0\n");
        change(&node);
        let output = node.script("health");
        assert!(output.status.success(), "{what}: {}", shown(&output));
        assert!(!node.path("run/hullwright/reason").exists(), "{what}");
    }

    let bad: [(&str, Change, &str); 8] = [
        (
            "a failed unit",
            |n| n.program("systemctl", &systemctl("a.service b.mount", "", "")),
            "failed units: a.service b.mount",
        ),
        (
            "a unit that restarts for ever",
            |n| n.program("systemctl", &systemctl("", "a.service", "")),
            "units that keep failing: a.service",
        ),
        (
            "a unit that is not active",
            |n| n.put("etc/hullwright/health.d/p.units", "a.service\n"),
            "a.service is inactive, and /etc/hullwright/health.d/p.units wants it active",
        ),
        (
            "a check of the node",
            |n| {
                n.executable(
                    "etc/hullwright/health.d/10-disk",
                    "#!/bin/sh\necho no space on $HULLWRIGHT_TRIAL\nexit 4\n",
                );
            },
            "/etc/hullwright/health.d/10-disk: status 4: no space on no",
        ),
        (
            "a check that hangs",
            |n| {
                n.put("etc/hullwright/health.conf", "check_limit=1\n");
                n.executable(
                    "etc/hullwright/health.d/10-hang",
                    "#!/bin/sh\nexec /usr/bin/sleep 9\n",
                );
            },
            "10-hang: no answer within 1 s",
        ),
        (
            "a link that gets no address",
            |n| {
                n.put(
                    "run/systemd/netif/links/2",
                    "ADMIN_STATE=configuring\nOPER_STATE=degraded\n",
                );
            },
            "no network link has an address",
        ),
        (
            "no link where one is required",
            |n| n.put("etc/hullwright/health.conf", "network=require\n"),
            "no network link is up",
        ),
        (
            "a list of the image that the node replaces",
            |n| {
                n.put("usr/lib/hullwright/health.d/p.units", "");
                n.put("etc/hullwright/health.d/p.units", "mine.service\n");
            },
            "mine.service is inactive",
        ),
    ];
    for (what, change, reason) in bad {
        let node = Node::new("2.0");
        node.put("usr/lib/hullwright/health.conf", "grace=0\n");
        node.program("systemctl", &systemctl("", "", ""));
        change(&node);
        let output = node.script("health");
        assert!(!output.status.success(), "{what}: {}", shown(&output));
        let said = node.read("run/hullwright/reason");
        assert!(said.contains(reason), "{what}: {said}");
    }
}

#[test]
fn only_a_trial_is_rebooted_and_its_reason_is_kept() {
    for (trial, healthy, state, reboots) in [
        ("yes", false, "starting", true),
        ("no", false, "starting", false),
        ("yes", true, "degraded", false),
        ("yes", false, "stopping", false),
    ] {
        for (script, reason) in [
            (
                "boot-failed",
                "reason=health check: failed units: a.service",
            ),
            (
                "deadline",
                "reason=boot deadline: not complete 31 s after the start; still running: slow.service; \
                 health check: failed units: a.service",
            ),
        ] {
            let node = Node::new("2.0");
            node.put(
                "run/hullwright/boot",
                &format!("trial={trial}\nentry=hw_2.0+2-1.efi\n"),
            );
            node.put("run/hullwright/reason", "failed units: a.service\n");
            if healthy {
                node.put("run/hullwright/healthy", "");
            }
            node.program(
                "systemctl",
                &format!(
                    "case \"$*\" in is-system-running) echo {state} ;; list-jobs*) \
                     echo ' 8 hullwright-deadline.service start running'; \
                     echo ' 9 slow.service start running'; echo '10 x.target start waiting' ;; esac"
                ),
            );
            node.program(
                "journalctl",
                "case \"$*\" in *-n*) echo 'the last line' ;; esac",
            );
            let output = node.script(script);
            let what = format!("{script} {trial} {healthy}\n{}", shown(&output));
            assert_eq!(node.rebooted(), reboots, "{what}");
            let kept = node.read("var/lib/hullwright/attempts/2.0");
            if reboots {
                assert!(kept.starts_with("version=2.0\n"), "{kept}\n{what}");
                assert!(kept.lines().any(|line| line == reason), "{kept}\n{what}");
                assert!(kept.contains("\n\n"), "{kept}");
                assert!(kept.contains("the last line"), "{kept}\n{what}");
            } else {
                assert_eq!(kept, "", "{what}");
            }
        }
    }
}

#[test]
fn a_good_boot_forgets_its_failures_and_records_those_of_others() {
    let node = Node::new("2.0");
    let attempts = "run/hullwright/esp/hullwright/attempts";
    node.put(
        "run/hullwright/boot",
        "esp=/dev/x\nentry=hw_2.0.efi\ntrial=no\n",
    );
    node.entries(&[
        "hw_1.0.efi",
        "hw_2.0.efi",
        "hw_3.0+0-3.efi",
        "hw_4.0+0.efi",
        "hw_5.0+1-2.efi",
    ]);
    for marker in ["2.0.1", "2.0.2", "1.0.1", "0.9.1", "5.0.1"] {
        node.put(&format!("{attempts}/{marker}"), "");
    }
    node.put(
        "var/lib/hullwright/attempts/3.0",
        "version=3.0\nreason=health check: no disk\nwhen=x\n\nlog of 3.0\n",
    );
    node.put(
        "var/lib/hullwright/attempts/2.0",
        "version=2.0\nreason=once\n",
    );
    node.put(
        "var/lib/hullwright/failed/2.0",
        "version=2.0\nreason=once\n",
    );
    node.program(
        "journalctl",
        "case \"$*\" in \
         '-b -2 -t'*) echo 'version 4.0, entry x' ;; \
         '-b -2'*) echo 'last line of 4.0' ;; esac",
    );
    let output = node.script("boot-good");
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(node.list(attempts), ["1.0.1"]);
    assert_eq!(node.list("var/lib/hullwright/failed"), ["3.0", "4.0"]);
    assert_eq!(node.list("var/lib/hullwright/attempts"), [".good"]);
    let record = node.read("var/lib/hullwright/failed/3.0");
    let mut lines = record.lines();
    assert_eq!(lines.next(), Some("version=3.0"));
    assert_eq!(lines.next(), Some("reason=health check: no disk"));
    let when = lines.next().unwrap();
    assert!(when.starts_with("when=20") && when.ends_with('Z'), "{when}");
    assert_eq!(lines.collect::<Vec<_>>(), ["", "log of 3.0"]);
    let record = node.read("var/lib/hullwright/failed/4.0");
    assert!(
        record.contains("\nreason=did not reach boot-complete\n"),
        "{record}"
    );
    assert!(record.contains("\nlast line of 4.0\n"), "{record}");
    assert!(node.path("run/hullwright/healthy").exists());

    // A record stays as it was.
    node.put("var/lib/hullwright/failed/3.0", "mine\n");
    node.script("boot-good");
    assert_eq!(node.read("var/lib/hullwright/failed/3.0"), "mine\n");
}

#[test]
fn the_record_says_what_is_known_best() {
    let panic =
        "<6>[    1.0] fine\n<0>[   12.34] Kernel panic - not syncing: dm-verity device corrupted\n";
    for (dump, kept, bits, reason) in [
        (
            panic,
            "deadline",
            "32",
            "Kernel panic - not syncing: dm-verity device corrupted",
        ),
        ("", "deadline", "32", "deadline"),
        (
            "",
            "",
            "32",
            "did not reach boot-complete: reset by the watchdog",
        ),
        ("", "", "0", "did not reach boot-complete"),
    ] {
        let node = Node::new("2.0");
        node.put("run/hullwright/boot", "esp=/dev/x\nentry=hw_2.0.efi\n");
        node.entries(&["hw_2.0.efi", "hw_3.0+0-3.efi"]);
        node.put(
            "sys/class/watchdog/watchdog0/bootstatus",
            &format!("{bits}\n"),
        );
        if !dump.is_empty() {
            node.put("var/lib/systemd/pstore/17/001/dmesg.txt", dump);
        }
        if !kept.is_empty() {
            node.put(
                "var/lib/hullwright/attempts/3.0",
                &format!("version=3.0\nreason={kept}\n\n"),
            );
        }
        let output = node.script("boot-good");
        let record = node.read("var/lib/hullwright/failed/3.0");
        let found = record.lines().find_map(|line| line.strip_prefix("reason="));
        assert_eq!(found, Some(reason), "{record}\n{}", shown(&output));
        if !dump.is_empty() {
            assert!(record.contains("[   12.34] Kernel panic"), "{record}");
        }
    }
}

#[test]
fn what_firmware_could_not_rename_is_blessed_here() {
    let node = Node::new("2.0");
    node.put(
        "run/hullwright/boot",
        "esp=/dev/x\nentry=hw_2.0+2-1.efi\ncounter=initrd\n",
    );
    node.entries(&["hw_1.0.efi", "hw_2.0+2-1.efi"]);
    let output = node.script("boot-good");
    assert_eq!(
        node.list("run/hullwright/esp/EFI/Linux"),
        ["hw_1.0.efi", "hw_2.0.efi"],
        "{}",
        shown(&output)
    );
}
