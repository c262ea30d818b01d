//! Exit codes, streams, variables: what scripts rely on.

use std::io::Read as _;
use std::process::Stdio;

use crate::home::{Home, Ran};
use crate::site::{IN_RELEASE, Site};

const GOOD: &str = "extends: container-host\nos: {id: edge, name: Edge, version: 1.4.2}\n";

#[test]
fn results_are_on_stdout_and_errors_on_stderr() {
    let site = Site::new();
    let home = site.home();
    for (arguments, quiet) in [
        (&["lock", "p.yaml"][..], true),
        (&["check", "p.yaml"], true),
        (&["fetch", "p.yaml"], true),
        (&["why", "p.yaml", "beta"], false),
        (&["profile", "show", "p.yaml"], false),
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.status, 0, "{ran}");
        assert!(!ran.stdout.is_empty(), "{arguments:?}");
        assert!(
            !ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'),
            "{ran}"
        );
        let mut quietly = arguments.to_vec();
        quietly.push("--quiet");
        let ran = home.run(&quietly);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran}");
        assert_eq!(ran.stdout.is_empty(), quiet, "{arguments:?}\n{ran}");
    }
    site.server.remove(IN_RELEASE);
    let ran = home.run(&["lock", "p.yaml", "--quiet"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (4, ""));
    assert!(ran.stderr.starts_with("error: "), "{ran}");
}

#[test]
fn errors_in_json_say_all_that_the_screen_says() {
    let home = Home::new();
    home.write("edge.yaml", format!("{GOOD}packges: {{}}\n"));
    let ran = home.run(&["check", "edge.yaml", "--json"]);
    assert_eq!(ran.status, 2);
    let error = ran.last();
    assert_eq!(error["event"], "error");
    assert_eq!(error["kind"], "usage");
    assert_eq!(error["file"], "edge.yaml");
    assert_eq!((&error["line"], &error["column"]), (&3.into(), &1.into()));
    assert_eq!(error["hints"][0], "did you mean `packages`?");
    assert!(error.get("others").is_none());
    assert!(ran.stderr.starts_with("error: edge.yaml:3:1: "), "{ran}");

    home.write(
        "edge.yaml",
        format!("{GOOD}packges: {{}}\nroot: {{untis: {{}}}}\n"),
    );
    let error = home.run(&["check", "edge.yaml", "--json"]).last();
    assert_eq!(error["hints"][0], "did you mean `packages`?");
    let others = error["others"].as_array().unwrap();
    assert_eq!(others.len(), 1);
    assert_eq!(
        (&others[0]["file"], &others[0]["line"]),
        (&"edge.yaml".into(), &4.into())
    );
    assert_eq!(others[0]["hints"][0], "did you mean `units`?");
}

#[test]
fn every_kind_of_error_has_its_status_and_name() {
    let site = Site::new();
    let home = site.home();
    let ended = |ran: &Ran, status: i32, kind: &str| {
        assert_eq!(
            (ran.status, ran.last()["kind"].as_str()),
            (status, Some(kind)),
            "{ran}"
        );
        ran.judge_error();
    };
    ended(&home.run(&["check", "none", "--json"]), 2, "usage");
    ended(
        &home.run(&["lock", "p.yaml", "--set", "packages.include=none", "--json"]),
        3,
        "unsatisfiable",
    );
    let mut closed = home.command(&["lock", "p.yaml", "--json", "--set", "archives=[]"]);
    closed.env("HULLWRIGHT_CACHE", "/proc/cache");
    ended(&home.finish(&mut closed), 7, "environment");
    home.good(&["lock", "p.yaml", "--quiet"]);
    let mut keys = home.command(&["build", "p.yaml", "--json"]);
    keys.env("HULLWRIGHT_KEYS", home.path("none"));
    ended(&home.finish(&mut keys), 8, "keys");
    site.server.remove("pool/main/beta_1.0-1_amd64.deb");
    ended(&home.run(&["fetch", "p.yaml", "--json"]), 4, "archive");
}

#[test]
fn without_a_home_the_variable_is_named() {
    let site = Site::new();
    let home = site.home();
    let ran = home.finish(home.command(&["lock", "p.yaml"]).env_remove("HOME"));
    assert_eq!(ran.status, 7, "{ran}");
    insta::assert_snapshot!(ran);
    let cache = home.path("cache");
    let mut command = home.command(&["lock", "p.yaml", "--quiet"]);
    let ran = home.finish(command.env_remove("HOME").env("HULLWRIGHT_CACHE", &cache));
    assert_eq!(ran.status, 0, "{ran}");
    let mut command = home.command(&["build", "p.yaml", "--quiet"]);
    command
        .env_remove("HOME")
        .env_remove("HULLWRIGHT_KEYS")
        .env("HULLWRIGHT_CACHE", &cache);
    let ran = home.finish(&mut command);
    assert_eq!(ran.status, 7, "{ran}");
    assert!(
        ran.stderr.contains("HOME") && ran.stderr.contains("HULLWRIGHT_STATE"),
        "{ran}"
    );
    // What needs no place works without one.
    assert_eq!(
        home.finish(home.command(&["check", "qemu"]).env_remove("HOME"))
            .status,
        0
    );
}

#[test]
fn the_cache_is_where_the_variables_say() {
    let site = Site::new();
    let home = site.home();
    for (variables, place) in [
        (&[("XDG_CACHE_HOME", "/xdg")][..], "xdg/hullwright"),
        (
            &[("XDG_CACHE_HOME", "/xdg2"), ("HULLWRIGHT_CACHE", "/own")],
            "own",
        ),
    ] {
        let mut command = home.command(&["lock", "p.yaml", "--quiet"]);
        for (name, value) in variables {
            command.env(name, home.path(&value[1..]));
        }
        assert_eq!(home.finish(&mut command).status, 0);
        assert!(home.path(place).join("downloads").is_dir(), "{place}");
    }
    assert!(!home.cache().exists() && !home.path("xdg2").exists());
    let mut relative = home.command(&["lock", "p.yaml", "--quiet"]);
    assert_eq!(
        home.finish(relative.env("XDG_CACHE_HOME", "here")).status,
        0
    );
    assert!(
        !home.path("here").exists(),
        "a relative XDG folder does not count"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let home = Home::new();
    for arguments in [
        &["profile", "show", "qemu"][..],
        &["profile", "show", "qemu", "--json"],
        &["--help"],
        &["completions", "zsh"],
    ] {
        let mut command = home.command(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            (status.code(), stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn colour_is_never_forced_on_anyone() {
    let home = Home::new();
    home.write("edge.yaml", format!("{GOOD}packges: {{}}\n"));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "xterm-256color")] {
        for arguments in [
            &["check", "edge.yaml"][..],
            &["chekc"],
            &["--help"],
            &["-vv", "check", "qemu"],
        ] {
            let ran = home.finish(home.command(arguments).env(name, value));
            assert!(!format!("{ran}").contains('\u{1b}'), "{ran}");
        }
    }
}
