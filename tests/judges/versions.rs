//! Judge: `dpkg --compare-versions`, where the host has dpkg.

use std::cmp::Ordering;
use std::io::Write as _;
use std::process::{Command, Stdio};

use hullwright::resolve::version::compare;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// Pairs compared; one dpkg process each.
const PAIRS: usize = 2500;

/// Reads `a operator b` lines and prints those that dpkg denies.
const LOOP: &str = r#"while read -r a operator b; do
    dpkg --compare-versions "$a" "$operator" "$b" || echo "$a $operator $b"
done"#;

#[test]
fn versions_compare_as_dpkg_compares_them() {
    let dpkg = Command::new("dpkg")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !dpkg.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this host has no dpkg");
        return;
    }
    // A small alphabet makes near misses common.
    let version = "([0-2]:)?[0-9][019ab.+~]{0,4}([019a.+~-]{0,2}-[019a.+~]{1,3})?";
    let strategy = (version, version, any::<prop::sample::Index>(), 0..4_u8);
    let mut runner = TestRunner::deterministic();
    let mut input = String::new();
    let mut equal = 0;
    for _ in 0..PAIRS {
        let (a, mut b, place, kind) = strategy.new_tree(&mut runner).unwrap().current();
        if kind < 2 {
            // The other one differs by a character only.
            b.clone_from(&a);
            let start = a.find(':').map_or(1, |colon| colon + 2);
            b.insert(
                start + place.index(b.len() - start + 1),
                if kind == 0 { '0' } else { '~' },
            );
        }
        let operator = match compare(&a, &b) {
            Ordering::Less => "lt",
            Ordering::Equal => "eq",
            Ordering::Greater => "gt",
        };
        equal += usize::from(operator == "eq");
        input += &format!("{a} {operator} {b}\n");
    }
    input += "1. eq 1.0\n1.0 eq 1.0-0\n1~ lt 1\n";
    assert!(equal > 5, "too few equal pairs to judge: {equal}");
    let mut shell = Command::new("sh")
        .args(["-c", LOOP])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = shell.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = shell.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}
