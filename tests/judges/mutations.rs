//! An image without one of the files that it uses: the audit names what is gone.
//!
//! Who uses what is not the audit's own word ([`crate::uses`]). The files are drawn with a fixed seed, and
//! removed by `root.prune`, each alone.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::fixture::{Fixture, fixture, timed};
use crate::support::{exhaustive, literal, shipped, shown};
use crate::uses::{Users, uses};

/// How many images without a file are audited in every run, and when the long loops are asked for.
const FEW: usize = 20;
const MANY: usize = 200;

/// Of a hundred removals so many are named.
const NAMED: usize = 99;

/// What became of an image without a file.
enum Fate {
    /// A finding is about a user of the file, or about the file.
    Named,
    /// There was no audit: the profile or a quirk asks for the file, and the build ended with its name.
    Refused,
    /// Nobody noticed, or something else was said.
    Missed(String),
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// Whether hullwright makes the file. It does so when those of packages are pruned: nothing removes it.
fn is_ours(path: &str) -> bool {
    path.starts_with("/usr/lib/hullwright/") || base(path).starts_with("hullwright-")
}

/// Audits the image without what `prune` matches.
fn audit(of: &Fixture, dir: &Path, prune: &[&str]) -> (Output, Vec<Value>) {
    let profile = json!({"extends": "qemu", "root": {"prune": prune}});
    fs::write(dir.join("qemu.yaml"), profile.to_string()).unwrap();
    let mut audit = shipped(dir);
    audit.args(["audit", "./qemu.yaml", "--offline", "--json", "--from"]);
    let output = audit.arg(&of.inputs).output().unwrap();
    let events = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &Value| event["event"] != "allowed")
        .collect();
    (output, events)
}

/// Removes the file at `path`.
fn without(of: &Fixture, dir: &Path, path: &str, users: &Users) -> Fate {
    let (output, events) = audit(of, dir, &[&literal(path)]);
    // Without the removal there are none, so that each of them is new.
    let findings = events.iter().filter(|event| event["event"] == "finding");
    let findings: Vec<(&str, &str)> = findings
        .map(|finding| {
            (
                finding["path"].as_str().unwrap(),
                finding["what"].as_str().unwrap(),
            )
        })
        .collect();
    let named = |&(by, what): &(&str, &str)| users.contains(by) || base(what) == base(path);
    let said = events.last().unwrap()["message"]
        .as_str()
        .unwrap_or_default();
    match output.status.code() {
        Some(5) if findings.iter().any(named) => Fate::Named,
        Some(2 | 5) if findings.is_empty() && said.contains(base(path)) => Fate::Refused,
        status => Fate::Missed(format!("{status:?} {said} {findings:?}")),
    }
}

/// Numbers for drawing: xorshift64.
fn next(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed as usize
}

#[test]
fn a_used_file_that_is_gone_is_named() {
    let of = fixture();
    let used = timed("who uses what", || uses(&of.out.join("usr.erofs")));
    let dir = of.folder("mutations");
    let (output, _) = audit(of, &dir, &[]);
    assert!(output.status.success(), "{}", shown(&output));
    let mut left: Vec<(&String, &Users)> = used.iter().filter(|(path, _)| !is_ours(path)).collect();
    let mut seed: u64 = 0x9E37_79B9_7F4A_7C15;
    let count = if exhaustive() { MANY } else { FEW };
    let all = left.len();
    let (mut named, mut refused, mut missed) = (0, Vec::new(), Vec::new());
    timed(&format!("{count} of {all} used files removed"), || {
        while named + missed.len() < count {
            let (path, users) = left.swap_remove(next(&mut seed) % left.len());
            match without(of, &dir, path, users) {
                Fate::Named => named += 1,
                Fate::Refused => refused.push(path),
                Fate::Missed(said) => missed.push(format!("{path}, used by {users:?}: {said}")),
            }
        }
    });
    println!(
        "           {named} named by a finding, {} missed",
        missed.len()
    );
    println!("           besides, refused by name: {refused:?}");
    for miss in &missed {
        println!("           missed: {miss}");
    }
    assert!(named * 100 >= NAMED * count, "{missed:#?}");
}
