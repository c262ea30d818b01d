//! Ctrl-C and `kill -9` in the middle of a build.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::compare::{assert_same_output, names};
use crate::fixture::{Fixture, fixture, timed};
use crate::support::good;

/// Starts a build into `dir/out` whose progress can be read.
fn start(fixture: &Fixture, dir: &Path) -> Child {
    let mut build = fixture.build(dir);
    build.args(["--json", "--rebuild", "-o", "out"]);
    build.stdout(Stdio::piped()).stderr(Stdio::null());
    build.spawn().unwrap()
}

/// Sends `signal` when `stage` has ended, or after a moment when there is none.
fn strike(mut child: Child, stage: Option<&str>, signal: Signal) -> ExitStatus {
    match stage {
        None => std::thread::sleep(Duration::from_millis(1500)),
        Some(stage) => {
            let sign = format!("\"stage\":\"{stage}\"");
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let seen = lines.any(|line| line.unwrap().contains(&sign));
            assert!(seen, "the build ended before {stage} did");
        }
    }
    kill_process(Pid::from_child(&child), signal).unwrap();
    child.wait().unwrap()
}

fn hidden(dir: &Path) -> Vec<String> {
    let mut names = names(dir);
    names.retain(|name| name.starts_with('.'));
    names
}

#[test]
fn an_interrupted_build_leaves_the_old_output_whole_and_the_next_one_clears_up() {
    let fixture = fixture();
    let dir = fixture.folder("interrupted");
    for (signal, stage) in [
        (Signal::INT, None),
        (Signal::KILL, None),
        (Signal::KILL, Some("usr")),
    ] {
        let what = format!("{signal:?} after {}", stage.unwrap_or("a moment"));
        let status = timed(&what, || strike(start(fixture, &dir), stage, signal));
        assert!(!dir.join("out").exists(), "{what} left an output");
        if signal == Signal::INT {
            assert_eq!(status.code(), Some(130), "{what}");
            assert!(hidden(&dir).is_empty(), "{what}: {:?}", hidden(&dir));
        } else {
            assert_eq!(status.signal(), Some(9), "{what}");
        }
    }
    assert_eq!(hidden(&dir).len(), 1, "the last killed one left its folder");

    timed("the next build", || {
        good(fixture.build(&dir).args(["-o", "out"]));
    });
    assert_same_output(&fixture.out, &dir.join("out"));
    assert_eq!(names(&dir), ["cache", "out", "qemu.x86_64.lock"]);
    let temporary = names(&dir.join("cache/tmp"));
    assert!(
        temporary.iter().all(|name| name == ".lock"),
        "{temporary:?}"
    );

    let status = timed("INT after usr, over an output", || {
        strike(start(fixture, &dir), Some("usr"), Signal::INT)
    });
    assert_eq!(status.code(), Some(130));
    assert!(hidden(&dir).is_empty(), "{:?}", hidden(&dir));
    assert_same_output(&fixture.out, &dir.join("out"));
}
