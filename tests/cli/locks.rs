//! What a lock promises: stable bytes, nothing that moves unasked, every input by its hash.

use crate::deb::deb;
use crate::home::{Home, sha256, stable};
use crate::site::{DATE, FIELDS, LATER, Site, packages, profile};

const LOCK: &str = "p.x86_64.lock";

/// The archive a week later: a newer alpha and beta beside the old ones.
fn publish_newer(site: &Site) {
    let mut debs = packages();
    debs.push(deb("alpha", "1.1-1", "Depends: beta (>= 1.0)\n"));
    debs.push(deb("beta", "1.1-1", ""));
    site.publish(LATER, &debs);
}

fn versions(home: &Home) -> Vec<String> {
    let lock = home.read(LOCK);
    let value = |line: &str| {
        line.trim_start_matches(['-', ' '])
            .split_once(": ")
            .unwrap()
            .1
            .to_owned()
    };
    let lines: Vec<&str> = lock.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[1].starts_with("  version: "))
        .map(|pair| format!("{} {}", value(pair[0]), value(pair[1]).replace('"', "")))
        .collect()
}

#[test]
fn a_lock_stays_as_it_is_until_asked() {
    let site = Site::new();
    let home = site.home();
    let first = home.good(&["lock", "p.yaml"]);
    let bytes = home.read(LOCK);
    assert!(!bytes.contains("127.0.0.1"), "a lock names no host");
    assert!(bytes.contains(&format!("\nstamp: {DATE}\n")), "{bytes}");
    let again = home.good(&["lock", "p.yaml"]);
    assert_eq!(home.read(LOCK), bytes);

    publish_newer(&site);
    home.good(&["fetch", "p.yaml"]);
    assert_eq!(home.read(LOCK), bytes);
    home.good(&["lock", "p.yaml"]);
    assert_eq!(
        versions(&home),
        ["alpha 1.0-1", "beta 1.0-1", "linux 6.1-1"]
    );
    let one = home.good(&["lock", "p.yaml", "--upgrade", "beta"]);
    assert_eq!(
        versions(&home),
        ["alpha 1.0-1", "beta 1.1-1", "linux 6.1-1"]
    );
    let all = home.good(&["lock", "p.yaml", "--upgrade"]);
    assert_eq!(
        versions(&home),
        ["alpha 1.1-1", "beta 1.1-1", "linux 6.1-1"]
    );
    assert!(
        home.read(LOCK)
            .contains(&format!("\nstamp: {}\n", DATE + 7 * 86_400))
    );
    let unknown = stable(&home.bad(&["lock", "p.yaml", "--upgrade", "gamma"], 2));

    home.write(
        "p.yaml",
        profile(&site.server.url, "").replace("[alpha]", "[beta]"),
    );
    let removed = home.good(&["lock", "p.yaml"]);
    insta::assert_snapshot!([first, again, one, all, unknown, removed].join("\n"));
}

#[test]
fn the_same_archive_gives_the_same_lock_to_everyone() {
    let site = Site::new();
    let (one, two) = (site.home(), site.home());
    one.good(&["lock", "p.yaml", "--threads", "1"]);
    let mut command = two.command(&["lock", "p.yaml"]);
    let ran = two.finish(command.env("TZ", "Asia/Tokyo").env("LC_ALL", "C.UTF-8"));
    assert_eq!(ran.status, 0, "{ran}");
    assert_eq!(one.read(LOCK), two.read(LOCK));
    assert_eq!(one.kept(), 1, "only the index");
}

#[test]
fn an_older_release_than_the_locked_one_is_refused() {
    let site = Site::new();
    let home = site.home();
    publish_newer(&site);
    home.good(&["lock", "p.yaml"]);
    let before = home.project();
    site.publish(FIELDS, &packages());
    let stderr = home.bad(&["lock", "p.yaml", "--upgrade"], 4);
    insta::assert_snapshot!(stable(&stderr.replace(&site.server.url, "http://mirror")));
    assert_eq!(home.project(), before);
}

#[test]
fn the_stamp_can_be_given() {
    let site = Site::new();
    let home = site.home();
    let stamp = |arguments: &[&str], epoch: &str| {
        let ran = home.finish(home.command(arguments).env("SOURCE_DATE_EPOCH", epoch));
        assert_eq!(ran.status, 0, "{ran}");
        let lock = home.read(LOCK);
        let line = lock
            .lines()
            .find(|line| line.starts_with("stamp: "))
            .unwrap();
        line["stamp: ".len()..].to_owned()
    };
    assert_eq!(stamp(&["lock", "p.yaml"], "1600000000"), "1600000000");
    assert_eq!(
        stamp(&["lock", "p.yaml", "--stamp", "1700000000"], "5"),
        "1700000000"
    );
    for bad in ["", "yesterday", "-1"] {
        let ran = home.finish(
            home.command(&["lock", "p.yaml"])
                .env("SOURCE_DATE_EPOCH", bad),
        );
        assert_eq!(ran.status, 2, "{bad}: {ran}");
        assert!(ran.stderr.contains("SOURCE_DATE_EPOCH"), "{ran}");
    }
}

#[test]
fn why_tells_the_chain_with_and_without_a_lock() {
    let site = Site::new();
    let home = site.home();
    let from_archive = home.good(&["why", "p.yaml", "beta"]);
    assert!(!home.path(LOCK).exists(), "asking writes nothing");
    home.good(&["lock", "p.yaml"]);
    let from_lock = home.good(&["why", "p.yaml", "beta"]);
    let json = home.run(&["why", "p.yaml", "beta", "--json"]).last();
    let absent = home.run(&["why", "p.yaml", "gamma"]);
    assert_eq!(absent.status, 2);
    insta::assert_snapshot!(format!(
        "{from_archive}\n{from_lock}\n{}\n\n{absent}",
        serde_json::to_string_pretty(&json).unwrap()
    ));
    // With a lock there is nothing to ask the network for.
    assert_eq!(
        site.server
            .requests()
            .iter()
            .filter(|r| r.ends_with("InRelease"))
            .count(),
        2
    );
}

#[test]
fn locked_inputs_can_be_carried_to_a_machine_without_network() {
    let site = Site::new();
    let home = site.home();
    home.good(&["lock", "p.yaml"]);
    home.good(&["fetch", "p.yaml", "--to", "inputs"]);
    let mut wanted: Vec<String> = packages().iter().map(|deb| sha256(&deb.bytes())).collect();
    wanted.sort();
    let inputs = |home: &Home| -> Vec<String> {
        let of = |name: &String| name.strip_prefix("inputs/").map(str::to_owned);
        home.project().keys().filter_map(of).collect()
    };
    assert_eq!(inputs(&home), wanted);
    let json = home
        .run(&["fetch", "p.yaml", "--to", "inputs", "--json"])
        .last();
    assert_eq!(json["packages"], 3, "{json}");

    let away = site.home();
    away.write(LOCK, home.read(LOCK));
    for name in &wanted {
        away.write(
            &format!("inputs/{name}"),
            std::fs::read(home.path(&format!("inputs/{name}"))).unwrap(),
        );
    }
    site.server.requests();
    away.good(&["fetch", "p.yaml", "--from", "inputs"]);
    assert_eq!(away.kept(), 3);
    assert_eq!(site.server.requests(), Vec::<String>::new());

    let damaged = site.home();
    damaged.write(LOCK, home.read(LOCK));
    for name in &wanted {
        damaged.write(&format!("inputs/{name}"), "something else");
    }
    assert!(
        damaged
            .bad(&["fetch", "p.yaml", "--from", "inputs"], 4)
            .contains("wrong content")
    );
    assert_eq!(damaged.kept(), 0);
    std::fs::remove_dir_all(damaged.path("inputs")).unwrap();
    let stderr = damaged.bad(&["build", "p.yaml", "--from", "inputs"], 4);
    assert!(stderr.contains("hullwright fetch"), "{stderr}");
}

#[test]
fn local_packages_are_locked_by_hash() {
    let site = Site::new();
    let home = site.home();
    let local = deb("local", "3-1", "Depends: beta\n");
    home.write("debs/local.deb", local.bytes());
    let with = |more: &str| {
        let text = site.profile("");
        format!("{text}  files: [{{path: ./debs/local.deb{more}}}]\n")
    };
    home.write("p.yaml", with(""));
    home.good(&["lock", "p.yaml"]);
    let lock = home.read(LOCK);
    assert!(lock.contains(&sha256(&local.bytes())), "{lock}");
    assert_eq!(
        versions(&home),
        ["alpha 1.0-1", "beta 1.0-1", "linux 6.1-1", "local 3-1"]
    );

    home.write(
        "debs/local.deb",
        deb("local", "3-2", "Depends: beta\n").bytes(),
    );
    assert_eq!(
        home.run(&["check", "p.yaml", "--json"]).last()["lock"],
        "stale"
    );
    home.bad(&["build", "p.yaml", "--locked"], 2);
    home.good(&["lock", "p.yaml"]);
    assert!(versions(&home).contains(&"local 3-2".to_owned()));

    home.write(
        "p.yaml",
        with(&format!(", sha256: {}", sha256(&local.bytes()))),
    );
    let stderr = home.bad(&["lock", "p.yaml"], 4);
    assert!(
        stderr.contains("p.yaml:") && stderr.contains("local.deb"),
        "{stderr}"
    );
    home.write("debs/local.deb", "no package at all");
    home.write("p.yaml", with(""));
    let stderr = home.bad(&["lock", "p.yaml"], 4);
    assert!(stderr.contains("local.deb"), "{stderr}");
}

#[test]
fn one_cache_serves_many_at_once() {
    let site = Site::new();
    let home = site.home();
    home.good(&["lock", "p.yaml"]);
    site.server.requests();
    let children: Vec<_> = (0..4)
        .map(|_| {
            home.command(&["fetch", "p.yaml", "--quiet"])
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(home.kept(), 4);
    assert_eq!(
        site.server.requests().len(),
        3,
        "each package is fetched once"
    );
    home.no_temporaries();
}

#[test]
fn an_archive_can_be_a_folder() {
    let site = Site::new();
    let home = site.home();
    for (path, bytes) in site.server.files() {
        home.write(&format!("mirror/{path}"), bytes);
    }
    let url = format!("file://{}", home.path("mirror").display());
    home.write("p.yaml", profile(&url, ""));
    home.good(&["lock", "p.yaml"]);
    home.good(&["fetch", "p.yaml"]);
    assert_eq!(home.kept(), 4);
    assert_eq!(site.server.requests(), Vec::<String>::new());
}

#[test]
fn a_lock_is_said_in_json() {
    let site = Site::new();
    let home = site.home();
    let ran = home.run(&["lock", "p.yaml", "--json"]);
    assert_eq!(ran.status, 0, "{ran}");
    let last = ran.last();
    assert_eq!(
        (&last["event"], &last["stamp"]),
        (&"result".into(), &DATE.into())
    );
    assert_eq!(last["lock"], "p.x86_64.lock");
    assert_eq!(last["diff"]["changes"].as_array().unwrap().len(), 3);
    assert!(ran.events().len() > 1, "stages are told: {ran}");
}
