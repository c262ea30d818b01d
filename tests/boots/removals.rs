//! An image without any one of its files, booted with its workload: what makes it fail, the audit has named.
//!
//! The files are drawn with a fixed seed from all of `/usr`, and removed by `root.prune`. What the audit
//! says about it is let pass by `allow`, so that the image is built and shows what is broken.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{build, good, hullwright, literal, shipped, shown};
use crate::updates::power::{Chance, seed};
use crate::{ask_guest, asked_for, container, state};

/// How many images boot.
const MANY: usize = 40;

/// Of a hundred removals after which boot or workload fails so many are named.
const NAMED: usize = 95;

/// Seconds for a boot and its workload. One that panics starts again until then.
const LIMIT: &str = "420";

/// What a container host is for; the first thing that fails is on the last line, and is the status.
const WORKLOAD: &str = concat!(
    state!(),
    r#"
check() { echo "checks: $*"; "$@" >/dev/null 2>&1 || { "$@"; echo "failed: $*"; exit 1; }; }
container() {
    ctr image import /run/image.tar && ctr run --rm localhost/busybox:test c1 /bin/sh -c 'echo HELLO; id -u'
}
serves() { ssh-keyscan -T 30 127.0.0.1 2>/dev/null | grep -q ssh-ed25519; }
running() { [ "$(systemctl is-system-running --wait)" = running ]; }
blessed() {
    for i in $(seq 90); do ls "$(bootctl -p)"/EFI/Linux | grep -q "_$IMAGE_VERSION.efi" && return; sleep 1; done
    return 1
}
cat > /run/image.tar
check running
check container
check networkctl status
check resolvectl query localhost
check nft list ruleset
check serves
check journalctl -b -n 1
check blessed
echo "workload=good"
"#
);

/// What the profile says when a file is gone and every finding is let pass.
fn profile(dir: &Path, path: &str, allow: &[Value]) {
    let profile = json!({
        "name": "removal",
        "extends": "qemu",
        "root": {"prune": [literal(path)]},
        "allow": allow,
    });
    fs::write(dir.join("removal.yaml"), profile.to_string()).unwrap();
}

/// The audit's events about the profile in `dir`, and how it ended.
fn audit(dir: &Path) -> (Option<i32>, Vec<Value>) {
    let mut audit = shipped(dir);
    let output = audit
        .args(["audit", "./removal.yaml", "--json"])
        .output()
        .unwrap();
    let events = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (output.status.code(), events)
}

/// Regular files and links that packages have in the `/usr` of the image in `out`. What hullwright
/// makes itself is put in after packages are pruned.
fn files(dir: &Path, out: &Path) -> BTreeSet<String> {
    let list = good(
        hullwright(dir)
            .arg("inspect")
            .arg(out)
            .args(["ls", "-r", "/usr"]),
    );
    let all: BTreeSet<String> = list
        .lines()
        .filter(|line| !line.starts_with('d'))
        .filter_map(|line| Some(line[line.find("/usr/")?..].split(" -> ").next()?.to_owned()))
        .collect();
    let mut size = shipped(dir);
    let sizes = good(size.args(["size", "./removal.yaml", "--files", "--json"]));
    let result: Value = serde_json::from_str(sizes.lines().last().unwrap()).unwrap();
    let of_packages = result["files"].as_array().unwrap().iter();
    of_packages
        .filter(|file| file["package"].is_string())
        .map(|file| file["path"].as_str().unwrap().to_owned())
        .filter(|path| all.contains(path))
        .collect()
}

/// What became of an image without a file.
struct Fate {
    path: String,
    /// What was said about it, in a word each.
    named: Vec<String>,
    /// What failed; absent: nothing did.
    failed: Option<String>,
}

/// Removes `path`, and boots.
fn without(dir: &Path, path: &str, image: &[u8]) -> Fate {
    profile(dir, path, &[]);
    let (status, events) = audit(dir);
    let findings: Vec<&Value> = events
        .iter()
        .filter(|event| event["event"] == "finding")
        .collect();
    let named: Vec<String> = findings
        .iter()
        .map(|finding| format!("{}: {}", finding["path"].as_str().unwrap(), finding["what"]))
        .collect();
    // Where the profile, or what makes the tree, asks for the file, there is no image to boot.
    let not_built = |said: &str, mut named: Vec<String>| {
        assert!(
            said.contains(path.rsplit('/').next().unwrap()),
            "{path}: {said}"
        );
        named.push(said.to_owned());
        Fate {
            path: path.to_owned(),
            named,
            failed: Some("not built".to_owned()),
        }
    };
    if status != Some(0) && findings.is_empty() {
        return not_built(events.last().unwrap()["message"].as_str().unwrap(), named);
    }
    let allow: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let mut entry = finding["allow"].clone();
            entry["reason"] = "drawn by the test".into();
            entry
        })
        .collect();
    profile(dir, path, &allow);
    let out = dir.join("out");
    let built = shipped(dir)
        .args(["build", "./removal.yaml", "-o"])
        .arg(&out)
        .output()
        .unwrap();
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        let said = said.lines().find(|line| line.starts_with("error: "));
        return not_built(said.unwrap(), named);
    }
    let disk = out.join("disk.raw");
    let output = ask_guest(dir, &disk, &["--timeout", LIMIT], WORKLOAD, image);
    let text = shown(&output);
    let failed = (!text.contains("workload=good")).then(|| {
        let last = text.lines().rfind(|line| line.starts_with("failed: "));
        last.map_or_else(|| format!("no answer, {}", output.status), str::to_owned)
    });
    Fate {
        path: path.to_owned(),
        named,
        failed,
    }
}

#[test]
fn what_makes_a_boot_fail_was_named() {
    let cases: Vec<usize> = (1..=MANY).filter(|n| asked_for(&n.to_string())).collect();
    if cases.is_empty() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    profile(dir.path(), "/usr/no/such/file", &[]);
    let out = dir.path().join("out");
    build(dir.path(), "./removal.yaml", &out, &[]);
    let image = container::oci_image("amd64");
    let mut left: Vec<String> = files(dir.path(), &out).into_iter().collect();
    let mut chance = Chance(seed());
    let mut fates = Vec::new();
    for number in 1..=MANY {
        let path = left.swap_remove(chance.below(left.len() as u64) as usize);
        if !cases.contains(&number) {
            continue;
        }
        let fate = without(dir.path(), &path, &image);
        println!(
            "{number}: {path}: {}; named: {:?}",
            fate.failed.as_deref().unwrap_or("good"),
            fate.named
        );
        fates.push(fate);
    }
    let failed: Vec<&Fate> = fates.iter().filter(|fate| fate.failed.is_some()).collect();
    let missed: Vec<String> = failed
        .iter()
        .filter(|fate| fate.named.is_empty())
        .map(|fate| {
            format!(
                "{}: {}",
                fate.path,
                fate.failed.as_deref().unwrap_or_default()
            )
        })
        .collect();
    println!(
        "{} booted, {} failed, of which {} were named; missed: {missed:#?}",
        fates.len(),
        failed.len(),
        failed.len() - missed.len()
    );
    assert!(
        (failed.len() - missed.len()) * 100 >= NAMED * failed.len(),
        "{missed:#?}"
    );
}
