//! `release promote` and `yank`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use super::small::{Version, publish};
use super::{FOLDER, files, findings, home, overwrite, version};
use crate::home::{Home, keys};

/// The words of a promotion from beta to stable.
fn promote<'a>(version: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = [
        "release", "promote", version, "--from", "beta", "--to", "stable", "site",
    ];
    [&words, more].concat()
}

fn yank<'a>(version: &'a str, reason: &'a str) -> Vec<&'a str> {
    vec![
        "release",
        "yank",
        version,
        "--channel",
        "beta",
        "--reason",
        reason,
        "site",
    ]
}

#[test]
fn a_release_is_promoted_with_its_bytes_and_once() {
    let home = home();
    home.good(&promote("1.1", &[]));
    let inode = |channel: &str| {
        let path = format!("site/{channel}/x86_64/os_1.1.efi");
        fs::metadata(home.path(&path)).unwrap().ino()
    };
    assert_eq!(inode("beta"), inode("stable"));
    let text = home.read("site/stable/x86_64/channel.txt");
    assert_eq!(text, "channel=stable\narch=x86_64\nserial=1\n");
    assert_eq!(findings(&home), []);
    let same = [
        "release", "promote", "1.1", "--from", "beta", "--to", "beta", "site",
    ];
    let outside = [
        "release", "promote", "1.1", "--from", "beta", "--to", "../x", "site",
    ];
    let nowhere = [
        "release", "promote", "1.1", "--from", "beta", "--to", "x", "nowhere",
    ];
    for (words, message) in [
        (
            promote("1.1", &[]),
            "version 1.1 is not above 1.1, the last one in stable",
        ),
        (
            promote("1.0", &["--id", "os"]),
            "version 1.0 is not above 1.1",
        ),
        (promote("9.9", &[]), "there is no version 9.9 in beta"),
        (
            promote("1.0", &["--id", "web"]),
            "there is no version 1.0 of web in beta",
        ),
        (same.to_vec(), "the same channel"),
        (outside.to_vec(), "no name of a channel"),
        (nowhere.to_vec(), "no release tree"),
    ] {
        let error = home.bad(&words, 2);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn what_was_damaged_is_not_signed_anew() {
    let home = home();
    let usr = files(&home.path(FOLDER))
        .into_iter()
        .find(|path| path.display().to_string().contains("os_1.1_"))
        .unwrap();
    let mut bytes = fs::read(&usr).unwrap();
    bytes[7] ^= 1;
    overwrite(&usr, &bytes);
    let before = home.project();
    let error = home.bad(&promote("1.1", &[]), 4);
    assert!(error.contains("has SHA-256"), "{error}");
    assert_eq!(home.project(), before);
}

#[test]
fn a_promotion_must_fit_the_machines_of_the_other_channel() {
    let home = home();
    let site = home.path("site");
    publish(&site, "stable", &keys(), &[version("os", "0.9", 0)]);
    let large = Version {
        blocks: 220,
        ..version("os", "1.5", 5)
    };
    publish(&site, "beta", &keys(), &[large]);
    let error = home.bad(&promote("1.5", &[]), 6);
    let numbers = "/usr needs 901120 bytes, and 80 % of the 1048576 bytes that machines installed \
                   with version 0.9 have for it are 838860";
    assert!(error.contains(numbers), "{error}");
}

#[test]
fn a_yanked_release_is_offered_no_more_and_its_records_stay() {
    let home = home();
    home.good(&yank("1.1", "it lost the network"));
    assert_eq!(findings(&home), []);
    let sums = home.read("site/beta/x86_64/SHA256SUMS");
    assert!(!sums.contains("os_1.1.efi"), "{sums}");
    assert!(sums.contains("os_1.1.lock"), "{sums}");
    let payload = home.path(FOLDER).join("os_1.1.efi");
    assert!(!payload.exists());
    let table = home.good(&["release", "list", "site"]);
    assert!(table.contains("yanked: it lost the network"), "{table}");
    let json: Value = serde_json::from_str(&home.read("site/beta/index.json")).unwrap();
    assert_eq!(json["products"][0]["current"], "1.0");
    assert_eq!(json["products"][1]["current"], Value::Null);
    assert_eq!(json["serial"], 4);
    // A payload that comes back is one that nothing signed knows.
    fs::write(&payload, "x").unwrap();
    assert_eq!(findings(&home).len(), 1);
    fs::remove_file(&payload).unwrap();
    for (words, message) in [
        (yank("1.1", "again"), "yanked from beta already"),
        (yank("3", "x"), "there is no version 3 in beta"),
        (yank("1.0", "a\nb"), "one line"),
        (
            promote("1.1", &[]),
            "was yanked from beta: it lost the network",
        ),
    ] {
        let error = home.bad(&words, 2);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_tree_that_somebody_else_changes_or_has_changed_is_left_alone() {
    let home = home();
    let words = yank("1.0", "x");
    let lock = fs::File::open(home.path("site")).unwrap();
    lock.lock().unwrap();
    let error = home.bad(&words, 7);
    assert!(error.contains("another hullwright is changing"), "{error}");
    drop(lock);
    home.write("site/beta/x86_64/README", "mine");
    let error = home.bad(&words, 4);
    assert!(error.contains("README is no file of a release"), "{error}");
    fs::remove_file(home.path(FOLDER).join("README")).unwrap();
    fs::remove_file(home.path(FOLDER).join("os_1.0.efi")).unwrap();
    let before = home.project();
    home.bad(&words, 4);
    assert_eq!(home.project(), before);
}

#[test]
fn a_rotated_key_goes_on_where_the_old_one_stays_known() {
    let home = Home::new();
    home.good(&["keys", "new", "keys", "--quiet"]);
    let versions = [version("os", "1.0", 0)];
    publish(&home.path("site"), "beta", &home.path("keys"), &versions);
    fs::copy(home.path("keys/release.asc"), home.path("old.asc")).unwrap();
    home.good(&["keys", "new", "other", "--quiet"]);
    let error = home.bad(&promote("1.0", &["--keys", "other"]), 4);
    for words in ["another key", "was rotated"] {
        assert!(error.contains(words), "{error}");
    }
    home.good(&["keys", "rotate", "keys", "release", "--quiet"]);
    home.good(&promote("1.0", &["--keys", "keys"]));
    // Now beta is signed with the old key, stable with the new one, and both are in release.asc.
    let verify = ["release", "verify", "site", "--key"];
    home.good(&[&verify[..], &["keys/release.asc"]].concat());
    home.good(&[&verify[..], &["old.asc", "--channel", "beta"]].concat());
    home.bad(&[&verify[..], &["old.asc"]].concat(), 4);
    let resign = ["release", "resign", "site", "--keys", "keys", "--channel"];
    home.good(&[&resign[..], &["beta"]].concat());
    home.bad(&[&resign[..], &["dev"]].concat(), 2);
    home.bad(
        &[&verify[..], &["old.asc", "--channel", "beta"]].concat(),
        4,
    );
    home.good(&[&verify[..], &["keys/release.asc"]].concat());
}
