//! Boots that must not be the end: each fault of `docs/failure-modes.md` that a machine without a network
//! can have. Slot A has a good version, slot B one on trial with its last try; faults are files in `/etc`
//! that act only in the version on trial.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{build, good, hullwright, shown, tool};
use crate::{asked_for, console_log, field, slots};

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
        // Its first boot would have made the folder.
        for folder in ["::hullwright", "::hullwright/attempts"] {
            // One of them may be there.
            let _ = tool("mmd")
                .arg("-i")
                .arg(slots::esp(&node.disk))
                .arg(folder)
                .stdin(Stdio::null())
                .output();
        }
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

    /// Leaves no free cluster on the ESP: counting must not need one.
    fn fill_esp(&self) {
        let mut number = 0;
        for kib in [256 << 10, 64 << 10, 8 << 10, 1 << 10, 64, 4] {
            let from = self.dir.path().join("filler");
            fs::File::create(&from).unwrap().set_len(kib << 10).unwrap();
            loop {
                number += 1;
                let copied = tool("mcopy")
                    .arg("-o")
                    .arg("-i")
                    .arg(slots::esp(&self.disk))
                    .arg(&from)
                    .arg(format!("::fill{number}"))
                    .stdin(Stdio::null())
                    .output()
                    .unwrap();
                if !copied.status.success() {
                    break;
                }
            }
        }
    }

    /// Boots until somebody answers, runs `script` there, and powers off.
    fn run(&self, script: &str, arguments: &[String]) -> String {
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
echo "pstore=$(find /var/lib/systemd/pstore /sys/fs/pstore -ls | tr '\n' '|')"
echo "good=$(ls -la --full-time /var/lib/hullwright/attempts | tr '\n' '|')"
echo "uptime=$(cut -d' ' -f1 /proc/uptime)"
journalctl -b -o short-monotonic --no-pager -t boot-good -t health -t boot-failed -t hullwright-boot-count
"#;

/// A script that acts in the version on trial alone, by attempt, behind sshd and before the boot is done;
/// and a check by attempt.
fn faults(first: &str, second: &str, third: &str, check: &str) -> String {
    format!(
        r#"
mkdir -p /etc/hullwright/health.d /etc/systemd/system/multi-user.target.wants
cat >/etc/systemd/system/fault.service <<'END'
[Unit]
After=ssh.service
Before=multi-user.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecCondition=/usr/bin/grep -q {NEW} /usr/lib/os-release
ExecStart=/etc/hullwright/fault
END
ln -sf ../fault.service /etc/systemd/system/multi-user.target.wants/fault.service
cat >/etc/hullwright/fault <<'END'
#!/bin/sh
. /run/hullwright/boot
sync
case $attempt in
    1) {first} ;;
    2) {second} ;;
    3) {third} ;;
esac
END
cat >/etc/hullwright/health.d/50-db <<'END'
#!/bin/sh
. /run/hullwright/boot
[ "$version" = {NEW} ] || exit 0
{check}
END
chmod +x /etc/hullwright/fault /etc/hullwright/health.d/50-db
# Whoever asks is answered by the good version.
mkdir -p /etc/systemd/system/ssh.service.d
printf '[Service]\nExecCondition=/bin/sh -c "! grep -q {NEW} /usr/lib/os-release"\n' >/etc/systemd/system/ssh.service.d/test.conf
echo grace=5 >/etc/hullwright/health.conf
rm -rf /var/lib/hullwright/failed
sync
"#
    )
}

/// A trial that fails, and what is to be seen of it afterwards.
struct Story {
    name: &'static str,
    /// The counter that the trial begins with.
    counter: &'static str,
    /// Run in the good version, to prepare the faults.
    prepare: String,
    /// Done to the disk from outside.
    disk: fn(&Node),
    /// Of `hullwright run`.
    arguments: Vec<String>,
    /// Part of the recorded reason.
    reason: &'static str,
    /// Lines of the journal of all boots.
    journal: &'static [&'static str],
    /// Parts of the console.
    console: &'static [&'static str],
}

fn nothing(_: &Node) {}

/// PID 1 in a cgroup of its own that is frozen: it answers nobody.
const FREEZE: &str = "echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze; sleep infinity";
/// Processes before everybody else on every processor: also before the kernel's threads.
const SPIN: &str = "mount -t debugfs debugfs /sys/kernel/debug; \
    echo -1 >/proc/sys/kernel/sched_rt_runtime_us; \
    for cpu in /sys/kernel/debug/sched/fair_server/cpu*; do echo 0 >$cpu/runtime; done; \
    for n in 1 2 3 4; do chrt -f 99 sh -c 'while :; do :; done' & done; wait";

/// Gives the machine a credential of systemd's, which the generator of development images acts on.
fn credential(name: &str, text: &str) -> [String; 2] {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, text).unwrap();
    let encoded = good(tool("base64").arg("-w0").arg(file.path()));
    let value = format!("type=11,value=io.systemd.credential.binary:{name}={encoded}");
    ["-smbios".to_owned(), value].map(|argument| format!("--qemu-arg={argument}"))
}

fn stories() -> Vec<Story> {
    vec![
        Story {
            name: "a PID 1 that crashes, a kernel that hangs, a PID 1 that hangs",
            counter: "+3-0",
            prepare: faults("kill -SEGV 1; sleep infinity", SPIN, FREEZE, ":"),
            disk: nothing,
            arguments: Vec::new(),
            reason: "did not reach boot-complete: reset by the watchdog",
            journal: &["attempt 1", "attempt 2", "attempt 3"],
            console: &["reboot: Restarting system"],
        },
        Story {
            name: "a PID 1 that hangs where softdog watches",
            counter: "+1-2",
            prepare: faults(
                ":",
                ":",
                &format!(
                    "until [ -e /dev/watchdog0 ]; do /usr/lib/hullwright/softdog; sleep 1; done; sleep 60; {FREEZE}"
                ),
                ":",
            ),
            disk: nothing,
            arguments: vec!["--no-watchdog".into()],
            reason: "did not reach boot-complete",
            journal: &["softdog watches"],
            console: &[],
        },
        Story {
            name: "a hash tree without a superblock",
            counter: "+1-2",
            prepare: faults(":", ":", ":", ":"),
            disk: |node| {
                let zeros = node.dir.path().join("zeros");
                fs::write(&zeros, vec![0; 4096]).unwrap();
                slots::copy_into(&node.disk, 6, &zeros);
            },
            arguments: Vec::new(),
            reason: "did not reach boot-complete",
            journal: &[],
            console: &["Boot failed in the initrd, rebooting"],
        },
        Story {
            name: "a partition of /usr that is gone",
            counter: "+1-2",
            prepare: faults(":", ":", ":", ":"),
            disk: |node| {
                good(
                    tool("sgdisk")
                        .arg("--partition-guid=5:11111111-2222-4333-8444-555555555555")
                        .arg(&node.disk),
                );
            },
            arguments: Vec::new(),
            reason: "did not reach boot-complete",
            journal: &[],
            console: &["the partitions of /usr are not on this disk"],
        },
        Story {
            name: "an initrd that hangs",
            counter: "+1-2",
            prepare: faults(":", ":", ":", ":"),
            disk: nothing,
            arguments: [
                credential(
                    "systemd.extra-unit.hang.service",
                    &format!(
                        "[Unit]\nDefaultDependencies=no\nAfter=sysroot.mount\n[Service]\nType=oneshot\n\
                         ExecStart=/usr/lib/hullwright/sh -c '. /etc/initrd-release; \
                         while [ \"$IMAGE_VERSION\" = {NEW} ]; do sleep 5; done'\n"
                    ),
                ),
                credential(
                    "systemd.unit-dropin.initrd-fs.target",
                    "[Unit]\nRequires=hang.service\nAfter=hang.service\n",
                ),
                credential(
                    "systemd.unit-dropin.hullwright-initrd-deadline.timer",
                    "[Timer]\nOnBootSec=\nOnBootSec=120\n",
                ),
            ]
            .concat(),
            reason: "did not reach boot-complete",
            journal: &[],
            console: &["the initrd has not handed over 12", "hang.service"],
        },
        Story {
            name: "a check that fails, a start that never ends, a unit that fails",
            counter: "+3-0",
            prepare: faults(
                ":",
                "sleep infinity",
                "exit 1",
                "[ $attempt != 1 ] || { echo no database; exit 3; }",
            ) + "mkdir -p /etc/systemd/system/hullwright-deadline.timer.d\n\
                 printf '[Timer]\\nOnBootSec=\\nOnBootSec=400\\n' >/etc/systemd/system/hullwright-deadline.timer.d/test.conf\n",
            disk: nothing,
            arguments: Vec::new(),
            reason: "health check: failed units: fault.service",
            journal: &[
                "this boot is not good: health check: /etc/hullwright/health.d/50-db: status 3: no database",
                "this boot is not good: boot deadline: not complete",
                "still running: fault.service",
                "this boot is not good: health check: failed units: fault.service",
            ],
            console: &[
                "Act on a boot that is not good",
                // The name of the unit before it is shortened to the width of a console.
                "d a boot that does not become good",
            ],
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
    // Firmware may not take what a dying kernel hands it.
    let reason = field(&output, "reason");
    assert!(
        reason.contains("Kernel panic - not syncing: dm-verity device corrupted")
            || reason.starts_with("did not reach boot-complete"),
        "{output}\n{}",
        node.console()
    );
    assert_eq!(
        field(&output, "watchdog"),
        "i6300ESB timer active 90",
        "{output}"
    );
    let console = node.console();
    assert!(console.contains("has failed 3 times in a row"), "{console}");
    assert_eq!(console.matches("Kernel panic").count(), 1, "{console}");
}

/// Each attempt on trial fails in another way; the last one ends in the good version, which knows why.
#[test]
fn whatever_a_version_on_trial_does_the_good_one_comes_back() {
    // By their numbers.
    let numbered = (1..).zip(stories());
    let stories: Vec<Story> = numbered
        .filter(|(number, _): &(u32, _)| asked_for(&number.to_string()))
        .map(|(_, story)| story)
        .collect();
    if stories.is_empty() {
        return;
    }
    let node = Node::new();
    // The good version first: it prepares the faults.
    node.rename(NEW, "+0-3");
    node.run(&format!("{SETTLED}\n{}", stories[0].prepare), &[]);
    node.fill_esp();
    for (at, story) in stories.iter().enumerate() {
        let begun = std::time::Instant::now();
        slots::fill_b_partitions(&node.disk, &node.build_of(NEW), NEW);
        (story.disk)(&node);
        node.rename(NEW, story.counter);
        let next = stories.get(at + 1).map_or("", |next| &next.prepare);
        let journal =
            "journalctl -o cat -t boot-failed -t deadline -t softdog -t hullwright-boot-count";
        let output = node.run(&format!("{SETTLED}\n{journal}\n{next}"), &story.arguments);
        println!("=== {} ({:?})\n{output}", story.name, begun.elapsed());
        let what = format!("{}\n{output}", story.name);
        assert_eq!(field(&output, "version"), OLD, "{what}");
        assert_eq!(field(&output, "healthy"), "yes", "{what}");
        assert!(
            field(&output, "entries").contains(&format!("_{NEW}+0-3.efi")),
            "{what}"
        );
        assert!(field(&output, "reason").contains(story.reason), "{what}");
        for line in story.journal {
            assert!(output.contains(line), "{line}: {what}");
        }
        assert!(!output.contains("can't count"), "{what}");
        let console = node.console();
        for line in story.console {
            assert!(console.contains(line), "{line}: {what}\n{console}");
        }
        if story.arguments.contains(&"--no-watchdog".to_owned()) {
            assert!(
                field(&output, "watchdog").starts_with("Software Watchdog active"),
                "{what}"
            );
            assert_eq!(field(&output, "softlockup_panic"), "1", "{what}");
        }
    }
}
