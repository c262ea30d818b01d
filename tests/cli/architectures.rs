//! Several architectures in one run.

use crate::deb::{Deb, deb};
use crate::home::{Home, stable};
use crate::site::{FIELDS, IN_RELEASE, LATER, Site};

/// `alpha` and `linux` for one architecture, `beta` for all.
fn packages(arch: &'static str) -> Vec<Deb> {
    let own = |name, version, more: &'static str| {
        deb(name, version, more)
            .of(arch)
            .with("./usr/share/doc/own", None, arch.as_bytes())
    };
    vec![
        own("alpha", "1.0-1", "Depends: beta (>= 1.0)\n"),
        deb("beta", "1.0-1", "")
            .of("all")
            .with("./usr/share/doc/more", None, b"b"),
        own("linux", "6.1-1", ""),
    ]
}

fn publish(site: &Site, fields: &str) {
    site.publish_all(
        fields,
        &[("amd64", &packages("amd64")), ("arm64", &packages("arm64"))],
    );
}

fn user() -> (Site, Home) {
    let site = Site::new();
    publish(&site, FIELDS);
    let home = site.home();
    site.server.requests();
    (site, home)
}

fn count(requests: &[String], part: &str) -> usize {
    requests.iter().filter(|path| path.contains(part)).count()
}

#[test]
fn locks_of_several_architectures_come_from_one_release() {
    let (site, home) = user();
    let said = home.good(&["lock", "p.yaml", "--arch", "x86_64,arm64"]);
    let requests = site.server.requests();
    assert_eq!(count(&requests, IN_RELEASE), 1, "{requests:?}");
    assert_eq!(requests.len(), 3, "two indices: {requests:?}");
    let locks = [home.read("p.x86_64.lock"), home.read("p.arm64.lock")];
    insta::assert_snapshot!(stable(&said));

    // Repeated, in another order, twice the same: each once.
    let words = ["--arch", "arm64", "--arch", "x86_64,arm64"];
    let ran = home.run(&[&["lock", "p.yaml", "--json"], &words[..]].concat());
    let result = ran.last();
    assert_eq!(result["event"], "result", "{ran}");
    let arches: Vec<_> = result["locks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lock| &lock["arch"])
        .collect();
    assert_eq!(arches, ["arm64", "x86_64"]);
    assert_eq!(result.get("lock"), None, "only where there is one");
    assert_eq!(
        locks,
        [home.read("p.x86_64.lock"), home.read("p.arm64.lock")]
    );
}

#[test]
fn no_lock_moves_on_alone() {
    let (site, home) = user();
    home.good(&["lock", "p.yaml", "--arch", "x86_64,arm64"]);
    let before = home.project();
    let mut newer = packages("amd64");
    newer.push(deb("alpha", "1.1-1", "").of("amd64"));
    let mut broken = packages("arm64");
    broken.retain(|deb| !deb.path().contains("linux"));
    site.publish_all(LATER, &[("amd64", &newer), ("arm64", &broken)]);
    home.bad(
        &["lock", "p.yaml", "--upgrade", "--arch", "x86_64,arm64"],
        3,
    );
    assert_eq!(home.project(), before);
    home.good(&["lock", "p.yaml", "--upgrade"]);
    assert_ne!(home.project(), before);
}

#[test]
fn what_several_locks_have_is_fetched_and_counted_once() {
    let (site, home) = user();
    home.good(&["lock", "p.yaml", "--arch", "x86_64,arm64"]);
    site.server.requests();
    let ran = home.run(&["fetch", "p.yaml", "--arch", "x86_64,arm64", "--json"]);
    assert_eq!(ran.last()["packages"], 5, "{ran}");
    let requests = site.server.requests();
    assert_eq!(count(&requests, "beta"), 1, "{requests:?}");
    assert_eq!(requests.len(), 5, "{requests:?}");
    let words = [
        "fetch",
        "p.yaml",
        "--arch=x86_64,arm64",
        "--offline",
        "--to",
        "inputs",
    ];
    assert!(home.good(&words).starts_with("5 packages"));
    assert_eq!(std::fs::read_dir(home.path("inputs")).unwrap().count(), 5);
}

#[test]
fn each_lock_is_checked() {
    let (_site, home) = user();
    home.good(&["lock", "p.yaml", "--arch", "arm64"]);
    let words = ["check", "p.yaml", "--arch", "x86_64,arm64"];
    let said = home.good(&words);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("for x86_64") && lines[1].contains("for arm64"));
    let ran = home.run(&[&words[..], &["--json"]].concat());
    let profiles = ran.last()["profiles"].clone();
    assert_eq!(profiles[0]["lock"], "absent", "{ran}");
    assert_eq!(profiles[1]["lock"], "fits", "{ran}");
}

#[test]
fn one_architecture_where_one_is_meant() {
    let (_site, home) = user();
    for words in [
        &["profile", "show", "p.yaml"][..],
        &["why", "p.yaml", "alpha"],
        &["run", "p.yaml"],
    ] {
        let words = [words, &["--arch", "x86_64,arm64"]].concat();
        let ran = home.run(&words);
        assert_eq!(ran.status, 2, "{ran}");
        assert!(ran.stderr.contains("--arch names 2 architectures"), "{ran}");
    }
    let stderr = home.bad(
        &["build", "p.yaml", "--arch", "x86_64,arm64", "-o", "out"],
        2,
    );
    assert!(
        stderr.contains("--output is one directory, and 2 images"),
        "{stderr}"
    );
    assert_eq!(home.project().len(), 2, "nothing is locked for it");
    home.bad(&["check", "p.yaml", "--arch", "x86_64,sparc"], 2);
}

#[test]
fn a_hint_names_the_architecture() {
    let (_site, home) = user();
    let stderr = home.bad(
        &["build", "p.yaml", "--arch", "x86_64,arm64", "--locked"],
        2,
    );
    assert!(
        stderr.contains("hullwright lock p.yaml --arch x86_64"),
        "{stderr}"
    );
    home.good(&["lock", "p.yaml"]);
    let stderr = home.bad(
        &["build", "p.yaml", "--arch", "x86_64,arm64", "--locked"],
        2,
    );
    assert!(
        stderr.contains("hullwright lock p.yaml --arch arm64"),
        "{stderr}"
    );
}
