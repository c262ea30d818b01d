//! The audit, on an image as far as it goes without a real program: tree and initrd.

use serde_json::{Value, json};

use crate::deb::{Deb, deb};
use crate::home::{Home, Ran};
use crate::site::{FIELDS, Site};
use crate::support::repository;

const KERNEL: &str = "6.1-test";

/// Everything that an initrd is made of.
fn demanded() -> Vec<String> {
    let list = repository().join("profiles/initrd/contents.yaml");
    let list: Value = serde_yaml::from_str(&std::fs::read_to_string(list).unwrap()).unwrap();
    let names = |key: &str| list[key].as_array().unwrap().iter();
    let units =
        names("units").map(|unit| format!("usr/lib/systemd/system/{}", unit.as_str().unwrap()));
    let files = names("binaries")
        .chain(names("files"))
        .map(|file| file.as_str().unwrap().to_owned());
    let renamed = list["renamed"].as_object().unwrap().keys().cloned();
    units
        .chain(files.filter(|file| !file.ends_with('?')))
        .chain(renamed)
        .chain(["etc/mke2fs.conf".to_owned()])
        .filter(|path| path != "usr/lib/os-release")
        .collect()
}

/// `alpha` has a unit whose program nobody ships.
fn packages() -> Vec<Deb> {
    let unit = b"[Unit]\nDescription=Alpha\n[Service]\nExecStart=/usr/bin/alphad --now\n";
    let mut system = deb("system", "1", "");
    for path in demanded() {
        system = system.with(&format!("./{path}"), None, b"");
    }
    for name in ["linuxx64.efi.stub", "systemd-bootx64.efi"] {
        let path = format!("./usr/lib/systemd/boot/efi/{name}");
        system = system.with(&path, None, b"no program");
    }
    let mut linux =
        deb("linux", "6.1-1", "").with(&format!("./boot/vmlinuz-{KERNEL}"), None, b"no kernel");
    for (name, text) in [
        ("modules.order", ""),
        (
            "modules.builtin",
            "kernel/fs/overlay.ko\nkernel/fs/erofs.ko\nkernel/drivers/md/dm-verity.ko\n",
        ),
        ("modules.builtin.modinfo", ""),
    ] {
        let path = format!("./usr/lib/modules/{KERNEL}/{name}");
        linux = linux.with(&path, None, text.as_bytes());
    }
    vec![
        deb("alpha", "1.0-1", "Depends: beta (>= 1.0), system\n"),
        deb("beta", "1.0-1", "").with("./usr/lib/systemd/system/alpha.service", None, unit),
        system,
        linux,
    ]
}

fn site() -> Site {
    let site = Site::new();
    site.publish(FIELDS, &packages());
    site
}

fn findings(ran: &Ran) -> Vec<Value> {
    let events = ran.events().into_iter();
    events.filter(|event| event["event"] == "finding").collect()
}

/// The finding about the unit of `alpha`.
fn of_alpha(findings: &[Value]) -> &Value {
    let found = findings
        .iter()
        .find(|finding| finding["what"] == "/usr/bin/alphad");
    found.unwrap_or_else(|| panic!("{findings:#?}"))
}

/// The profile with all of `findings` allowed, and `more` entries.
fn allowing(site: &Site, findings: &[Value], more: &[Value]) -> String {
    let entries: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let mut entry = finding["allow"].clone();
            entry["reason"] = "nothing of this image ever runs".into();
            entry
        })
        .chain(more.iter().cloned())
        .collect();
    // JSON is YAML.
    site.profile(&format!("allow: {}\n", Value::from(entries)))
}

#[test]
fn what_is_missing_ends_a_build_and_is_told_with_who_wanted_it() {
    let site = site();
    let home = site.home();
    let mut others = findings(&home.run(&["audit", "p.yaml", "--json"]));
    others.retain(|finding| finding["what"] != "/usr/bin/alphad");
    home.write("p.yaml", allowing(&site, &others, &[]));
    let stderr = home.bad(&["build", "p.yaml", "-o", "out", "--quiet"], 5);
    assert!(!home.path("out").exists());
    home.no_temporaries();
    insta::assert_snapshot!(stderr);
}

#[test]
fn of_many_findings_a_build_shows_as_many_as_a_screen_takes() {
    let site = site();
    let home = site.home();
    let stderr = home.bad(&["build", "p.yaml", "--quiet"], 5);
    let found = findings(&home.run(&["audit", "p.yaml", "--json"]));
    let more = format!(
        "\n… and {} more; `hullwright audit p.yaml` lists all\n",
        found.len() - 8
    );
    assert!(stderr.contains(&more), "{stderr}");
    let all = home.run(&["audit", "p.yaml"]).stderr;
    for finding in found {
        assert!(all.contains(finding["message"].as_str().unwrap()), "{all}");
    }
}

#[test]
fn every_finding_is_an_event_whose_entry_lets_it_pass() {
    let site = site();
    let home = site.home();
    let ran = home.run(&["audit", "p.yaml", "--json"]);
    assert_eq!(ran.status, 5, "{ran}");
    assert_eq!(ran.last()["kind"], "audit");
    let found = findings(&ran);
    assert_eq!(
        of_alpha(&found),
        &json!({
            "v": 1,
            "event": "finding",
            "rule": "unit-programs",
            "path": "/usr/lib/systemd/system/alpha.service",
            "package": "beta",
            "overlay": null,
            "generated": null,
            "what": "/usr/bin/alphad",
            "message": "line 4, `ExecStart=/usr/bin/alphad --now`, starts `/usr/bin/alphad`, which the image \
                        does not have",
            "chain": [
                "packages.include: alpha (p.yaml:9)",
                "alpha 1.0-1",
                "Depends: beta (>= 1.0) → beta 1.0-1",
            ],
            "hints": [],
            "allow": {
                "rule": "unit-programs",
                "path": "/usr/lib/systemd/system/alpha.service",
                "what": "/usr/bin/alphad",
            },
        })
    );
    let built = home.run(&["build", "p.yaml", "--json"]);
    assert_eq!((built.status, findings(&built)), (5, found.clone()));

    home.write("p.yaml", allowing(&site, &found, &[]));
    let ran = home.run(&["audit", "p.yaml", "--json"]);
    assert_eq!(ran.status, 0, "{ran}");
    let result = ran.last();
    assert_eq!(result["allowed"], found.len());
    assert_eq!(result["unused"], json!([]));
    let events = ran.events();
    let allowed = events
        .iter()
        .find(|event| event["event"] == "allowed" && event["what"] == "/usr/bin/alphad")
        .unwrap();
    assert_eq!(allowed["reason"], "nothing of this image ever runs");
    assert_eq!(allowed["allowed_at"], "p.yaml:8");

    let text = home.good(&["audit", "p.yaml"]);
    let words = "starts `/usr/bin/alphad`, which the image does not have (unit-programs)\n  allowed: nothing of this image ever runs (p.yaml:8)\n";
    assert!(text.contains(words), "{text}");
    let words = "p for x86_64: nothing is missing or out of place by ";
    assert!(text.contains(words), "{text}");
    // The program of the loader is none, which a build finds out after it has passed the audit.
    let built = home.run(&["build", "p.yaml"]);
    assert!(!built.stderr.contains("alpha.service"), "{built}");
}

#[test]
fn the_answer_is_kept_until_something_changes() {
    let site = site();
    let home = site.home();
    let stages = |arguments: &[&str]| {
        let ran = home.run(&[&["audit", "p.yaml", "--json", "--offline"], arguments].concat());
        assert_eq!(ran.status, 5, "{ran}");
        let events = ran.events().into_iter();
        let stages = events.filter(|event| event["stage"] == "audit").count();
        (stages, findings(&ran))
    };
    home.run(&["lock", "p.yaml"]);
    home.run(&["fetch", "p.yaml"]);
    let (first, found) = stages(&[]);
    assert_eq!(first, 1);
    assert_eq!(stages(&[]), (0, found.clone()));
    let (other, less) = stages(&["--set", "root.prune=/usr/lib/systemd/system/alpha.service"]);
    assert_eq!((other, less.len()), (1, found.len() - 1));
}

#[test]
fn what_allows_nothing_is_named_with_its_line() {
    let site = site();
    let home = site.home();
    let found = findings(&home.run(&["audit", "p.yaml", "--json"]));
    let stale = json!({"rule": "symlinks", "path": "/usr/lib/gone", "reason": "it was there"});
    home.write("p.yaml", allowing(&site, &found, &[stale]));
    let words = "p.yaml:8: allow: no finding is about `/usr/lib/gone`\n";
    let text = home.good(&["audit", "p.yaml"]);
    assert!(text.contains(words), "{text}");
    let ran = home.run(&["audit", "p.yaml", "--json"]);
    assert_eq!(ran.status, 0, "{ran}");
    let unused = json!([{"path": "/usr/lib/gone", "place": "p.yaml:8"}]);
    assert_eq!(ran.last()["unused"], unused);
    let built = home.run(&["build", "p.yaml"]);
    assert!(built.stderr.contains(words), "{built}");

    // What a profile inherits from a file of one's own is still one's own.
    home.write("child.yaml", "extends: p\n");
    let text = home.good(&["audit", "child.yaml"]);
    assert!(text.contains(words), "{text}");
    // And what it takes away is open again.
    home.write(
        "child.yaml",
        "extends: p\n-allow: [/usr/lib/systemd/system/alpha.service]\n",
    );
    let ran = home.run(&["audit", "child.yaml", "--json"]);
    assert_eq!(ran.status, 5, "{ran}");
    of_alpha(&findings(&ran));
}

#[test]
fn entries_that_are_wrong_are_refused_with_line_and_column() {
    let home = Home::new();
    let mut text = String::new();
    for entry in [
        "{rule: symlink, path: /usr/a, reason: it is}",
        "{rule: nothing, path: /usr/a, reason: it is}",
        "{rule: symlinks, path: usr/a, reason: it is}",
        "{rule: symlinks, path: \"/usr/[a\", reason: it is}",
        "{rule: symlinks, path: /usr/a, reason: \" \"}",
        "{rule: symlinks, path: /usr/a}",
        "{rule: symlinks, path: /usr/a, what: \"\", reason: it is}",
        "{rule: symlinks, path: /usr/a, because: it is}",
        "/usr/a",
    ] {
        home.write("p.yaml", format!("extends: qemu\nallow:\n- {entry}\n"));
        text.push_str(&home.bad(&["check", "p.yaml"], 2));
    }
    home.write("p.yaml", "extends: qemu\n-allow: [/usr/absent]\n");
    text.push_str(&home.bad(&["check", "p.yaml"], 2));
    insta::assert_snapshot!(text);
}

#[test]
fn the_rules_are_listed() {
    let home = Home::new();
    let text = home.good(&["audit", "--rules"]);
    let words = "symlinks\n  A symbolic link leads nowhere";
    assert!(text.contains(words), "{text}");
    let rules = home.run(&["audit", "--rules", "--json"]).last();
    let names: Vec<_> = rules["rules"].as_array().unwrap().iter().collect();
    assert!(names.len() > 15, "{rules}");
    assert!(names.iter().all(|rule| rule["about"].is_string()));
    let both = home.bad(&["audit", "qemu", "--rules"], 2);
    assert!(both.contains("--rules"), "{both}");
    let neither = home.bad(&["audit"], 2);
    assert!(neither.contains("PROFILE"), "{neither}");
}
