//! What `release cut` refuses before it builds anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::small::publish;
use super::{STAMP, version};
use crate::home::Home;
use crate::site::Site;

/// A set for releases without a passphrase, made once.
fn release_keys() -> PathBuf {
    static KEYS: OnceLock<PathBuf> = OnceLock::new();
    KEYS.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let keys = target.join("cli-plain-release-keys");
        if !keys.is_dir() {
            let home = Home::new();
            let new = tempfile::tempdir_in(target).unwrap();
            let words = [
                "keys",
                "new",
                "--profile",
                "release",
                "--no-passphrase",
                "-q",
            ];
            let made = home
                .command(&words)
                .arg(new.path().join("keys"))
                .status()
                .unwrap();
            assert!(made.success());
            // Another process may have been faster.
            let _ = fs::rename(new.path().join("keys"), &keys);
        }
        keys
    })
    .clone()
}

const UPDATE: &str = "update: {url: \"https://updates.example.org\"}\n";

/// A user with a locked profile that may be released.
fn home(site: &Site) -> Home {
    let home = site.home();
    home.write("p.yaml", site.profile(UPDATE));
    home.good(&["lock", "p.yaml", "--quiet"]);
    home
}

fn cut<'a>(keys: &'a str, version: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = [
        "release",
        "cut",
        "p.yaml",
        "--channel",
        "beta",
        "--version",
        version,
        "--to",
        "site",
        "--keys",
        keys,
    ];
    [&words, more].concat()
}

#[test]
fn what_must_never_reach_a_fleet_is_refused() {
    let site = Site::new();
    let home = home(&site);
    let keys = release_keys();
    let keys = keys.to_str().unwrap();
    home.good(&["keys", "new", "dev", "-q"]);
    let before = home.project();
    for (words, status, message) in [
        (cut("dev", "1.0", &[]), 8, "are for development only"),
        (
            cut("dev", "1.0", &["--set", "development=true"]),
            2,
            "has `development: true`",
        ),
        (
            cut(keys, "1.0", &["--set", "development=true"]),
            8,
            "are for release",
        ),
        (
            cut(keys, "1.0", &["--set", "update.url=null"]),
            2,
            "has no `update.url`",
        ),
        (cut(keys, "1.0", &["--sign", "later"]), 2, "signed later"),
        (cut(keys, "1_0", &[]), 2, "os.version"),
        (cut(keys, "1.0", &["p.yaml"]), 2, "two of the profiles"),
    ] {
        let error = home.bad(&words, status);
        assert!(error.contains(message), "{error}");
        assert_eq!(home.project(), before);
    }
    let words = cut(keys, "1.0", &[]);
    let words: Vec<&str> = words
        .iter()
        .map(|w| if *w == "beta" { "Beta/" } else { w })
        .collect();
    let error = home.bad(&words, 2);
    assert!(error.contains("no name of a channel"), "{error}");
}

#[test]
fn what_nodes_would_not_take_is_refused_with_all_reasons() {
    let site = Site::new();
    let home = home(&site);
    let keys = release_keys();
    let tree = home.path("site");
    // The lock of the profile is of 2025-01-01, too.
    publish(&tree, "beta", &keys, &[version("t", "1.0", 1)]);
    let before = home.project();
    let keys = keys.to_str().unwrap();
    let later = (STAMP + 10 * 86_400).to_string();
    for (words, count, messages) in [
        (
            cut(keys, "1.0", &["--stamp", &later]),
            1,
            &["version 1.0 is not above 1.0, the last one in beta"][..],
        ),
        (
            cut(keys, "1.0~rc1", &[]),
            2,
            &[
                "version 1.0~rc1 is not above 1.0",
                "the stamp 1735689600 is not above 1735776000, that of version 1.0 in beta",
            ],
        ),
        (cut(keys, "1.1", &[]), 1, &["the stamp 1735689600"]),
    ] {
        let error = home.bad(&words, 2);
        assert_eq!(error.matches("error: ").count(), count, "{error}");
        for message in messages {
            assert!(error.contains(message), "{error}");
        }
        assert_eq!(home.project(), before);
    }
}

#[test]
fn ids_that_moved_are_refused() {
    let site = Site::new();
    let home = home(&site);
    let keys = release_keys();
    publish(&home.path("site"), "beta", &keys, &[version("t", "1.0", 0)]);
    let later = (STAMP + 86_400).to_string();
    let words = cut(keys.to_str().unwrap(), "1.1", &["--stamp", &later]);
    let lock = hullwright::resolve::Lock::load(&home.path("p.x86_64.lock"))
        .unwrap()
        .unwrap();
    for (name, number, message) in [
        (
            "user sshd",
            102,
            "user sshd had number 101 in version 1.0, and has 102 now",
        ),
        (
            "user other",
            101,
            "user other has number 101, which was that of user sshd in version 1.0",
        ),
    ] {
        let mut lock = lock.clone();
        lock.ids.insert(name.into(), number);
        lock.save(&home.path("p.x86_64.lock")).unwrap();
        let error = home.bad(&words, 2);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_tree_of_other_keys_and_a_folder_that_is_none_are_left_alone() {
    let site = Site::new();
    let home = home(&site);
    let keys = release_keys();
    let words = cut(keys.to_str().unwrap(), "1.1", &[]);
    home.good(&["keys", "new", "dev", "-q"]);
    publish(
        &home.path("site"),
        "beta",
        &home.path("dev"),
        &[version("t", "1.0", 0)],
    );
    let before = home.project();
    let error = home.bad(&words, 4);
    assert!(error.contains("another key"), "{error}");
    assert_eq!(home.project(), before);
    fs::remove_dir_all(home.path("site")).unwrap();
    home.write("site/beta/holiday.jpg", "sun");
    let error = home.bad(&words, 2);
    assert!(error.contains("exists and is no channel"), "{error}");
    fs::remove_dir_all(home.path("site")).unwrap();
    home.write("site", "a file");
    home.bad(&words, 7);
}
