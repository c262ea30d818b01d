//! The node's side of updates: the scripts of the image, run by this machine's `/bin/sh` on a made-up
//! ESP. What downloads, verifies and writes is played here; `tests/judges/updates.rs` has the real ones.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::home::sha256;

mod oneshot;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/health/scripts");
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/units/update");

/// Programs of the image that a test must not, or can't, run.
const PROGRAMS: [(&str, &str); 6] = [
    (
        "systemd-pull",
        r#"for a; do case $a in --verify=*) v=${a#*=} ;; http*) url=$a ;; esac; done
f=$WEB/${url#http://server/}
echo "GET $url" >>"$LOG"
[ -f "$f" ] || { echo "404: $url" >&2; exit 1; }
sum=$(sha256sum <"$f" | cut -c1-64)
case $v in
signature) [ "$(cat "$f.gpg")" = "good $sum" ] ;;
*) [ "$sum" = "$v" ] ;;
esac || { echo "DOWNLOAD INVALID" >&2; exit 1; }
cat "$f"
"#,
    ),
    (
        "systemd-sysupdate",
        r#"echo "sysupdate $*" >>"$LOG"
[ ! -e "$WEB/down" ] || { : >"$HULLWRIGHT_ESP/EFI/Linux/.#sysupdate1"; exit 1; }
for f in "$HULLWRIGHT_ESP/EFI/Linux/os_$2"*; do [ ! -f "$f" ] || exit 0; done
sh "$DIR/install" "$2"
"#,
    ),
    (
        "systemd-analyze",
        r#"[ "$1 $3" = "compare-versions gt" ] || exit 2
[ "$2" != "$4" ] && [ "$(printf '%s\n' "$2" "$4" | sort -V | tail -n 1)" = "$2" ]
"#,
    ),
    ("systemctl", "echo \"systemctl $*\" >>\"$LOG\"\n"),
    ("udevadm", "exit 0\n"),
    ("bootctl", "exit 1\n"),
];

/// Makes a boot entry and its partitions.
const INSTALL: &str = r#"
h=$(printf %s "$1" | sha256sum | cut -c1-64)
l=$(sed -n 's/^TriesLeft=//p' "$HULLWRIGHT_TRANSFERS/90-uki.transfer" 2>/dev/null)
printf 'MZ usrhash=%s rw' "$h" >"$HULLWRIGHT_ESP/EFI/Linux/os_$1${2-+$l-0}.efi"
for u in $(printf %s "$h" | sed -e 's/^\(.\{32\}\)/\1 /'); do
    : >"$HULLWRIGHT_PARTUUIDS/$(printf %s "$u" | sed 's/^\(.\{8\}\)\(....\)\(....\)\(....\)/\1-\2-\3-\4-/')"
done
"#;

struct Node {
    dir: tempfile::TempDir,
}

struct Ended {
    code: i32,
    text: String,
}

impl Node {
    /// A node that runs `version`, found good, and follows `beta`.
    fn new(version: &str) -> Self {
        let node = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for folder in [
            "bin",
            "lib",
            "esp/EFI/Linux",
            "esp/EFI/BOOT",
            "esp/EFI/systemd",
            "uuids",
            "web",
        ] {
            fs::create_dir_all(node.path(folder)).unwrap();
        }
        for (name, text) in PROGRAMS {
            let path = node.path("bin").join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (folder, from, to) in [
            (UNITS, "update-lib.sh", "lib/update-lib.sh"),
            (UNITS, "", "lib/transfers"),
            (SCRIPTS, "node.sh", "lib/node.sh"),
            (SCRIPTS, "oneshot.sh", "lib/oneshot.sh"),
        ] {
            let from = Path::new(folder).join(from);
            std::os::unix::fs::symlink(from, node.path(to)).unwrap();
        }
        node.write("install", INSTALL);
        node.write(
            "lib/update.conf",
            "arch=x86_64\ntries=3\nurl=http://server\nreboot=off\n",
        );
        node.write("etc/update.conf", "channel=beta\n");
        node.runs(version);
        node.install(version, "");
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn runs(&self, version: &str) {
        let text = format!("ID=debian\nIMAGE_ID=\"os\"\nIMAGE_VERSION=\"{version}\"\n");
        self.write("os-release", &text);
    }

    fn command(&self) -> Command {
        let mut command = Command::new("/bin/sh");
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.path("bin");
        command
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("DIR", self.dir.path())
            .env("WEB", self.path("web"))
            .env("LOG", self.path("log"))
            .env("SYSUPDATE", bin.join("systemd-sysupdate"))
            .env("SYSTEMD_PULL", bin.join("systemd-pull"))
            .env("HULLWRIGHT_LIB", self.path("lib"))
            .env("HULLWRIGHT_ETC", self.path("etc"))
            .env("HULLWRIGHT_STATE", self.path("state"))
            .env("HULLWRIGHT_RUN", self.path("run"))
            .env("HULLWRIGHT_TRANSFERS", self.path("sysupdate.d"))
            .env("HULLWRIGHT_PARTUUIDS", self.path("uuids"))
            .env("HULLWRIGHT_OS_RELEASE", self.path("os-release"))
            .env("HULLWRIGHT_EFIVARS", self.path("efivars"))
            .env("HULLWRIGHT_ESP", self.path("esp"));
        command
    }

    fn script(&self, name: &str, words: &[&str]) -> Ended {
        let mut command = self.command();
        command.arg(Path::new(UNITS).join(name)).args(words);
        let output = command.output().unwrap();
        Ended {
            code: output.status.code().unwrap(),
            text: String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
        }
    }

    /// `hullwright-update`, which must end with `code` and say `what`.
    fn does(&self, words: &str, code: i32, what: &str) -> String {
        let words: Vec<&str> = words.split_whitespace().collect();
        let ended = self.script("hullwright-update", &words);
        assert_eq!(ended.code, code, "{words:?}: {}", ended.text);
        assert!(ended.text.contains(what), "{words:?}: {}", ended.text);
        ended.text
    }

    fn install(&self, version: &str, counter: &str) {
        let mut command = self.command();
        command.arg(self.path("install")).args([version, counter]);
        let status = command.status().unwrap();
        assert!(status.success());
    }

    fn entries(&self) -> Vec<String> {
        let folder = fs::read_dir(self.path("esp/EFI/Linux")).unwrap();
        let mut names: Vec<_> = folder
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The channel with `versions`.
    fn publish(&self, channel: &str, serial: u64, versions: &[&str]) {
        let told = format!("channel={channel}\narch=x86_64\nserial={serial}\n");
        let mut files = vec![("channel.txt".to_owned(), told)];
        for version in versions {
            for name in ["ab-1.usr.raw", "cd-2.vty.raw"] {
                files.push((format!("os_{version}_{name}"), format!("{version}{name}")));
            }
            for name in [".sig.raw", ".efi", ".disk.raw.zst", ".manifest.json"] {
                files.push((format!("os_{version}{name}"), format!("{version}{name}")));
            }
        }
        let folder = format!("web/{channel}/x86_64");
        let mut sums = String::new();
        for (name, text) in &files {
            self.write(&format!("{folder}/{name}"), text);
            sums.push_str(&format!("{}  {name}\n", sha256(text.as_bytes())));
        }
        self.sign(&folder, &sums);
    }

    fn sign(&self, folder: &str, sums: &str) {
        self.write(&format!("{folder}/SHA256SUMS"), sums);
        let signature = format!("good {}\n", sha256(sums.as_bytes()));
        self.write(&format!("{folder}/SHA256SUMS.gpg"), &signature);
    }

    fn log(&self) -> String {
        let log = self.read("log");
        let _ = fs::remove_file(self.path("log"));
        log
    }
}

#[test]
fn a_newer_version_is_installed_and_told_of() {
    let node = Node::new("1.9");
    node.publish("beta", 7, &["1.9", "1.10", "1.8"]);
    node.does("check", 0, "1.10\n");
    assert_eq!(node.entries(), ["os_1.9.efi"]);
    node.log();
    node.does("update", 0, "1.10 starts at the next boot");
    assert_eq!(node.entries(), ["os_1.10+3-0.efi", "os_1.9.efi"]);
    assert!(!node.log().contains("systemctl"));
    let transfer = node.read("sysupdate.d/90-uki.transfer");
    for line in [
        "Path=http://server/beta/x86_64/\n",
        "MatchPattern=os_@v.efi\n",
        "MatchPattern=os_@v+@l-@d.efi os_@v+@l.efi os_@v.efi\n",
        "TriesLeft=3\n",
    ] {
        assert!(transfer.contains(line), "{transfer}");
    }
    let transfers = ["10-verity", "20-verity-sig", "30-usr", "90-uki"];
    let text: String = transfers
        .map(|name| node.read(&format!("sysupdate.d/{name}.transfer")))
        .concat();
    assert_eq!(text.matches("Verify=yes\n").count(), 4);
    assert!(!text.contains("@ID@") && !text.contains("@SOURCE@"));
    node.does("update", 0, "1.10 starts at the next boot");
    let status = node.does("status", 0, "1.10 (starts at the next boot)");
    for line in [
        "os 1.9 (x86_64)",
        "1.9 (running)",
        "beta, serial 7",
        "1.10 is installed",
    ] {
        assert!(status.contains(line), "{status}");
    }
    let history = node.does("history", 0, "\tinstalled\t1.10\tfrom beta, serial 7\n");
    assert_eq!(history.lines().count(), 1);

    node.runs("1.10");
    fs::rename(
        node.path("esp/EFI/Linux/os_1.10+3-0.efi"),
        node.path("esp/EFI/Linux/os_1.10.efi"),
    )
    .unwrap();
    node.does("check", 3, "1.10 is up to date with beta");
    node.does("update", 0, "1.10 is up to date with beta");
}

#[test]
fn the_status_for_programs_is_json() {
    let node = Node::new("1");
    node.publish("beta", 7, &["2"]);
    node.does("update", 0, "");
    node.write(
        "state/failed/0.9",
        "version=0.9\nreason=it said \"no\" \\ twice\nwhen=2026-01-01T00:00:00Z\n\nreason=a log\n",
    );
    let text = node.does("status --json", 0, "");
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["version"], "1");
    assert_eq!(status["pending"], "2");
    assert_eq!(status["good"], true);
    assert_eq!(status["pin"], serde_json::Value::Null);
    assert_eq!(status["serial"], 7);
    assert_eq!(status["installed"][1]["tries_left"], 3);
    assert_eq!(status["failed"][0]["reason"], "it said \"no\" \\ twice");
    let empty = Node::new("1");
    let text = empty.does("status --json", 0, "");
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["last_check"]["when"], serde_json::Value::Null);
}

#[test]
fn a_version_that_failed_is_not_installed_again_and_a_newer_one_is() {
    let node = Node::new("1");
    node.publish("beta", 1, &["1", "2", "3"]);
    node.write(
        "state/failed/3",
        "version=3\nreason=kernel panic\nwhen=x\n\n",
    );
    node.does("check", 0, "2\n");
    node.does("update 3", 5, "3 has failed: kernel panic");
    node.write("state/failed/2", "version=2\nreason=x\nwhen=x\n\n");
    node.does("check", 3, "up to date");
    node.publish("beta", 2, &["1", "2", "3", "4"]);
    node.does("update", 0, "4 starts");
}

#[test]
fn an_entry_without_tries_counts_as_failed_and_can_be_tried_again() {
    let node = Node::new("1");
    node.publish("beta", 1, &["2"]);
    node.install("2", "+0-3");
    node.does("update", 0, "1 is up to date");
    let record = node.read("state/failed/2");
    assert!(
        record.starts_with("version=2\nreason=no boot of it was found good\nwhen=2"),
        "{record}"
    );
    node.does("status", 0, "2 (failed)");
    node.does("update --retry 2", 0, "2 starts at the next boot");
    assert_eq!(node.entries(), ["os_1.efi", "os_2+3-0.efi"]);
    node.does("status", 0, "2 (starts at the next boot)");
}

#[test]
fn until_the_running_version_is_found_good_nothing_replaces_the_one_before() {
    let node = Node::new("1");
    node.runs("2");
    node.install("2", "+2-1");
    node.publish("beta", 1, &["1", "2", "3"]);
    node.write("run/boot", "entry=os_2+2-1.efi\ntrial=yes\n");
    node.does("update", 5, "2 has not been found good yet");
    assert_eq!(node.entries(), ["os_1.efi", "os_2+2-1.efi"]);
    node.does("status", 0, "2 (running, on trial)");
    node.write("run/blessed", "");
    node.does("update", 0, "3 starts at the next boot");
}

#[test]
fn a_server_that_cheats_or_fails_is_found_out() {
    let node = Node::new("1");
    node.does(
        "update",
        4,
        "SHA256SUMS can't be fetched, or its signature is not good",
    );
    node.publish("beta", 5, &["2"]);
    let folder = "web/beta/x86_64";
    let sums = node.read(&format!("{folder}/SHA256SUMS"));

    node.write(&format!("{folder}/SHA256SUMS.gpg"), "good for nothing\n");
    node.does("check", 4, "its signature is not good");
    node.sign(folder, &sums);
    node.does("check", 0, "2");

    node.write(
        &format!("{folder}/channel.txt"),
        "channel=beta\narch=x86_64\nserial=9\n",
    );
    node.does(
        "check",
        4,
        "channel.txt is not the one that SHA256SUMS names",
    );
    node.publish("beta", 4, &["2", "3"]);
    node.does(
        "check",
        4,
        "is at serial 4, and this node has seen 5: an old state was replayed",
    );
    assert_eq!(node.read("state/update/serial.beta"), "5\n");
    node.publish("beta", 6, &["2"]);
    node.does("check", 0, "2");

    // Another channel's folder, whole and signed, in the place of this one's.
    node.publish("alpha", 8, &["4"]);
    fs::remove_dir_all(node.path(folder)).unwrap();
    fs::rename(node.path("web/alpha/x86_64"), node.path(folder)).unwrap();
    node.does(
        "update",
        4,
        "is the channel `alpha`, and this node follows `beta`",
    );
    assert_eq!(node.entries(), ["os_1.efi"]);
    node.does("status", 0, "failed");

    node.publish("beta", 7, &["5"]);
    node.write("web/down", "");
    node.does("update", 4, "5 could not be installed");
    assert_eq!(node.entries(), ["os_1.efi"], "what was cut is cleared up");
    fs::remove_file(node.path("web/down")).unwrap();
    node.does("update", 0, "5 starts");
}

#[test]
fn versions_of_which_a_part_is_missing_are_not_offered() {
    let node = Node::new("1");
    node.publish("beta", 1, &["2", "3"]);
    let folder = "web/beta/x86_64";
    let sums = node.read(&format!("{folder}/SHA256SUMS"));
    for part in [
        "os_3.efi",
        "os_3.sig.raw",
        "os_3_ab-1.usr.raw",
        "os_3_cd-2.vty.raw",
    ] {
        let rest: String = sums
            .split_inclusive('\n')
            .filter(|line| !line.ends_with(&format!(" {part}\n")))
            .collect();
        assert_ne!(rest, sums);
        node.sign(folder, &rest);
        node.does("check", 0, "2\n");
        node.does("update 3", 5, "beta does not have 3");
    }
}

#[test]
fn a_pin_holds_a_node_where_it_is() {
    let node = Node::new("1");
    node.publish("beta", 1, &["1", "2", "3"]);
    node.does("pin", 0, "staying at 1");
    node.does("check", 3, "up to date");
    node.does("pin 2", 0, "going to 2 and no further");
    node.does("status", 0, "Pin:        2");
    node.does("check", 0, "2\n");
    node.does("unpin", 0, "following beta");
    node.does("check", 0, "3\n");
    assert_eq!(node.read("etc/update.conf"), "channel=beta\n");
    node.does("pin ../x", 2, "`../x` is no version");
}

#[test]
fn a_rollback_gives_the_running_version_up_where_there_is_another() {
    let node = Node::new("1");
    node.does("rollback", 5, "there is no other version to go back to");
    node.install("2", "");
    node.runs("2");
    let gone = fs::read_dir(node.path("uuids")).unwrap().count();
    assert_eq!(gone, 4);
    node.does("rollback", 0, "2 is given up; rebooting into 1");
    assert_eq!(node.entries(), ["os_1.efi", "os_2+0-3.efi"]);
    assert!(node.log().contains("systemctl --no-block reboot"));
    let record = node.read("state/failed/2");
    assert!(
        record.contains("\nreason=rolled back by hand\n"),
        "{record}"
    );
    node.runs("1");
    node.publish("beta", 1, &["1", "2"]);
    node.does("update", 0, "1 is up to date");

    // The entry alone is not enough.
    node.runs("3");
    node.install("3", "");
    for uuid in fs::read_dir(node.path("uuids")).unwrap() {
        fs::remove_file(uuid.unwrap().path()).unwrap();
    }
    node.does("rollback", 5, "there is no other version to go back to");
}

#[test]
fn reboots_follow_the_policy_and_never_in_a_circle() {
    let node = Node::new("1");
    node.publish("beta", 1, &["2"]);
    node.write("etc/update.conf", "channel=beta\nreboot=window\n");
    node.does("update", 0, "in the next maintenance window");
    let _ = node.log();
    assert_eq!(node.script("update-reboot", &[]).code, 0);
    assert!(node.log().contains("systemctl --no-block reboot"));
    let again = node.script("update-reboot", &[]);
    assert!(
        again.text.contains("the last reboot did not start it"),
        "{}",
        again.text
    );
    assert!(!node.log().contains("systemctl"));

    let node = Node::new("1");
    node.publish("beta", 1, &["2"]);
    node.write("etc/update.conf", "channel=beta\nreboot=immediate\n");
    node.does("update", 0, "rebooting into 2");
    assert!(node.log().contains("systemctl --no-block reboot"));
    node.does("update", 0, "not rebooting again by itself");
    assert!(!node.log().contains("systemctl"));
    assert_eq!(node.script("update-reboot", &[]).code, 0);
    assert!(!node.log().contains("systemctl"), "there is no window");
}

#[test]
fn two_at_once_are_one_too_many() {
    let node = Node::new("1");
    node.publish("beta", 1, &["2"]);
    fs::create_dir_all(node.path("run")).unwrap();
    let mut command = Command::new("flock");
    let mut other = command
        .arg(node.path("run/update.lock"))
        .args(["sh", "-c", "echo locked; read _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 7];
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut line).unwrap();
    node.does("update", 5, "another hullwright-update is at work");
    drop(other.stdin.take());
    other.wait().unwrap();
    node.does("update", 0, "2 starts");
}

#[test]
fn a_full_esp_is_told_of_and_leftovers_of_cut_updates_are_not_in_the_way() {
    let node = Node::new("1");
    node.publish("beta", 1, &["2"]);
    for name in [
        "EFI/Linux/.#sysupdateos_2+3-0.efi0123",
        "EFI/BOOT/.hullwright-new.efi",
        "FSCK0000.REC",
    ] {
        node.write(&format!("esp/{name}"), "x");
    }
    node.write("bin/df", "#!/bin/sh\necho Avail; echo 1000\n");
    let df = node.path("bin/df");
    fs::set_permissions(&df, fs::Permissions::from_mode(0o755)).unwrap();
    let text = node.does("update", 5, "there is no room for the boot entry of 2");
    assert!(text.contains("has 1000 bytes free"), "{text}");
    assert_eq!(node.entries(), ["os_1.efi"]);
    assert!(!node.path("esp/FSCK0000.REC").exists());
    assert!(!node.path("esp/EFI/BOOT/.hullwright-new.efi").exists());
    assert!(!node.log().contains("sysupdate"));
    fs::remove_file(df).unwrap();
    // The new name of a rename that was cut: installed, as far as names go.
    node.write("esp/EFI/Linux/os_2+3-0.efi", "");
    let text = node.does("update", 0, "2 starts");
    assert!(text.contains("without content"), "{text}");
    assert_eq!(node.entries(), ["os_1.efi", "os_2+3-0.efi"]);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let node = Node::new("1");
    for (line, message) in [
        ("channel=../x", "`channel=../x` in "),
        ("reboot=never", "is not `off`, `immediate` or `window`"),
        ("url=ftp://x", "is not a URL"),
        ("url=http://a\"b", "is not a URL"),
        ("pin=v1", "is no version"),
    ] {
        node.write("etc/update.conf", &format!("{line}\n"));
        node.does("check", 1, message);
    }
    node.write("etc/update.conf", "url=\n");
    node.does("check", 5, "no server");
    node.does("", 2, "Usage");
    node.does("--help", 0, "rollback");
    node.does("update --help", 0, "rollback");
    node.does("upgrade", 2, "`upgrade` is no command");
    node.does("update 1 2", 2, "takes one version");
    node.does("update x", 2, "`x` is no version");
    node.does("status --yaml", 2, "takes `--json`");
}

#[test]
fn the_channel_comes_from_the_esp_once() {
    let node = Node::new("1");
    fs::remove_file(node.path("etc/update.conf")).unwrap();
    node.write(
        "esp/hullwright/update.conf",
        "channel=lts\nurl=http://evil\n",
    );
    assert_eq!(node.script("update-setup", &[]).code, 0);
    assert_eq!(node.read("etc/update.conf"), "channel=lts\n");
    assert!(
        node.read("sysupdate.d/30-usr.transfer")
            .contains("Path=http://server/lts/x86_64/\n")
    );
    node.write("esp/hullwright/update.conf", "channel=dev\n");
    assert_eq!(node.script("update-setup", &[]).code, 0);
    assert_eq!(node.read("etc/update.conf"), "channel=lts\n");

    for seed in ["channel=$(reboot)\n", "channel=\n", "x"] {
        let node = Node::new("1");
        fs::remove_file(node.path("etc/update.conf")).unwrap();
        node.write("esp/hullwright/update.conf", seed);
        assert_eq!(node.script("update-setup", &[]).code, 0);
        assert!(!node.path("etc/update.conf").exists());
        assert!(
            node.read("sysupdate.d/30-usr.transfer")
                .contains("/stable/x86_64/\n")
        );
    }
}

/// A systemd-boot of a version.
fn loader(version: &str) -> String {
    format!("MZ\u{1}#### LoaderInfo: systemd-boot {version} ####\u{2}")
}

#[test]
fn an_older_boot_loader_is_replaced_and_no_other() {
    let (old, new) = (loader("257.9-1~deb13u1"), loader("257.13-1~deb13u1"));
    let paths = [
        "esp/EFI/BOOT/BOOTX64.EFI",
        "esp/EFI/systemd/systemd-bootx64.efi",
    ];
    let node = |served: &str| {
        let node = Node::new("1");
        node.write("lib/systemd-boot.version", "257.13-1~deb13u1\n");
        for path in paths {
            node.write(path, &old);
        }
        node.publish("beta", 1, &["1"]);
        let folder = "web/beta/x86_64";
        node.write(&format!("{folder}/systemd-boot_os_1.efi"), served);
        let sums = node.read(&format!("{folder}/SHA256SUMS"));
        let sum = sha256(served.as_bytes());
        node.sign(folder, &format!("{sums}{sum}  systemd-boot_os_1.efi\n"));
        node
    };
    let good = node(&new);
    let ended = good.script("update-loader", &[]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    for path in paths {
        assert_eq!(good.read(path), new);
    }
    assert!(
        good.read("state/update/history")
            .contains("systemd-boot 257.13")
    );
    let _ = good.log();
    assert_eq!(good.script("update-loader", &[]).code, 0);
    assert_eq!(good.log(), "", "nothing is fetched for a loader of today");

    // What the release serves is not what the image was made with.
    for served in [loader("257.14-1"), old.clone(), new.replacen("MZ", "ZM", 1)] {
        let bad = node(&served);
        let ended = bad.script("update-loader", &[]);
        assert_eq!(ended.code, 4, "{}", ended.text);
        assert_eq!(bad.read(paths[0]), old);
    }
    let trial = node(&new);
    fs::remove_file(trial.path("esp/EFI/Linux/os_1.efi")).unwrap();
    trial.install("1", "+2-1");
    trial.write("run/boot", "entry=os_1+2-1.efi\ntrial=yes\n");
    assert_eq!(trial.script("update-loader", &[]).code, 0);
    assert_eq!(trial.read(paths[0]), old);
    let foreign = node(&new);
    foreign.write(paths[0], "MZ of somebody else");
    assert_eq!(foreign.script("update-loader", &[]).code, 0);
    assert_eq!(foreign.read(paths[0]), "MZ of somebody else");
    assert_eq!(foreign.read(paths[1]), new);
}

#[test]
fn a_download_that_hangs_ends() {
    let node = Node::new("1");
    node.write("bin/systemd-pull", "#!/bin/sh\nexec sleep 600\n");
    let mut command = node.command();
    let started = std::time::Instant::now();
    let status = command
        .env("HULLWRIGHT_SMALL_LIMIT", "1")
        .arg(Path::new(UNITS).join("hullwright-update"))
        .arg("check")
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(4));
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn the_scripts_hold_against_shellcheck() {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let mut command = Command::new("shellcheck");
        command.arg("--version").stdout(Stdio::null());
        command.status().is_ok()
    });
    if !found {
        return;
    }
    let names = [
        "hullwright-update",
        "update-lib.sh",
        "update-setup",
        "update-reboot",
        "update-loader",
        "update-try",
    ];
    let mut command = Command::new("shellcheck");
    let output = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["-x", "-P", "."])
        .args(names.map(|name| Path::new(UNITS).join(name)))
        .args(["node.sh", "oneshot.sh"].map(|name| Path::new(SCRIPTS).join(name)))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
