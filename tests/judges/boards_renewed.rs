//! The built-in boards against the archive as it is today.

use crate::support::{hullwright, shown};

#[test]
fn the_archive_still_knows_what_the_boards_pin() {
    let dir = tempfile::tempdir().unwrap();
    // The mirror of a test may lag behind; the signature counts all the same.
    let run = |more: &[&str]| {
        let mut command = hullwright(dir.path());
        command
            .args([
                "board",
                "update",
                "raspberry-pi-4",
                "--json",
                "--allow-expired",
            ])
            .args(more);
        command.output().unwrap()
    };
    let checked = run(&["--check"]);
    assert!(
        matches!(checked.status.code(), Some(0 | 9)),
        "{}",
        shown(&checked)
    );
    let written = run(&["--output", "board.yaml"]);
    assert_eq!(written.status.code(), Some(0), "{}", shown(&written));
    let last = |output: &std::process::Output| {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        serde_json::from_str::<serde_json::Value>(text.lines().last().unwrap()).unwrap()
    };
    assert_eq!(last(&checked)["changes"], last(&written)["changes"]);
    println!(
        "           newer in the archive: {}",
        last(&written)["changes"]
    );
    // What was written is a board, and up to date; its overlay lies beside it.
    let mut command = hullwright(dir.path());
    let again = command
        .args([
            "board",
            "update",
            "./board.yaml",
            "--check",
            "--allow-expired",
        ])
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", shown(&again));
    assert!(
        dir.path()
            .join("files/no-clock/usr/lib/clock-epoch")
            .exists()
    );
}
