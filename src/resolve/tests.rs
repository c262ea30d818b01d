//! Resolution over small indices in memory.

use super::lock::{self, Inputs, Lock, Upgrade};
use super::request::{Pin, Request, Wishes};
use super::script_only::{Entry, ScriptOnly};
use super::solve::resolve_wishes;
use super::universe::Held;
use super::*;
use crate::archive::{Record, SuiteIndex};
use crate::digest::Sha256;
use crate::failure::{Kind, failure_of, kind_of};
use crate::stamp::Stamp;

/// A stanza in one line: `name version; Field: value; …`.
fn stanza(text: &str) -> Record {
    let mut parts = text.split(';').map(str::trim);
    let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
    let mut record = Record {
        name: name.into(),
        version: version.into(),
        architecture: "amd64".into(),
        filename: format!("pool/{name}_{version}.deb"),
        size: 1000,
        sha256: Some(Sha256::of(format!("{name} {version}").as_bytes())),
        ..Record::default()
    };
    for part in parts {
        let (field, value) = part.split_once(':').unwrap();
        let value = value.trim().to_owned();
        match field {
            "Depends" => record.depends = value,
            "Pre-Depends" => record.pre_depends = value,
            "Recommends" => record.recommends = value,
            "Provides" => record.provides = value,
            "Conflicts" => record.conflicts = value,
            "Breaks" => record.breaks = value,
            "Replaces" => record.replaces = value,
            "Multi-Arch" => record.multi_arch = value,
            "Architecture" => record.architecture = value,
            "Priority" => record.priority = value,
            "Hash" => record.sha256 = Some(Sha256::of(value.as_bytes())),
            other => panic!("{other}"),
        }
    }
    record
}

fn suite(archive: &str, date: u64, stanzas: &[&str]) -> SuiteIndex {
    SuiteIndex {
        archive: archive.into(),
        suite: archive.into(),
        date,
        inrelease: Sha256::of(archive.as_bytes()),
        expired: false,
        pocket: true,
        priority: 500,
        only: Vec::new(),
        records: stanzas.iter().map(|s| stanza(s)).collect(),
    }
}

/// Wishes in one line: names, `name=version`, `name/archive`, `-excluded`, `+recommends`.
fn wishes(text: &str) -> Wishes {
    let mut wishes = Wishes::default();
    for word in text.split_whitespace() {
        if let Some(name) = word.strip_prefix('-') {
            wishes.excluded.insert(name.into());
            continue;
        }
        if word == "+recommends" {
            wishes.recommends = true;
            continue;
        }
        let mut name = word;
        if let Some((n, version)) = word.split_once('=') {
            name = n;
            wishes.pins.insert(n.into(), Pin::Version(version.into()));
        } else if let Some((n, archive)) = word.split_once('/') {
            name = n;
            wishes.pins.insert(n.into(), Pin::Archive(archive.into()));
        }
        wishes.requests.push(Request {
            name: name.into(),
            key: "packages.include",
        });
    }
    wishes.requests.sort();
    wishes
}

fn script_only() -> ScriptOnly {
    ScriptOnly::of(vec![Entry {
        package: "debconf".into(),
        reason: "scripts".into(),
        did: String::new(),
        instead: String::new(),
        dependents: Vec::new(),
    }])
}

fn solve(suites: &[SuiteIndex], wanted: &str) -> anyhow::Result<Resolution> {
    let held = Held::new();
    resolve_wishes(&wishes(wanted), "amd64", suites, &[], &held, &script_only())
}

fn show(resolution: &Resolution) -> String {
    let packages = resolution.chosen.iter();
    packages
        .map(|c| format!("{}={}", c.record.name, c.record.version))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn every_kind_of_relation_is_followed() {
    for (case, stanzas, wanted, expected) in [
        ("no dependency", &["a 1", "b 1"][..], "a", "a=1"),
        ("depends", &["a 1; Depends: b", "b 1"], "a", "a=1 b=1"),
        (
            "pre-depends",
            &["a 1; Pre-Depends: b", "b 1"],
            "a",
            "a=1 b=1",
        ),
        (
            "highest version",
            &["a 1", "a 1.10", "a 1.9"],
            "a",
            "a=1.10",
        ),
        (
            "first alternative",
            &["a 1; Depends: b | c", "b 1", "c 1"],
            "a",
            "a=1 b=1",
        ),
        (
            "second alternative",
            &["a 1; Depends: x | c", "c 1"],
            "a",
            "a=1 c=1",
        ),
        (
            "alternative that is there anyway",
            &["a 1; Depends: b | c", "b 1", "c 1"],
            "a c",
            "a=1 c=1",
        ),
        (
            "alternative that another package needs",
            &["a 1; Depends: b | c", "b 1", "c 1", "d 1; Depends: c"],
            "a d",
            "a=1 c=1 d=1",
        ),
        (
            "version",
            &["a 1; Depends: b (<< 2)", "b 1", "b 2"],
            "a",
            "a=1 b=1",
        ),
        (
            "provides",
            &["a 1; Depends: v", "p 1; Provides: v"],
            "a",
            "a=1 p=1",
        ),
        (
            "real before virtual",
            &["a 1; Depends: v", "b 1; Provides: v", "v 1"],
            "a",
            "a=1 v=1",
        ),
        (
            "unversioned provides does not meet a version",
            &["a 1; Depends: v (>= 1) | c", "p 1; Provides: v", "c 1"],
            "a",
            "a=1 c=1",
        ),
        (
            "versioned provides",
            &[
                "a 1; Depends: v (>= 2)",
                "p 1; Provides: v (= 1)",
                "q 1; Provides: v (= 2)",
            ],
            "a",
            "a=1 q=1",
        ),
        (
            "provider by Debian's priority",
            &[
                "a 1; Depends: v",
                "p 1; Provides: v; Priority: optional",
                "q 1; Provides: v; Priority: required",
            ],
            "a",
            "a=1 q=1",
        ),
        (
            "two providers at once",
            &["p 1; Provides: v", "q 1; Provides: v"],
            "p q",
            "p=1 q=1",
        ),
        (
            "conflict steers the choice",
            &["a 1; Depends: b | c", "b 1; Conflicts: d", "c 1", "d 1"],
            "a d",
            "a=1 c=1 d=1",
        ),
        (
            "breaks with a version",
            &["a 1; Breaks: b (<< 2)", "b 1", "b 2"],
            "a b",
            "a=1 b=2",
        ),
        (
            "conflict with a virtual name spares its provider",
            &["p 1; Provides: mta; Conflicts: mta; Replaces: mta"],
            "p",
            "p=1",
        ),
        (
            "replaces alone keeps nothing out",
            &["a 1; Replaces: b", "b 1"],
            "a b",
            "a=1 b=1",
        ),
        (
            "older version when the newest can't be had",
            &["a 1", "a 2; Depends: missing", "b 1; Depends: a"],
            "b",
            "a=1 b=1",
        ),
        (
            "any is met by Multi-Arch: allowed",
            &["a 1; Depends: b:any", "b 1; Multi-Arch: allowed"],
            "a",
            "a=1 b=1",
        ),
        (
            "any is met by Provides :any",
            &["a 1; Depends: v:any", "p 1; Provides: v:any"],
            "a",
            "a=1 p=1",
        ),
        (
            "own architecture",
            &["a 1; Depends: b:amd64, c:native", "b 1", "c 1"],
            "a",
            "a=1 b=1 c=1",
        ),
        (
            "all counts as native",
            &["a 1; Depends: b", "b 1; Architecture: all"],
            "a",
            "a=1 b=1",
        ),
        (
            "restrictions",
            &["a 1; Depends: b [i386], c [amd64]", "c 1"],
            "a",
            "a=1 c=1",
        ),
        (
            "script-only",
            &["a 1; Depends: debconf (>= 0.5) | debconf-2.0, b", "b 1"],
            "a",
            "a=1 b=1",
        ),
        (
            "circle",
            &["a 1; Depends: b", "b 1; Depends: a"],
            "b",
            "a=1 b=1",
        ),
        (
            "recommends are off",
            &["a 1; Recommends: b", "b 1"],
            "a",
            "a=1",
        ),
        (
            "recommends in rounds, impossible ones left out",
            &[
                "a 1; Recommends: b, x, c",
                "b 1; Recommends: d",
                "c 1; Conflicts: a",
                "d 1",
            ],
            "a +recommends",
            "a=1 b=1 d=1",
        ),
        (
            "recommends of an excluded package",
            &["a 1; Recommends: b", "b 1"],
            "a +recommends -b",
            "a=1",
        ),
        ("pin", &["a 1", "a 2"], "a=1", "a=1"),
        (
            "excluded alternative",
            &["a 1; Depends: b | c", "b 1", "c 1"],
            "a -b",
            "a=1 c=1",
        ),
        ("virtual request", &["p 1; Provides: v"], "v", "p=1"),
    ] {
        let resolution = solve(&[suite("main", 1, stanzas)], wanted);
        match resolution {
            Ok(resolution) => assert_eq!(show(&resolution), expected, "{case}"),
            Err(error) => panic!("{case}: {error}"),
        }
    }
}

#[test]
fn what_cannot_be_met_is_explained() {
    for (stanzas, wanted, expected) in [
        (
            &["a 1; Conflicts: b", "b 1"][..],
            "a b",
            "these cannot be installed together: a, b\n  the profile asks for a\n    \
             a 1 (main) Conflicts: b, so not with b 1 (main)\n  the profile asks for b\n    b 1 (main)",
        ),
        (
            &["a 1; Depends: b (>= 2)", "b 1"],
            "a",
            "a cannot be installed\n  the profile asks for a\n    a 1 (main) Depends: b (>= 2)\n      \
             but on offer is only b 1 (main)",
        ),
        (
            &["a 1; Depends: b", "b 1; Pre-Depends: c | d"],
            "a",
            "a cannot be installed\n  the profile asks for a\n    a 1 (main) Depends: b\n      \
             b 1 (main) Pre-Depends: c | d\n        which no archive offers",
        ),
        (
            &["a 1; Depends: b", "b 1"],
            "a -b",
            "a cannot be installed\n  the profile asks for a\n    a 1 (main) Depends: b\n      \
             b 1 (main) is excluded by the profile's packages.exclude",
        ),
        (
            &["a 1; Depends: b (= 1)", "b 1", "b 2"],
            "a b=2",
            "a cannot be installed\n  the profile asks for a\n    a 1 (main) Depends: b (= 1)\n      \
             b 1 (main) is not b=2, which the profile pins",
        ),
        (
            &["a 1; Depends: b:any", "b 1"],
            "a",
            "a cannot be installed\n  the profile asks for a\n    a 1 (main) Depends: b:any\n      \
             but on offer is only b 1 (main)",
        ),
    ] {
        let error = solve(&[suite("main", 1, stanzas)], wanted).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Unsatisfiable);
        assert_eq!(error.to_string(), expected);
        assert!(error.to_string().lines().count() <= 22);
    }
}

#[test]
fn a_request_that_has_nothing_to_do_with_the_conflict_is_not_named() {
    let stanzas = ["a 1; Conflicts: b", "b 1", "c 1", "d 1; Depends: c"];
    let error = solve(&[suite("main", 1, &stanzas)], "a b c d").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("these cannot be installed together: a, b\n")
    );
}

#[test]
fn an_unknown_name_comes_with_a_suggestion() {
    let error = solve(&[suite("main", 1, &["systemd 1", "bash 1"])], "sytsemd").unwrap_err();
    let failure = failure_of(&error).unwrap();
    assert_eq!(failure.kind, Kind::Unsatisfiable);
    assert_eq!(failure.hints, ["`sytsemd`: did you mean `systemd`?"]);
}

#[test]
fn a_malformed_stanza_only_matters_when_it_is_needed() {
    let main = suite("main", 1, &["a 1", "b 1; Depends: (((", "c 1; Provides: )"]);
    assert_eq!(
        show(&solve(std::slice::from_ref(&main), "a c").unwrap()),
        "a=1 c=1"
    );
    let error = solve(&[main], "b").unwrap_err();
    assert!(
        error.to_string().contains("relations can't be read"),
        "{error}"
    );
}

#[test]
fn suites_compete_as_the_profile_says() {
    let main = || suite("main", 1, &["a 1", "b 1; Depends: a"]);
    let mut other = suite("bpo", 2, &["a 3", "c 3"]);
    assert_eq!(
        show(&solve(&[main(), other.clone()], "b").unwrap()),
        "a=3 b=1",
        "pocket"
    );
    other.priority = 100;
    assert_eq!(
        show(&solve(&[main(), other.clone()], "b").unwrap()),
        "a=1 b=1",
        "priority"
    );
    other.priority = 500;
    other.pocket = false;
    assert_eq!(
        show(&solve(&[main(), other.clone()], "b").unwrap()),
        "a=1 b=1",
        "no pocket"
    );
    assert_eq!(
        show(&solve(&[main(), other.clone()], "a/bpo b").unwrap()),
        "a=3 b=1",
        "named"
    );
    let error = solve(&[main(), other.clone()], "c").unwrap_err();
    assert!(failure_of(&error).unwrap().hints[0].contains("c/bpo"));
    other.only = vec!["c*".into()];
    assert_eq!(
        show(&solve(&[main(), other.clone()], "b c").unwrap()),
        "a=1 b=1 c=3",
        "only"
    );
    let error = solve(&[main(), other], "a/bpp").unwrap_err();
    assert_eq!(kind_of(&error), Kind::Usage);
}

#[test]
fn equal_versions_with_other_bytes_are_an_error_and_with_equal_bytes_one_package() {
    let main = suite("main", 1, &["a 1"]);
    let same = suite("copy", 2, &["a 1"]);
    let resolution = solve(&[main.clone(), same], "a").unwrap();
    assert_eq!(resolution.chosen[0].archive, "main");
    let other = suite("evil", 2, &["a 1; Hash: x"]);
    let error = solve(&[main, other], "a").unwrap_err();
    assert_eq!(kind_of(&error), Kind::Archive);
}

#[test]
fn a_local_file_stands_above_every_archive() {
    let main = [suite("main", 1, &["a 2; Depends: b", "b 1"])];
    let local = [stanza("a 1; Depends: b")];
    let mut wanted = wishes("a");
    wanted.pins.insert("a".into(), Pin::Local);
    let held = Held::new();
    let resolution =
        resolve_wishes(&wanted, "amd64", &main, &local, &held, &script_only()).unwrap();
    assert_eq!(show(&resolution), "a=1 b=1");
    assert_eq!(resolution.chosen[0].suite, "");
}

#[test]
fn a_reason_names_the_shortest_way_and_what_was_dropped() {
    let main = [suite(
        "main",
        1,
        &[
            "a 1; Depends: b, debconf",
            "b 1; Depends: c",
            "c 1; Provides: v",
            "z 1; Depends: v",
        ],
    )];
    let resolution = solve(&main, "a z").unwrap();
    let why = why::from_resolution(&resolution, "c", "amd64");
    let chain: Vec<&str> = why.chain.iter().map(|s| s.package.as_str()).collect();
    assert_eq!(chain, ["z", "c"]);
    let text = why.to_string();
    assert!(text.contains("z Depends: v"), "{text}");
    assert!(text.contains("also wanted by\n  b Depends: c"), "{text}");
    let why = why::from_resolution(&resolution, "debconf", "amd64");
    assert_eq!(why.version, None);
    assert_eq!(why.dropped[0].by, "a");
    assert!(why.to_string().contains("dropped from the relations of a"));
}

fn profile(include: &[&str]) -> crate::profile::Profile {
    let include: Vec<String> = include.iter().map(|s| (*s).to_owned()).collect();
    serde_json::from_value(serde_json::json!({
        "name": "test",
        "os": { "id": "test", "name": "Test", "version": "1" },
        "kernel": { "package": "linux-image-{arch}" },
        "packages": { "include": include },
    }))
    .unwrap()
}

const KERNEL: &str = "linux-image-amd64 6";

fn locked(suites: &[SuiteIndex], include: &[&str], old: Option<&Lock>, upgrade: &Upgrade) -> Lock {
    let profile = profile(include);
    let held = old
        .map(|lock| lock.held(upgrade).unwrap())
        .unwrap_or_default();
    let resolution = resolve_holding(&profile, suites, &[], &held).unwrap();
    Lock::make(Inputs {
        profile: &profile,
        suites,
        resolution: &resolution,
        codecs: [("zstd".to_owned(), "1.5.7".to_owned())].into(),
        files: [("files/a.deb".to_owned(), Sha256::of(b"a"))].into(),
        ids: [("user sshd".to_owned(), 991)].into(),
        stamp: None,
        old,
    })
    .unwrap()
}

#[test]
fn a_lock_round_trips_and_a_changed_one_is_refused() {
    let suites = [suite(
        "main",
        7,
        &["a 1:1.0~1; Depends: b (>= 1) | c", "b 1e5", KERNEL],
    )];
    let lock = locked(&suites, &["a"], None, &Upgrade::Nothing);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(Lock::file_name("test", lock.arch));
    assert_eq!(Lock::load(&path).unwrap(), None);
    lock.save(&path).unwrap();
    assert_eq!(Lock::load(&path).unwrap().as_ref(), Some(&lock));
    let text = lock.to_text();
    assert!(text.starts_with("# made by hullwright lock; do not edit\nlock: 1\n"));
    let parse = |text: &str| Lock::parse(text, &path);
    for (case, changed, message) in [
        ("major", text.replace("lock: 1\n", "lock: 2\n"), "format 2"),
        (
            "number",
            text.replace("user sshd\": 991", "user sshd\": 992"),
            "checksum",
        ),
        ("bit", text.replace("a Depends", "c Depends"), "checksum"),
        ("cut off", text[..text.len() - 10].to_owned(), "checksum"),
        ("key", text.replace("stamp:", "stmp:"), "checksum"),
        ("appended", format!("{text}x: 1\n"), ""),
        ("empty", String::new(), ""),
    ] {
        assert_ne!(changed, text, "{case}");
        let error = parse(&changed).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Usage, "{case}");
        assert!(error.to_string().contains(message), "{case}: {error}");
        assert!(failure_of(&error).unwrap().place.is_some(), "{case}");
    }
    let mut stray = lock.clone();
    stray.packages[0].path = "pool/../../x".into();
    assert!(
        parse(&stray.to_text())
            .unwrap_err()
            .to_string()
            .contains("leaves the archive")
    );
    // A lock that was sealed with a mistake in it, so that the mistake is what gets reported.
    let edited = text.replace("size: 1000", "size: many");
    assert_ne!(edited, text);
    let seal = edited.rfind("# SHA-256").unwrap();
    let (lines, label) = (&edited[..seal], "# SHA-256 of the lines above: ");
    let error = parse(&format!("{lines}{label}{}\n", Sha256::of(lines.as_bytes()))).unwrap_err();
    let place = failure_of(&error).unwrap().place.clone().unwrap();
    assert!(place.line.is_some() && place.column.is_some());
}

#[test]
fn strings_that_look_like_something_else_survive_the_lock() {
    let suites = [suite("main", 7, &["a 1", KERNEL])];
    let mut lock = locked(&suites, &["a"], None, &Upgrade::Nothing);
    for text in [
        "", "yes", "NO", "null", "~", "1e5", "0x10", "1:2", "a: b", "a #b", "- a", "*a", "\"",
        "\\", "é\n\t", "a|b", "{a}", "'", "@", "%", "=", " a ", ".inf", "\u{7f}", "\u{2028}",
    ] {
        lock.packages[0].why = text.to_owned();
        lock.tool = text.to_owned();
        let again = Lock::parse(&lock.to_text(), std::path::Path::new("x"));
        assert_eq!(again.unwrap(), lock, "{text:?}");
    }
}

#[test]
fn the_stamp_follows_the_suites_that_supply_and_never_goes_back() {
    let first = [
        suite("main", 100, &["a 1", KERNEL]),
        suite("sec", 900, &["z 1"]),
    ];
    let old = locked(&first, &["a"], None, &Upgrade::Nothing);
    assert_eq!(
        old.stamp,
        Stamp::from_seconds(100),
        "only suites that supplied a package count"
    );
    let later = [suite("main", 200, &["a 1", KERNEL])];
    let same = locked(&later, &["a"], Some(&old), &Upgrade::All);
    assert_eq!(same.stamp, old.stamp, "no package changed");
    let changed = [suite("main", 200, &["a 2", KERNEL])];
    let new = locked(&changed, &["a"], Some(&old), &Upgrade::All);
    assert_eq!(new.stamp, Stamp::from_seconds(200));
    let earlier = [suite("main", 50, &["a 3", KERNEL])];
    let back = locked(&earlier, &["a"], Some(&new), &Upgrade::All);
    assert_eq!(back.stamp, Stamp::from_seconds(200), "never earlier");
}

#[test]
fn a_lock_holds_versions_until_they_are_given_up() {
    let old = [suite("main", 1, &["a 1", "b 1", KERNEL])];
    let old = locked(&old, &["a", "b"], None, &Upgrade::Nothing);
    let now = [suite("main", 2, &["a 1", "a 2", "b 1", "b 2", KERNEL])];
    let version = |lock: &Lock, name: &str| lock.package(name).unwrap().version.clone();
    let versions = |lock: &Lock| version(lock, "a") + &version(lock, "b");
    let relock = |upgrade: &Upgrade| locked(&now, &["a", "b"], Some(&old), upgrade);
    assert_eq!(versions(&relock(&Upgrade::Nothing)), "11");
    assert_eq!(versions(&relock(&Upgrade::All)), "22");
    let only = relock(&Upgrade::Only(vec!["b".into()]));
    assert_eq!(versions(&only), "12");
    assert!(old.held(&Upgrade::Only(vec!["zz".into()])).is_err());
    let gone = [suite("main", 2, &["a 2", "b 1", KERNEL])];
    let gone = locked(&gone, &["a", "b"], Some(&old), &Upgrade::Nothing);
    assert_eq!(
        versions(&gone),
        "21",
        "a superseded version is not on offer"
    );
    let text = lock::diff(Some(&old), &only).to_string();
    assert!(text.starts_with("upgraded  b  1 → 2"), "{text}");
    assert_eq!(
        lock::diff(Some(&old), &old).to_string(),
        "no package changed\n"
    );
}

#[test]
fn ids_of_an_older_lock_stay() {
    let suites = [suite("main", 1, &["a 1", KERNEL])];
    let mut old = locked(&suites, &["a"], None, &Upgrade::Nothing);
    old.ids.insert("user sshd".into(), 77);
    old.ids.insert("user gone".into(), 78);
    let new = locked(&suites, &["a"], Some(&old), &Upgrade::All);
    assert_eq!(new.ids["user sshd"], 77);
    assert_eq!(new.ids["user gone"], 78);
    assert!(new.matches(lock::profile_hash(&profile(&["a"]))));
    let other = lock::profile_hash(&profile(&["a", "b"]));
    assert!(!new.matches(other));
    let error = new.require_match(other, std::path::Path::new("test.x86_64.lock"));
    assert_eq!(kind_of(&error.unwrap_err()), Kind::Usage);
}

#[test]
fn why_from_a_lock_gives_the_chain() {
    let suites = [suite(
        "main",
        1,
        &[
            "a 1; Depends: b",
            "b 1; Pre-Depends: c (>= 1)",
            "c 1",
            KERNEL,
        ],
    )];
    let lock = locked(&suites, &["a"], None, &Upgrade::Nothing);
    let text = why::from_lock(&lock, "c").to_string();
    assert_eq!(
        text,
        "c 1\n  the profile asks for a 1\n    a Depends: b\n      → b 1\n      \
         b Pre-Depends: c (>= 1)\n        → c 1\n"
    );
    let missing = why::from_lock(&lock, "debconf");
    assert!(missing.version.is_none() && missing.script_only.is_some());
    assert_eq!(
        why::from_lock(&lock, "zz").to_string(),
        "zz is not in the set\n"
    );
}
