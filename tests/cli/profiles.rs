//! `check`, `init` and `profile`: what they say about good profiles and bad ones.

use crate::home::{Home, Ran};

const GOOD: &str = "extends: container-host\nos: {id: edge, name: Edge, version: 1.4.2}\n";

fn ran(home: &Home, arguments: &[&str]) -> Ran {
    let ran = home.run(arguments);
    if ran.status != 0 {
        ran.judge_error();
    }
    ran
}

#[test]
fn mistakes_in_profiles() {
    let home = Home::new();
    let cases = [
        ("unknown key", "packges: {include: [jq]}\n"),
        ("unknown key below", "packages: {inclde: [jq]}\n"),
        ("wrong type", "packages: {include: {jq: 1}}\n"),
        ("truth", "packages: {recommends: 1}\n"),
        ("impossible value", "disk: {esp: 12 parsecs}\n"),
        ("bad id", "os: {id: Way_Too_Long_For_An_Id}\n"),
        ("not yaml", "packages: [jq\n"),
        ("missing overlay", "root: {overlay: [./fils]}\n"),
        (
            "missing keyring",
            "archives: [{name: v, url: 'http://v.example/d', suites: [s], keyring: ./v.pgp}]\n",
        ),
        (
            "missing container archive",
            "containers: [{archive: ./app.tar, sha256: 0000000000000000000000000000000000000000000000000000000000000000}]\n",
        ),
        (
            "another container archive",
            "containers: [{archive: ./edge.yaml, sha256: 0000000000000000000000000000000000000000000000000000000000000000}]\n",
        ),
        (
            "container archive without its hash",
            "containers: [{archive: ./edge.yaml}]\n",
        ),
        ("no module", "kernel: {modules: [kvm, i915.ko]}\n"),
        ("modules as a mapping", "kernel: {modules: {all: true}}\n"),
        (
            "a module's path in the image",
            "kernel: {modules: /usr/lib/modules}\n",
        ),
        (
            "firmware's path in the image",
            "kernel: {firmware: [modules, /usr/lib/firmware/x]}\n",
        ),
        ("missing deb", "packages: {files: [{path: ./local.deb}]}\n"),
        (
            "take away what is not there",
            "packages: {-include: [nothing]}\n",
        ),
        (
            "several",
            "packges: {}\nroot: {untis: {}}\ndisk: {size: much}\n",
        ),
    ];
    let mut text = String::new();
    for (name, lines) in cases {
        let lines = match lines.strip_prefix("os: {id: ") {
            Some(_) => GOOD.replace("edge", "Way_Too_Long_For_An_Id"),
            None => format!("{GOOD}{lines}"),
        };
        home.write("edge.yaml", lines);
        let ran = ran(&home, &["check", "edge.yaml"]);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{name}: {ran}");
        text.push_str(&format!("# {name}\n{}\n", ran.stderr));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn profiles_that_are_not_there() {
    let home = Home::new();
    home.write("a.yaml", "extends: ./b.yaml\n");
    home.write("b.yaml", "extends: ./a.yaml\n");
    home.write("c.yaml", "extends: contaner-host\n");
    home.write("d/e.yaml", GOOD);
    let mut text = String::new();
    let references = [
        "a.yaml",
        "c.yaml",
        "none.yaml",
        "d",
        "d/",
        "qmeu",
        "b",
        "raspberry-pi-4",
    ];
    for reference in references {
        let stderr = home.bad(&["check", reference], 2);
        text.push_str(&format!("# {reference}\n{stderr}\n"));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn values_from_the_command_line() {
    let home = Home::new();
    home.write("edge.yaml", GOOD);
    let shown = home.good(&["profile", "show", "edge.yaml", "--set", "os.version=2.0"]);
    let line = shown
        .lines()
        .find(|line| line.contains("version:"))
        .unwrap();
    assert!(
        line.contains("2.0") && line.contains("command line"),
        "{line}"
    );
    let mut text = String::new();
    for set in [
        "os.verson=2",
        "os.version",
        "nothing=1",
        "os.version=a/b",
        "disk=[",
        "arch=vax",
    ] {
        let stderr = home.bad(&["check", "edge.yaml", "--set", set], 2);
        text.push_str(&format!("# {set}\n{stderr}\n"));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_merged_profile_with_origins() {
    let home = Home::new();
    home.write(
        "edge.yaml",
        format!("{GOOD}packages: {{include: [jq], -include: [runc]}}\nroot: {{timezone: Europe/Berlin}}\n"),
    );
    let shown = home.good(&["profile", "show", "edge.yaml"]);
    // The base has its own tests; here is what was written beside it.
    let own: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("# edge.yaml:"))
        .collect();
    insta::assert_snapshot!(own.join("\n"));
    assert!(!shown.contains("- runc "), "{shown}");
    assert!(
        shown.contains("# <built-in>/container-host.yaml:"),
        "{shown}"
    );

    let plain = home.good(&["profile", "show", "edge.yaml", "--plain"]);
    home.write("again.yaml", &plain);
    assert_eq!(
        home.good(&["profile", "show", "again.yaml", "--plain"]),
        plain
    );

    let ran = home.run(&["profile", "show", "edge.yaml", "--json"]);
    let last = ran.last();
    let values = last["values"].as_array().unwrap();
    let zone = values
        .iter()
        .find(|v| v["path"] == "root.timezone")
        .unwrap();
    assert_eq!(zone["origin"], "edge.yaml:4");
}

#[test]
fn built_in_profiles_are_listed_and_good() {
    let home = Home::new();
    let list = home.good(&["profile", "list"]);
    assert_eq!(
        list.lines().collect::<Vec<_>>(),
        [
            "container-host",
            "dev",
            "docker",
            "jeos",
            "minimal",
            "podman",
            "qemu",
            "rpi4",
            "rpi4-wifi"
        ]
    );
    let json = home.run(&["profile", "list", "--json"]).last();
    assert_eq!(json["profiles"].as_array().unwrap().len(), 9);
    for name in ["docker", "jeos", "minimal", "podman"] {
        home.write(
            "node.yaml",
            format!("extends: {name}\nos: {{version: 1.0.0}}\n"),
        );
        home.good(&["check", "node.yaml"]);
    }
    insta::assert_snapshot!(home.good(&["check", "qemu"]));
    assert_eq!(home.good(&["check", "qemu", "--quiet"]), "");
}

#[test]
fn a_new_project_is_good_as_it_is() {
    let home = Home::new();
    let made = home.good(&["init", "my-host"]);
    insta::assert_snapshot!(made);
    for file in made.lines() {
        assert!(home.path(file).is_file(), "{file}");
    }
    insta::assert_snapshot!(home.good(&["check", "my-host/my-host.yaml"]));
    let before = home.project();
    let again = home.bad(&["init", "my-host"], 2);
    insta::assert_snapshot!(again);
    assert_eq!(home.project(), before);
    assert!(home.bad(&["init", "/"], 2).contains("--name"));
    assert!(home.bad(&["init", "Bad_Name"], 2).contains("--name"));
    home.good(&["init", ".", "--name", "here"]);
    home.good(&["check", "here.yaml"]);
}
