//! Compiled packages in the cache: damaged, evicted and half written, and the same bytes all the same.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::compare::{assert_same_output, names};
use crate::fixture::{fixture, timed};
use crate::support::{exhaustive, good, hullwright, shown};

/// Objects, the largest first.
fn objects(cache: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = names(&cache.join("objects"))
        .iter()
        .flat_map(|shard| {
            let shard = cache.join("objects").join(shard);
            names(&shard).into_iter().map(move |name| shard.join(name))
        })
        .collect();
    paths.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().size()));
    paths
}

/// Runs what must succeed; its stderr.
fn words(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn damaged_objects_are_made_again_in_the_middle_of_a_build() {
    let fixture = fixture();
    let dir = fixture.folder("damaged");
    timed("cold, keeping objects", || {
        good(fixture.build(&dir).args(["-o", "out"]));
    });
    let objects = objects(&dir.join("cache"));
    // In the data, so that it shows only when it is linked; and in more than one.
    for path in objects.iter().take(3) {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let len = file.metadata().unwrap().len();
        for at in (len / 2..len).step_by(4096) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        }
    }
    let said = timed("with three damaged objects", || {
        words(fixture.build(&dir).args(["-o", "again"]))
    });
    for path in objects.iter().take(3) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(said.contains(name), "{name} is not named in {said}");
    }
    assert_same_output(&fixture.out, &dir.join("again"));
    let said = timed("with whole ones", || {
        words(fixture.build(&dir).args(["-o", "third"]))
    });
    assert!(!said.contains("damaged"), "{said}");
    assert_same_output(&fixture.out, &dir.join("third"));
}

#[test]
fn eviction_in_the_middle_of_two_builds_does_no_harm() {
    let fixture = fixture();
    let dir = fixture.folder("evicted");
    let done = AtomicBool::new(false);
    let build = |out: &str, more: &[&str]| {
        good(fixture.build(&dir).args(["-o", out]).args(more));
    };
    let rounds = timed("two builds, and an empty cache all the time", || {
        std::thread::scope(|scope| {
            let evictor = scope.spawn(|| {
                let mut rounds = 0;
                while !done.load(Ordering::Relaxed) {
                    let mut gc = hullwright(&dir);
                    gc.env("HULLWRIGHT_CACHE", dir.join("cache"));
                    good(gc.args(["cache", "gc", "--limit", "0"]));
                    rounds += 1;
                    std::thread::sleep(Duration::from_millis(300));
                }
                rounds
            });
            let one = scope.spawn(|| build("one", &[]));
            let two = scope.spawn(|| build("two", &["--set", "kernel.cmdline=[quiet]"]));
            let both = (one.join(), two.join());
            done.store(true, Ordering::Relaxed);
            both.0.unwrap();
            both.1.unwrap();
            evictor.join().unwrap()
        })
    });
    assert!(rounds > 2, "evicted only {rounds} times");
    assert_same_output(&fixture.out, &dir.join("one"));
    timed("the other one, undisturbed", || {
        build("three", &["--set", "kernel.cmdline=[quiet]"]);
    });
    assert_same_output(&dir.join("two"), &dir.join("three"));
}

#[test]
fn after_kill_9_at_any_moment_the_next_build_makes_the_right_bytes() {
    let fixture = fixture();
    let dir = fixture.folder("killed");
    // With nothing in the cache, and with everything.
    let whole = [(); 2].map(|()| {
        let begun = Instant::now();
        good(fixture.build(&dir).args(["--rebuild", "-o", "out"]));
        begun.elapsed()
    });
    let mut killed = 0;
    for round in 0..if exhaustive() { 30 } else { 3 } {
        // In every other round packages have to be compiled.
        if round % 2 == 0 {
            fs::remove_dir_all(dir.join("cache/objects")).unwrap();
        }
        let mut build = fixture.build(&dir);
        build.args(["--rebuild", "-o", "out"]);
        build.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = build.spawn().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let part = now.unwrap().subsec_nanos() % 1000;
        // Other work makes builds take longer now and shorter then: well before the end.
        let moment = whole[round % 2] * part / 1500;
        std::thread::sleep(moment);
        let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        let status = child.wait().unwrap();
        killed += u32::from(status.signal() == Some(9));
        let what = format!("round {round}, killed after {:.2} s", moment.as_secs_f64());
        // What was there before is whole, whether or not it was replaced.
        assert_same_output(&fixture.out, &dir.join("out"));
        timed(&what, || {
            good(fixture.build(&dir).args(["--rebuild", "-o", "out"]));
        });
        assert_same_output(&fixture.out, &dir.join("out"));
        let left = names(&dir.join("cache/tmp"));
        assert!(left.iter().all(|name| name == ".lock"), "{what}: {left:?}");
        let mut verify = hullwright(&dir);
        verify.env("HULLWRIGHT_CACHE", dir.join("cache"));
        good(verify.args(["cache", "verify"]));
    }
    assert!(killed > 0, "every build was done before it was killed");
}
