//! Release trees: what is refused, and what each command says. The releases are small, and the code
//! that publishes and verifies them is the one for large ones.

mod change;
mod cut;
mod small;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::home::{Home, keys};
use small::{Version, publish};

/// 2025-01-01.
const STAMP: u64 = 1_735_689_600;
const DAY: u64 = 86_400;

fn version<'a>(id: &'a str, version: &'a str, days: u64) -> Version<'a> {
    Version {
        id,
        version,
        stamp: STAMP + days * DAY,
        blocks: 40,
    }
}

/// A project with `site`, in which `beta` has two versions of `os` and one of `web`.
fn home() -> Home {
    let home = Home::new();
    publish(
        &home.path("site"),
        "beta",
        &keys(),
        &[
            version("os", "1.0", 0),
            version("os", "1.1", 1),
            version("web", "1.1", 1),
        ],
    );
    home
}

const FOLDER: &str = "site/beta/x86_64";

/// What `release verify` finds in `site`: files and what is wrong with them.
fn findings(home: &Home) -> Vec<(String, String)> {
    let key = keys().join("release.asc");
    let key = key.to_str().unwrap();
    let ran = home.run(&["release", "verify", "site", "--json", "--key", key]);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let findings: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "finding")
        .map(|line| (text(line, "file"), text(line, "problem")))
        .collect();
    let (status, event) = match findings.len() {
        0 => (0, "result"),
        _ => (4, "error"),
    };
    assert_eq!(ran.status, status, "{ran}");
    assert_eq!(lines.last().unwrap()["event"], event, "{ran}");
    findings
}

/// Every file below `dir`, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Changes a file, and none that shares its bytes.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}
