//! Archives, packages and locks that are damaged or lie: one clear error each, nothing left behind.

use crate::deb::{Deb, deb, gzip};
use crate::home::{Home, Ran, sha256, stable};
use crate::site::{FIELDS, IN_RELEASE, INDEX, Key, LATER, Site, packages, profile, release};

/// What a bad end must leave: the project as it was, nothing unverified, nothing half done.
fn fails(home: &Home, arguments: &[&str], status: i32) -> String {
    let before = home.project();
    let stderr = home.bad(arguments, status);
    assert_eq!(home.project(), before, "{arguments:?}");
    home.kept();
    home.no_temporaries();
    stderr
}

fn shown(site: &Site, stderr: &str) -> String {
    stable(&stderr.replace(&site.server.url, "http://mirror"))
}

#[test]
fn releases_that_cannot_be_trusted() {
    type Spoil = fn(&Site);
    let cases: [(&str, Spoil); 9] = [
        ("corrupt", |site| {
            site.server.change(IN_RELEASE, |reply| {
                let at = reply.body.windows(6).position(|w| w == b"SHA256").unwrap();
                reply.body[at + 20] ^= 1;
            });
        }),
        ("truncated", |site| {
            site.server.change(IN_RELEASE, |reply| {
                let half = reply.body.len() / 2;
                reply.body.truncate(half);
            });
        }),
        ("text before the signed part", |site| {
            site.server.change(IN_RELEASE, |reply| {
                reply.body.splice(0..0, *b"Suite: test\n");
            });
        }),
        ("text after the signed part", |site| {
            site.server
                .change(IN_RELEASE, |reply| reply.body.extend(b"Suite: test\n"));
        }),
        ("wrong key", |site| {
            site.server
                .put(IN_RELEASE, Key::new().sign(&release(FIELDS, &[])));
        }),
        ("not signed", |site| {
            site.server.put(IN_RELEASE, release(FIELDS, &[]));
        }),
        ("empty", |site| site.server.put(IN_RELEASE, "")),
        ("another suite", |site| {
            site.publish(&FIELDS.replace("test", "other"), &packages());
        }),
        ("absent", |site| site.server.remove(IN_RELEASE)),
    ];
    let mut text = String::new();
    for (name, spoil) in cases {
        let site = Site::new();
        let home = site.home();
        spoil(&site);
        let stderr = fails(&home, &["lock", "p.yaml"], 4);
        assert_eq!(home.kept(), 0, "{name}");
        assert_eq!(home.cached("releases"), Vec::<String>::new(), "{name}");
        text.push_str(&format!("# {name}\n{}\n", shown(&site, &stderr)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn an_expired_release_needs_a_flag_that_the_lock_remembers() {
    let site = Site::new();
    let home = site.home();
    let expired = format!("{FIELDS}Valid-Until: Wed, 08 Jan 2025 00:00:00 UTC\n");
    site.publish(&expired, &packages());
    insta::assert_snapshot!(shown(&site, &fails(&home, &["lock", "p.yaml"], 4)));
    home.good(&["lock", "p.yaml", "--allow-expired"]);
    assert!(
        home.read("p.x86_64.lock")
            .contains("\nallow_expired: true\n")
    );
    // What is locked by hash does not expire.
    home.good(&["fetch", "p.yaml"]);
    assert_eq!(home.kept(), 4, "three packages and an index");

    let more = "development: true\n";
    home.write(
        "dev.yaml",
        site.profile(more)
            .replace("os: {", "development: true\nos: {")
            .replacen(more, "", 1),
    );
    let ran = home.run(&["lock", "dev.yaml"]);
    assert_eq!(ran.status, 0, "{ran}");
    assert!(
        ran.stderr.contains("WARN") && ran.stderr.contains("development"),
        "{ran}"
    );
}

#[test]
fn indices_that_are_not_what_was_signed() {
    type Spoil = fn(&Site);
    let cases: [(&str, Spoil); 6] = [
        ("flipped byte", |site| {
            site.server
                .change("Packages.gz", |reply| reply.body[30] ^= 1);
        }),
        ("declared longer than signed", |site| {
            site.server
                .change("Packages.gz", |reply| reply.declared = Some(1 << 40));
        }),
        ("absurd size", |site| {
            let gz = format!("{INDEX}.gz");
            site.release(FIELDS, &[(&gz, sha256(b""), 1 << 60)]);
        }),
        ("unpacks to more than signed", |site| {
            let packed = gzip(&vec![b'\n'; 1 << 20]);
            let gz = format!("{INDEX}.gz");
            site.server.put(&format!("dists/test/{gz}"), packed.clone());
            site.release(
                FIELDS,
                &[
                    (INDEX, sha256(b""), 100),
                    (&gz, sha256(&packed), packed.len() as u64),
                ],
            );
        }),
        ("absent", |site| {
            site.server.remove(&format!("dists/test/{INDEX}.gz"));
        }),
        ("a path out of the archive", |site| {
            let text = crate::site::index(&packages()).replace("pool/main/alpha", "../../alpha");
            site.server
                .put(&format!("dists/test/{INDEX}"), text.clone());
            site.release(
                FIELDS,
                &[(INDEX, sha256(text.as_bytes()), text.len() as u64)],
            );
        }),
    ];
    let mut text = String::new();
    for (name, spoil) in cases {
        let site = Site::new();
        let home = site.home();
        spoil(&site);
        let stderr = fails(&home, &["lock", "p.yaml"], 4);
        text.push_str(&format!("# {name}\n{}\n", shown(&site, &stderr)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn packages_that_are_not_what_was_locked() {
    let mut text = String::new();
    let mut case = |name: &str, spoil: &dyn Fn(&Site)| {
        let site = Site::new();
        let home = site.home();
        home.good(&["lock", "p.yaml"]);
        spoil(&site);
        for command in ["fetch", "build"] {
            let stderr = fails(&home, &[command, "p.yaml"], 4);
            if command == "build" {
                text.push_str(&format!("# {name}\n{}\n", shown(&site, &stderr)));
            }
        }
    };
    case("flipped byte", &|site| {
        site.server.change("beta_", |reply| reply.body[100] ^= 1);
    });
    case("declared longer", &|site| {
        site.server
            .change("beta_", |reply| reply.declared = Some(1 << 40));
    });
    insta::assert_snapshot!(text);
}

#[test]
fn packages_with_content_that_no_image_may_have() {
    let gone = "./usr/share/doc/gone";
    let cases: [(&str, Deb); 5] = [
        (
            "dots",
            deb("beta", "1.0-1", "").with("./../etc/shadow", None, b"x"),
        ),
        (
            "absolute",
            deb("beta", "1.0-1", "").with("/../../etc/shadow", None, b"x"),
        ),
        (
            "dots inside",
            deb("beta", "1.0-1", "").with("./usr/../../x", None, b"x"),
        ),
        (
            "oversize member",
            deb("beta", "1.0-1", "").with(gone, Some(1 << 32), b"x"),
        ),
        (
            "cut off",
            deb("beta", "1.0-1", "").with(gone, Some(100_000), b"x"),
        ),
    ];
    let mut text = String::new();
    for (name, hostile) in cases {
        let site = Site::new();
        let home = site.home();
        let mut debs = packages();
        debs[1] = hostile;
        site.publish(FIELDS, &debs);
        home.good(&["lock", "p.yaml"]);
        let stderr = fails(&home, &["build", "p.yaml"], 4);
        assert!(stderr.contains("beta"), "{stderr}");
        text.push_str(&format!("# {name}\n{}\n", shown(&site, &stderr)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_cache_that_has_changed_is_not_trusted() {
    let site = Site::new();
    let home = site.home();
    home.good(&["lock", "p.yaml"]);
    home.good(&["fetch", "p.yaml"]);
    let beta = packages().remove(1).bytes();
    let hash = sha256(&beta);
    let path = home.cache().join("downloads").join(&hash[..2]).join(&hash);
    let mut damaged = beta.clone();
    // In the timestamp of the first member, which nothing else would notice.
    damaged[8 + 17] = b'7';
    std::fs::write(&path, damaged).unwrap();
    let stderr = home.bad(&["build", "p.yaml"], 4);
    assert!(
        stderr.contains("beta") && stderr.contains(&hash),
        "{stderr}"
    );
    assert!(stderr.contains("hint: delete that file"), "{stderr}");
    std::fs::remove_file(&path).unwrap();
    home.good(&["fetch", "p.yaml"]);
    assert_eq!(home.kept(), 4);

    // An index is simply fetched again.
    for name in home.cached("indices") {
        std::fs::write(home.cache().join("indices").join(name), "damaged").unwrap();
    }
    let index = gzip(crate::site::index(&packages()).as_bytes());
    let hash = sha256(&index);
    let path = home.cache().join("downloads").join(&hash[..2]).join(&hash);
    std::fs::write(&path, vec![0; index.len()]).unwrap();
    home.good(&["lock", "p.yaml", "--upgrade"]);
    assert_eq!(home.kept(), 4);
}

#[test]
fn a_package_that_is_gone_comes_from_the_snapshot_or_is_explained() {
    let site = Site::new();
    let home = site.home();
    home.good(&["lock", "p.yaml"]);
    let lock = home.read("p.x86_64.lock");
    let old = packages().remove(1);
    let mut debs = packages();
    debs[1] = deb("beta", "1.1-1", "");
    site.publish(LATER, &debs);
    site.server.remove(&old.path());

    let stderr = fails(&home, &["fetch", "p.yaml"], 4);
    insta::assert_snapshot!(shown(&site, &stderr));

    // A template that leads nowhere is told too.
    let template = format!(
        "  snapshot: {}/snapshot/{{timestamp}}/{{path}}\n",
        site.server.url
    );
    home.write("p.yaml", site.profile(&template));
    let stderr = fails(&home, &["fetch", "p.yaml"], 4);
    let place = format!("/snapshot/20250101T000000Z/{}", old.path());
    assert!(stderr.contains(&place), "{stderr}");

    site.server.put(&place[1..], old.bytes());
    home.good(&["fetch", "p.yaml"]);
    assert_eq!(
        home.read("p.x86_64.lock"),
        lock,
        "a build from a lock changes nothing"
    );

    // The command that the message names mends it.
    home.write("p.yaml", site.profile(""));
    home.good(&["lock", "p.yaml", "--upgrade", "beta"]);
    assert!(home.read("p.x86_64.lock").contains("version: \"1.1-1\""));
    home.good(&["fetch", "p.yaml"]);
}

#[test]
fn dependencies_that_cannot_be_met() {
    let site = Site::new();
    let home = site.home();
    let mut text = String::new();
    let mut case = |name: &str, debs: &[Deb]| {
        site.publish(FIELDS, debs);
        let stderr = fails(&home, &["lock", "p.yaml"], 3);
        text.push_str(&format!("# {name}\n{}\n", shown(&site, &stderr)));
    };
    let linux = deb("linux", "6.1-1", "");
    case(
        "absent",
        &[deb("alpha", "1.0-1", "Depends: beta\n"), linux.clone()],
    );
    case(
        "too old",
        &[
            deb("alpha", "1.0-1", "Depends: beta (>= 2)\n"),
            deb("beta", "1.0-1", ""),
            linux.clone(),
        ],
    );
    case(
        "in conflict",
        &[
            deb("alpha", "1.0-1", "Depends: beta\n"),
            deb("beta", "1.0-1", "Conflicts: linux\n"),
            linux.clone(),
        ],
    );
    case("not there at all", &[linux]);
    insta::assert_snapshot!(text);
}

#[test]
fn places_that_cannot_be_written() {
    let site = Site::new();
    let home = site.home();
    home.write("file", "not a folder");
    let mut text = String::new();
    let mut add = |name: &str, ran: &Ran| {
        assert_eq!(ran.status, 7, "{ran}");
        ran.judge_error();
        text.push_str(&format!("# {name}\n{}\n", stable(&ran.stderr)));
    };
    let file = home.path("file/cache");
    add(
        "cache",
        &home.finish(
            home.command(&["lock", "p.yaml"])
                .env("HULLWRIGHT_CACHE", file),
        ),
    );
    // /proc refuses root, too.
    let proc = home.finish(
        home.command(&["lock", "p.yaml"])
            .env("HULLWRIGHT_CACHE", "/proc/cache"),
    );
    add("read-only cache", &proc);
    add("output", &home.run(&["build", "p.yaml", "-o", "file/out"]));
    add(
        "read-only output",
        &home.run(&["build", "p.yaml", "-o", "/proc/out"]),
    );
    add("export", &home.run(&["fetch", "p.yaml", "--to", "file/to"]));
    insta::assert_snapshot!(text);
}

#[test]
fn locks_that_were_edited_or_are_of_another_kind() {
    let site = Site::new();
    let home = site.home();
    home.good(&["lock", "p.yaml"]);
    let lock = home.read("p.x86_64.lock");
    let cases = [
        ("edited", lock.replace("1.0-1", "1.0-2")),
        ("of the future", lock.replacen("lock: 1", "lock: 2", 1)),
        (
            "unknown key",
            lock.replacen("arch: ", "colour: red\narch: ", 1),
        ),
        ("cut off", lock[..lock.len() / 2].to_owned()),
        ("empty", String::new()),
    ];
    let mut text = String::new();
    for (name, lock) in cases {
        assert!(!lock.is_empty() || name == "empty");
        home.write("p.x86_64.lock", lock);
        for arguments in [
            &["build", "p.yaml"][..],
            &["build", "p.yaml", "--locked", "--offline"],
            &["fetch", "p.yaml"],
            &["why", "p.yaml", "beta"],
            &["lock", "p.yaml"],
            &["check", "p.yaml"],
        ] {
            let stderr = fails(&home, arguments, 2);
            if arguments == ["lock", "p.yaml"] {
                text.push_str(&format!("# {name}\n{}\n", shown(&site, &stderr)));
            }
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn locks_that_do_not_fit_are_not_used_under_locked() {
    let site = Site::new();
    let home = site.home();
    let absent = fails(&home, &["build", "p.yaml", "--locked"], 2);
    let offline = fails(&home, &["build", "p.yaml", "--offline"], 4);
    home.good(&["lock", "p.yaml"]);
    home.write(
        "p.yaml",
        profile(&site.server.url, "").replace("[alpha]", "[alpha, beta]"),
    );
    let stale = fails(&home, &["build", "p.yaml", "--locked"], 2);
    let stale_offline = fails(&home, &["build", "p.yaml", "--offline"], 4);
    let ran = home.run(&["check", "p.yaml"]);
    assert_eq!(ran.status, 0);
    insta::assert_snapshot!(format!(
        "{absent}\n{offline}\n{stale}\n{stale_offline}\n{}",
        ran.stderr
    ));
    assert_eq!(
        home.run(&["check", "p.yaml", "--json"]).last()["lock"],
        "stale"
    );
    home.good(&["lock", "p.yaml"]);
    let ran = home.run(&["check", "p.yaml", "--json"]);
    assert_eq!(
        (ran.last()["lock"].as_str(), ran.stderr.as_str()),
        (Some("fits"), "")
    );
}

#[test]
fn packages_that_are_not_in_the_cache_are_named_offline() {
    let site = Site::new();
    let home = site.home();
    home.good(&["lock", "p.yaml"]);
    let stderr = fails(&home, &["build", "p.yaml", "--locked", "--offline"], 4);
    insta::assert_snapshot!(shown(&site, &stderr));
}
