//! `release verify` and `list`.

use std::fs;
use std::path::Path;

use hullwright::release::names::Role;
use serde_json::Value;

use super::small::publish_changed;
use super::{FOLDER, files, findings, home, overwrite, version};
use crate::home::{Home, keys};
use crate::server::Server;

#[test]
fn a_tree_as_it_was_signed_is_good_and_listed() {
    let home = home();
    assert_eq!(findings(&home), []);
    assert_eq!(home.good(&["release", "verify", "site", "--quiet"]), "");
    let said = home.good(&["release", "verify", "site"]);
    assert!(
        said.starts_with("good  beta: releases 3, files 39, "),
        "{said}"
    );
    let table = home.good(&["release", "list", "site"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert_eq!(rows[1][..5], ["beta", "os", "x86_64", "1.1", "2025-01-02"]);
    assert_eq!(rows[1].last(), Some(&"current"));
    assert_eq!(rows[2][3], "1.0");
    let json = home.good(&["release", "list", "site", "--json", "--channel", "beta"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["channels"][0]["products"][1]["id"], "web");
}

#[test]
fn two_hundred_changed_bytes_are_found() {
    let home = home();
    let files = files(&home.path("site"));
    let size = |path: &Path| fs::metadata(path).unwrap().len() as usize;
    let sizes: Vec<usize> = files.iter().map(|path| size(path)).collect();
    let total: usize = sizes.iter().sum();
    let mut seed: u64 = 0x2545_F491_4F6C_DD1D;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    for round in 0..200 {
        // Half of them anywhere, and half in files that are as likely as each other: most are small.
        let (mut number, mut at) = (0, random() % total);
        if round % 2 == 0 {
            while at >= sizes[number] {
                at -= sizes[number];
                number += 1;
            }
        } else {
            number = random() % files.len();
            at = random() % sizes[number];
        }
        let path = &files[number];
        let good = fs::read(path).unwrap();
        let mut bad = good.clone();
        bad[at] ^= (random() % 255 + 1) as u8;
        overwrite(path, &bad);
        let found = findings(&home);
        let name = path.strip_prefix(home.path("site")).unwrap();
        let signed = name.display().to_string().replace(".gpg", "");
        assert!(
            found.iter().any(|(file, _)| *file == signed),
            "byte {at} of {signed}: {found:?}"
        );
        overwrite(path, &good);
    }
    assert_eq!(findings(&home), []);
}

#[test]
fn every_missing_and_every_extra_file_is_found() {
    let home = home();
    let site = home.path("site");
    for path in files(&site) {
        let aside = home.path("aside");
        fs::rename(&path, &aside).unwrap();
        let name = path.strip_prefix(&site).unwrap().display().to_string();
        let found = findings(&home);
        fs::rename(&aside, &path).unwrap();
        assert!(
            found.contains(&(name.clone(), "it is missing".into())),
            "{name}: {found:?}"
        );
    }
    for name in [
        "notes.txt",
        "beta/notes.txt",
        "beta/arm64/SHA256SUMS",
        "beta/x86_64/os_2.0.efi",
        "beta/x86_64/.hidden",
    ] {
        home.write(&format!("site/{name}"), "new");
        let found = findings(&home);
        assert!(
            found.iter().any(|(file, problem)| name.starts_with(file)
                && problem.contains("nothing signed knows it")),
            "{name}: {found:?}"
        );
        fs::remove_file(site.join(name)).unwrap();
        let _ = fs::remove_dir(site.join("beta/arm64"));
    }
    assert_eq!(findings(&home), []);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let home = home();
    for name in ["os_1.0.lock", "os_1.1.efi", "web_1.1.profile.yaml"] {
        overwrite(&home.path(FOLDER).join(name), b"other");
    }
    fs::remove_file(home.path(FOLDER).join("web_1.1.manifest.json")).unwrap();
    let found = findings(&home);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].1.contains("it has 5 bytes"), "{found:?}");
    let ran = home.run(&["release", "verify", "site"]);
    assert_eq!(ran.status, 4);
    let bad = ran.stdout.lines().filter(|line| line.starts_with("bad  "));
    assert_eq!(bad.count(), 4, "{ran}");
    assert!(ran.stderr.contains("4 problems"), "{ran}");
}

#[test]
fn what_contradicts_itself_is_found_though_it_is_signed() {
    type Change = fn(Role, &mut Vec<u8>);
    fn replace(data: &mut Vec<u8>, from: &str, to: &str) {
        let text = String::from_utf8(data.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        *data = text.replace(from, to).into();
    }
    let table: [(&str, &str, Role, Change); 9] = [
        (".usr.raw", "block 3 of the image", Role::Usr, |_, data| {
            data[3 * 4096] ^= 1;
        }),
        (".usr.raw", "the root hash is", Role::Verity, |_, data| {
            data[4096] ^= 1;
        }),
        (
            ".efi",
            "changed after it was signed",
            Role::Uki,
            |_, data| {
                data[0x620] ^= 1;
            },
        ),
        (
            "systemd-boot_os_1.0.efi",
            "changed after it was signed",
            Role::BootLoader,
            |_, data| data[0x620] ^= 1,
        ),
        (
            ".sig.raw",
            "behind the first NUL",
            Role::Signature,
            |_, data| {
                data[8191] = 1;
            },
        ),
        (
            ".manifest.json",
            "its version is 1.9",
            Role::Manifest,
            |_, data| {
                replace(data, "\"version\": \"1.0\"", "\"version\": \"1.9\"");
            },
        ),
        (
            ".manifest.json",
            "is for development",
            Role::Manifest,
            |_, data| {
                replace(data, "\"development\": false", "\"development\": true");
            },
        ),
        (".lock", "checksum", Role::Lock, |_, data| data[3] ^= 1),
        (
            ".disk.raw.zst",
            "bytes at 0 have SHA-256",
            Role::Disk,
            |_, data| {
                *data = zstd::bulk::compress(&vec![0; 1_100_000], 1).unwrap();
            },
        ),
    ];
    for (file, words, role, change) in table {
        let home = Home::new();
        let versions = [version("os", "1.0", 0)];
        publish_changed(
            &home.path("site"),
            "beta",
            &keys(),
            &versions,
            |of, data| {
                if of == role {
                    change(of, data);
                }
            },
        );
        let found = findings(&home);
        assert!(
            found
                .iter()
                .any(|(f, problem)| f.ends_with(file) && problem.contains(words)),
            "{file} {words}: {found:?}"
        );
    }
}

#[test]
fn keys_that_signed_something_else_are_refused() {
    let home = home();
    home.good(&["keys", "new", "other", "--quiet"]);
    let ran = home.run(&["release", "verify", "site", "--key", "other/release.asc"]);
    assert_eq!(ran.status, 4);
    for words in ["none of the keys that are trusted", "another key"] {
        assert!(ran.stdout.contains(words), "{ran}");
    }
    home.bad(&["release", "verify", "site", "--key", "absent.asc"], 8);
    let text = "site/beta/index.json";
    home.bad(&["release", "verify", "site", "--key", text], 8);
    home.bad(
        &["release", "list", "site", "--key", "other/release.asc"],
        4,
    );
}

#[test]
fn a_mirror_is_verified_over_http() {
    let home = home();
    let server = Server::start();
    for path in files(&home.path("site")) {
        let name = path.strip_prefix(home.path("site")).unwrap();
        server.put(&name.display().to_string(), fs::read(&path).unwrap());
    }
    let key = keys().join("release.asc");
    let verify = |more: &[&'static str]| {
        let key = key.to_str().unwrap();
        let words = ["release", "verify", &server.url, "--key", key];
        home.run(&[&words, more].concat())
    };
    let ran = verify(&[]);
    assert_eq!(ran.status, 0, "{ran}");
    assert!(ran.stdout.starts_with("good  beta: releases 3"), "{ran}");
    let table = home.good(&["release", "list", &server.url]);
    assert_eq!(table.lines().count(), 4);
    assert_eq!(verify(&["--channel", "stable"]).status, 4);

    // A transfer that breaks off goes on, whether or not the server can resume it.
    for whole in [false, true] {
        server.change(".usr.raw", |reply| {
            reply.cuts = 2;
            reply.whole = whole;
        });
        let ran = verify(&["--channel", "beta"]);
        assert_eq!(ran.status, 0, "{ran}");
    }

    let name = "beta/x86_64/os_1.0.lock";
    let size = server.files()[name].len();
    server.put(name, vec![0; size]);
    let ran = verify(&["--channel", "beta"]);
    assert_eq!(ran.status, 4, "{ran}");
    let bad = format!("bad  {name}: its SHA-256 is");
    assert!(ran.stdout.contains(&bad), "{ran}");
    // A server that says more than was signed is cut off.
    server.put(name, vec![0; 1 << 20]);
    let ran = verify(&[]);
    assert!(ran.stdout.contains("it has more than"), "{ran}");
    // Nothing is kept.
    assert!(!home.cache().exists());
}

#[test]
fn what_is_no_tree_is_told_so() {
    let home = Home::new();
    home.bad(&["release", "verify", "nowhere"], 2);
    fs::create_dir(home.path("empty")).unwrap();
    let error = home.bad(&["release", "verify", "empty"], 4);
    assert!(error.contains("has no release.asc"), "{error}");
    home.bad(&["release", "list", "empty"], 4);
    let error = home.bad(&["release", "verify", "empty", "--channel", "../x"], 4);
    assert!(error.contains("has no release.asc"), "{error}");
}
