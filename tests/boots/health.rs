//! Boots that must not be the end: each fault of `docs/failure-modes.md` that a machine without a network
//! can have. Slot A has a good version, slot B one on trial with its last try; faults are files in `/etc`
//! that act only in the version on trial.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{build, exhaustive, good, hullwright, shown, tool};
use crate::{console_log, field, slots};

/// The good version, in slot A.
const OLD: &str = "1.0.0";
/// The one that fails, in slot B.
const NEW: &str = "2.0.0";

/// A disk with both versions, and what is needed to boot it.
struct Node {
    dir: tempfile::TempDir,
    disk: PathBuf,
}

impl Node {
    /// A disk that has never booted; the old version counts as good.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path();
        let (old, new) = (state.join("old"), state.join("new"));
        build(
            state,
            "qemu",
            &old,
            &["--set", &format!("os.version={OLD}")],
        );
        build(
            state,
            "qemu",
            &new,
            &["--set", &format!("os.version={NEW}")],
        );
        let disk = state.join("disk.raw");
        good(
            Command::new("cp")
                .arg("--sparse=always")
                .arg(old.join("disk.raw"))
                .arg(&disk),
        );
        slots::fill_b(&disk, &new, NEW);
        let node = Self { dir, disk };
        node.rename(OLD, "");
        node
    }

    fn build_of(&self, version: &str) -> PathBuf {
        self.dir
            .path()
            .join(if version == OLD { "old" } else { "new" })
    }

    fn mtools(&self, program: &str, arguments: &[&str]) -> String {
        good(
            tool(program)
                .arg("-i")
                .arg(slots::esp(&self.disk))
                .args(arguments),
        )
    }

    /// Gives the entry of `version` another counter.
    fn rename(&self, version: &str, counter: &str) {
        let listing = self.mtools("mdir", &["-b", "::EFI/Linux"]);
        let from = listing
            .lines()
            .find(|line| line.contains(&format!("_{version}")))
            .unwrap_or_else(|| panic!("no entry of {version} in {listing}"));
        let to = format!("hullwright_{version}{counter}.efi");
        if !from.ends_with(&format!("/{to}")) {
            self.mtools("mren", &[from, &to]);
        }
    }

    /// Boots until somebody answers, runs `script` there, and powers off.
    fn run(&self, script: &str, arguments: &[&str]) -> String {
        let output = hullwright(self.dir.path())
            .args(["run", "--persist", "--timeout", "1500", "--console"])
            .arg(console_log(&self.disk))
            .args(arguments)
            .arg("--exec")
            .arg(script)
            .arg(&self.disk)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{script}\n{}\n{}",
            shown(&output),
            self.console()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn console(&self) -> String {
        let bytes = fs::read(console_log(&self.disk)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What a node shows once it has settled.
const SETTLED: &str = r#"
for i in $(seq 150); do
    systemctl -q is-active hullwright-boot-good.service && break
    sleep 2
done
. /run/hullwright/boot
echo "version=$version"; echo "entry=$entry"; echo "trial=$trial"; echo "attempt=$attempt"
[ -e /run/hullwright/healthy ] && echo "healthy=yes" || echo "healthy=no"
echo "state=$(systemctl is-system-running)"
echo "failed=$(systemctl --failed --plain --no-legend | cut -d' ' -f1 | tr '\n' ' ')"
echo "entries=$(ls $(bootctl -p)/EFI/Linux | tr '\n' ' ')"
echo "attempts=$(ls $(bootctl -p)/hullwright/attempts | tr '\n' ' ')"
echo "watchdog=$(cat /sys/class/watchdog/watchdog0/identity) $(cat /sys/class/watchdog/watchdog0/state) $(cat /sys/class/watchdog/watchdog0/timeout)"
echo "softlockup_panic=$(cat /proc/sys/kernel/softlockup_panic)"
echo "reason=$(sed -n 's/^reason=//p' /var/lib/hullwright/failed/2.0.0 2>/dev/null)"
echo "record=$(cat /var/lib/hullwright/failed/2.0.0 2>/dev/null | tr '\n' '|')"
echo "uptime=$(cut -d' ' -f1 /proc/uptime)"
journalctl -b -o short-monotonic --no-pager -t boot-good -t health -t boot-failed -t hullwright-boot-count
"#;

/// A unit that acts in the version on trial alone, and is part of what a boot waits for.
fn fault(exec: &str) -> String {
    format!(
        "cat >/etc/systemd/system/fault.service <<'END'\n\
         [Unit]\n\
         After=ssh.service\n\
         Before=multi-user.target\n\
         [Service]\n\
         Type=oneshot\n\
         ExecCondition=/usr/bin/grep -q {NEW} /usr/lib/os-release\n\
         ExecStart=/bin/sh -c '{exec}'\n\
         END\n\
         mkdir -p /etc/systemd/system/multi-user.target.wants\n\
         ln -sf ../fault.service /etc/systemd/system/multi-user.target.wants/fault.service\n"
    )
}

/// One way to fail on trial.
struct Fault {
    name: &'static str,
    /// Run in the good version, to prepare the fault.
    prepare: String,
    /// Done to the disk from outside.
    disk: fn(&Node),
    arguments: &'static [&'static str],
    /// Part of the recorded reason.
    reason: &'static str,
    /// Part of the recorded log.
    log: &'static str,
    /// Part of the console.
    console: &'static str,
}

fn nothing(_: &Node) {}

fn faults() -> Vec<Fault> {
    let plain = |name, prepare: String, reason, log, console| Fault {
        name,
        prepare,
        disk: nothing,
        arguments: &[],
        reason,
        log,
        console,
    };
    vec![
        plain(
            "a check that fails",
            "mkdir -p /etc/hullwright/health.d\n\
             echo grace=5 >/etc/hullwright/health.conf\n\
             printf '#!/bin/sh\\n! grep -q 2.0.0 /usr/lib/os-release || { echo no database; exit 3; }\\n' >/etc/hullwright/health.d/50-db\n\
             chmod +x /etc/hullwright/health.d/50-db\n"
                .into(),
            "health check: /etc/hullwright/health.d/50-db: status 3: no database",
            "",
            "Act on a boot that is not good",
        ),
        plain(
            "a unit that fails",
            format!("rm -rf /etc/hullwright\n{}", fault("exit 1")),
            "health check: failed units: fault.service",
            "fault.service",
            "Act on a boot that is not good",
        ),
        plain(
            "a start that never ends",
            fault("sleep infinity")
                + "mkdir -p /etc/systemd/system/hullwright-deadline.timer.d\n\
                   printf '[Timer]\\nOnBootSec=\\nOnBootSec=150\\n' >/etc/systemd/system/hullwright-deadline.timer.d/test.conf\n",
            "still running: fault.service",
            "multi-user.target",
            "End a boot that does not become good",
        ),
        plain(
            "a kernel that panics",
            "rm -rf /etc/systemd/system/hullwright-deadline.timer.d\n".to_owned()
                + &fault("echo c >/proc/sysrq-trigger"),
            "Kernel panic - not syncing: sysrq triggered crash",
            "sysrq",
            "Kernel panic",
        ),
        plain(
            "a PID 1 that crashes",
            fault("kill -SEGV 1; sleep infinity"),
            "did not reach boot-complete",
            "",
            "systemd",
        ),
        plain(
            "a PID 1 that hangs",
            fault("sync; echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze; sleep infinity"),
            "reset by the watchdog",
            "",
            "",
        ),
        Fault {
            arguments: &["--no-watchdog"],
            ..plain(
                "a PID 1 that hangs where softdog watches",
                fault("sync; until [ -e /dev/watchdog0 ]; do sleep 1; done; sleep 60; echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze; sleep infinity"),
                "did not reach boot-complete",
                "",
                "",
            )
        },
        plain(
            "a kernel that hangs",
            fault(
                "sync; mount -t debugfs debugfs /sys/kernel/debug; echo -1 >/proc/sys/kernel/sched_rt_runtime_us; \
                 for cpu in /sys/kernel/debug/sched/fair_server/cpu*; do echo 0 >$$cpu/runtime; done; \
                 for n in 1 2 3 4; do chrt -f 99 sh -c \"while :; do :; done\" & done; wait",
            ),
            "reset by the watchdog",
            "",
            "",
        ),
        Fault {
            disk: |node| {
                let zeros = node.dir.path().join("zeros");
                fs::write(&zeros, vec![0; 4096]).unwrap();
                slots::copy_into(&node.disk, 6, &zeros);
            },
            ..plain(
                "a hash tree without a superblock",
                "rm -f /etc/systemd/system/multi-user.target.wants/fault.service\n".into(),
                "did not reach boot-complete",
                "",
                "Boot failed in the initrd, rebooting",
            )
        },
        Fault {
            disk: |node| {
                good(
                    tool("sgdisk")
                        .arg("--partition-guid=5:11111111-2222-4333-8444-555555555555")
                        .arg(&node.disk),
                );
            },
            ..plain(
                "a partition of /usr that is gone",
                String::new(),
                "did not reach boot-complete",
                "",
                "the partitions of /usr are not on this disk",
            )
        },
    ]
}

/// A version that was good long ago rots: two attempts have failed already, the third does, the fourth
/// is another version's.
#[test]
fn a_good_version_that_rots_gives_way_to_the_other() {
    let node = Node::new();
    node.rename(NEW, "");
    slots::flip_byte_of_usr_in(&node.disk, &node.build_of(NEW), 5);
    for folder in ["::hullwright", "::hullwright/attempts"] {
        // One of them may be there.
        let _ = tool("mmd")
            .arg("-i")
            .arg(slots::esp(&node.disk))
            .arg(folder)
            .output();
    }
    let empty = node.dir.path().join("empty");
    fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    for attempt in 1..=2 {
        let marker = format!("::hullwright/attempts/{NEW}.{attempt}");
        node.mtools("mcopy", &[empty, &marker]);
    }
    let output = node.run(SETTLED, &[]);
    println!("{output}");
    assert_eq!(field(&output, "version"), OLD, "{output}");
    assert_eq!(field(&output, "healthy"), "yes", "{output}");
    assert_eq!(field(&output, "state"), "running", "{output}");
    assert_eq!(field(&output, "trial"), "no", "{output}");
    let entries = field(&output, "entries");
    assert!(entries.contains(&format!("_{NEW}+0-3.efi")), "{output}");
    assert_eq!(field(&output, "attempts").trim(), "", "{output}");
    assert!(
        field(&output, "reason").contains("Kernel panic - not syncing: dm-verity device corrupted"),
        "{output}"
    );
    assert_eq!(
        field(&output, "watchdog"),
        "i6300ESB timer active 90",
        "{output}"
    );
    let console = node.console();
    assert!(console.contains("has failed 3 times in a row"), "{console}");
    assert_eq!(console.matches("Kernel panic").count(), 1, "{console}");
    if exhaustive() {
        every_fault_on_trial(&node);
    }
}

fn every_fault_on_trial(node: &Node) {
    slots::fill_b(&node.disk, &node.build_of(NEW), NEW);
    slots::remove_entry(&node.disk, &format!("{NEW}+0-3"));
    // The good version first: it prepares the first fault.
    node.rename(NEW, "+0-3");
    let faults = faults();
    let mut prepare = faults[0].prepare.clone();
    node.run(
        &format!("{prepare}\nrm -rf /var/lib/hullwright/failed; sync"),
        &[],
    );
    for (at, fault) in faults.iter().enumerate() {
        let begun = std::time::Instant::now();
        slots::fill_b_partitions(&node.disk, &node.build_of(NEW), NEW);
        (fault.disk)(node);
        node.rename(NEW, "+1-2");
        prepare = faults
            .get(at + 1)
            .map_or_else(String::new, |next| next.prepare.clone());
        let script = format!("{SETTLED}\n{prepare}\nrm -rf /var/lib/hullwright/failed; sync");
        let output = node.run(&script, fault.arguments);
        println!("=== {} ({:?})\n{output}", fault.name, begun.elapsed());
        let what = format!("{}\n{output}", fault.name);
        assert_eq!(field(&output, "version"), OLD, "{what}");
        assert_eq!(field(&output, "healthy"), "yes", "{what}");
        assert!(
            field(&output, "entries").contains(&format!("_{NEW}+0-3.efi")),
            "{what}"
        );
        assert!(field(&output, "reason").contains(fault.reason), "{what}");
        assert!(field(&output, "record").contains(fault.log), "{what}");
        let console = node.console();
        assert!(console.contains(fault.console), "{what}\n{console}");
        if fault.arguments.contains(&"--no-watchdog") {
            assert!(
                field(&output, "watchdog").starts_with("Software Watchdog active"),
                "{what}"
            );
            assert_eq!(field(&output, "softlockup_panic"), "1", "{what}");
        }
    }
}
