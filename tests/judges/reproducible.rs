//! Same lock, same profile, same keys: same bytes.

use std::process::Command;

use crate::compare::assert_same_output;
use crate::fixture::{fixture, timed};
use crate::support::{bad, build, good, hullwright, tool};

const STRANGER: u32 = 12_345;

#[test]
fn one_thread_and_a_cold_cache_make_the_same_bytes() {
    let fixture = fixture();
    let dir = fixture.folder("one-thread");
    timed("cold, one thread", || {
        good(fixture.build(&dir).args(["--threads", "1", "-o", "out"]));
    });
    assert_same_output(&fixture.out, &dir.join("out"));
}

#[test]
fn a_warm_cache_makes_the_same_bytes() {
    let fixture = fixture();
    let dir = fixture.folder("warm");
    timed("warm, all threads", || {
        good(fixture.build_warm(&dir).args(["-o", "out"]));
    });
    assert_same_output(&fixture.out, &dir.join("out"));
}

/// `program` as somebody else, elsewhere, in another year, speaking another language.
fn elsewhere(program: &std::path::Path, clock: &str) -> Command {
    let mut command = tool("setpriv");
    command
        .args(["--reuid", &STRANGER.to_string()])
        .args(["--regid", &STRANGER.to_string(), "--clear-groups"])
        .args(["sh", "-c", "umask 077; exec \"$@\"", "sh"])
        .args(["faketime", "-m", "-f", clock])
        .arg(program)
        .env("TZ", "Pacific/Kiritimati")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("LANG", "tr_TR.UTF-8")
        .env("USER", "stranger")
        .env("HOME", "/nonexistent")
        .env_remove("SOURCE_DATE_EPOCH");
    command
}

#[test]
fn another_clock_user_umask_locale_and_folder_make_the_same_bytes() {
    let fixture = fixture();
    let dir = fixture.folder("a longer name, with spaces");
    let (program, keys) = fixture.for_user(&dir, STRANGER);
    let build = |clock: &str| {
        let mut command = elsewhere(&program, clock);
        command
            .current_dir(&dir)
            .env("HULLWRIGHT_CACHE", dir.join("cache"))
            .args(["--threads", "3", "build", "qemu", "--locked", "--offline"])
            .args(["-o", "deep/down/out", "--keys"])
            .arg(&keys)
            .arg("--from")
            .arg(&fixture.inputs);
        command
    };
    // The false clock reaches the program: before they were made, the keys are not valid.
    let error = bad(&mut build("-3000d"), 8);
    assert!(error.contains("valid"), "{error}");
    timed("another clock, user, umask, locale and folder", || {
        good(&mut build("+40d"));
    });
    assert_same_output(&fixture.out, &dir.join("deep/down/out"));
}

/// For a foreign architecture: cold, on one thread, and everything else different as above.
#[test]
fn an_arm64_image_has_the_same_bytes_wherever_it_is_built() {
    let fixture = fixture();
    let dir = fixture.folder("arm64");
    let out = dir.join("first");
    let keys = fixture.keys.to_str().unwrap();
    timed("arm64, locking included", || {
        build(&dir, "qemu", &out, &["--arch", "arm64", "--keys", keys]);
    });
    let inputs = dir.join("inputs");
    good(
        hullwright(&dir)
            .args(["fetch", "qemu", "--arch", "arm64", "--offline", "--to"])
            .arg(&inputs),
    );
    let (program, keys) = fixture.for_user(&dir, STRANGER);
    timed("arm64, elsewhere, cold, one thread", || {
        good(
            elsewhere(&program, "+40d")
                .current_dir(&dir)
                .env("HULLWRIGHT_CACHE", dir.join("cache"))
                .args(["--threads", "1", "build", "qemu", "--arch", "arm64"])
                .args(["--locked", "--offline", "-o", "second", "--keys"])
                .arg(&keys)
                .arg("--from")
                .arg(&inputs),
        );
    });
    assert_same_output(&out, &dir.join("second"));
}
