//! Does what `docs/releasing.md` says, command by command, in one folder from the first to the last.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::document::{Desk, commands, sections};
use crate::support::{good, repository, tool};
use crate::web;

const DOCUMENT: &str = include_str!("../../docs/releasing.md");
const COMMAND: &str = include_str!("../../profiles/units/update/hullwright-update");

/// The profile of the guide.
fn profile() -> String {
    let (_, rest) = DOCUMENT.split_once("```yaml\n").unwrap();
    rest.split("```").next().unwrap().to_owned()
}

/// Words of `hullwright-update` in the help that it prints.
fn verbs() -> Vec<String> {
    let help = COMMAND.split("Commands:\n").nth(1).unwrap();
    help.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .map(String::from)
        .collect()
}

fn listing(dir: &Path) -> String {
    let mut find = tool("find");
    find.arg(dir).args(["-type", "f", "-printf", "%P %s %T@\n"]);
    let mut lines: Vec<String> = good(&mut find).lines().map(String::from).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn every_command_of_the_guide_does_what_it_says() {
    let mut desk = Desk::new("releasing", &profile());
    let www = desk.dir.join("www");
    fs::create_dir(&www).unwrap();
    let url = web::serve(&www);
    desk.instead("www.example.com:/srv/releases", www.to_str().unwrap());
    desk.instead("https://updates.example.com/my-host", &url);
    // A mirror may lag by weeks, and may have nothing that is newer; neither is judged here.
    desk.instead("hullwright lock", "hullwright lock --allow-expired");
    for command in [
        "git init -q .",
        "git config user.name Me",
        "git config user.email me@example.com",
    ] {
        good(&mut desk.shell(command));
    }
    let mut ran = 0;
    let mut output = Vec::new();
    for section in sections(DOCUMENT) {
        for command in commands(DOCUMENT, section, "$ ") {
            println!("$ {command}");
            let mut command = command;
            if command.contains("--version 1.1.0") {
                command.push_str(" --stamp $(stat -c %Y my-host.yaml)");
            }
            let out = good(&mut desk.shell(&command));
            println!("{out}");
            output.push((command, out));
            ran += 1;
        }
    }
    assert!(ran >= 25, "{ran}");
    let said = |start: &str| {
        let found = output
            .iter()
            .filter(|(command, _)| command.starts_with(start));
        found.map(|(_, out)| out.as_str()).collect::<Vec<_>>()
    };

    // The last list knows what was withdrawn, and what took its place.
    let lists = said("hullwright release list");
    let last = lists.last().unwrap();
    assert!(
        last.contains("1.1.1") && last.contains("containers lose their network"),
        "{last}"
    );
    let site = desk.dir.join("site");
    let there = |name: &str| site.join(name).exists();
    assert!(there("beta/x86_64/my-host_1.1.0.efi"), "beta keeps it");
    assert!(!there("stable/x86_64/my-host_1.1.0.efi"), "stable does not");
    assert!(there("stable/x86_64/my-host_1.1.1.efi"));

    // The way back has the old content, but for names, numbers and times.
    let diff = said("hullwright release diff");
    assert!(diff[0].starts_with("# my-host 1.1.0 (x86_64)"), "{diff:?}");
    let path = "beta/x86_64/my-host_1.1.1.diff.md";
    let back = fs::read_to_string(site.join(path)).unwrap();
    assert!(!back.contains("**"), "{back}");

    // What a mirror has is the tree.
    good(
        desk.shell("rsync -a --delete site/ www/")
            .current_dir(&desk.dir),
    );
    assert_eq!(listing(&site), listing(&www));

    // The release between the keys knows both.
    let keys = "hullwright inspect site/beta/x86_64/my-host_1.2.0_*.usr.raw \
                cat /usr/lib/systemd/import-pubring.gpg > pubring.gpg";
    good(&mut desk.shell(keys));
    let known = |file: &str| {
        let show = format!("gpg --homedir . --quiet --show-keys --with-colons {file}");
        let lines = good(&mut desk.shell(&show));
        let keys = lines.lines().filter(|line| line.starts_with("fpr:"));
        keys.map(String::from).collect::<BTreeSet<_>>()
    };
    assert_eq!(known("pubring.gpg").len(), 2);
    assert_eq!(known("pubring.gpg"), known("keys/release.asc"));

    // The new key has signed every channel.
    let old = "keys.old-1/release.asc";
    let verify = format!("hullwright release verify site --key {old}");
    let output = desk.shell(&verify).output().unwrap();
    assert!(
        !output.status.success(),
        "the old key alone is not enough any more"
    );
}

#[test]
fn what_the_guide_says_of_nodes_is_what_nodes_have() {
    let verbs = verbs();
    assert!(verbs.contains(&"rollback".to_owned()), "{verbs:?}");
    let mut seen = 0;
    for part in DOCUMENT.split("hullwright-update ").skip(1) {
        let verb: String = part.chars().take_while(char::is_ascii_lowercase).collect();
        assert!(verbs.contains(&verb), "hullwright-update {verb}");
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
    for section in sections(DOCUMENT) {
        for command in commands(DOCUMENT, section, "# ") {
            let known = command.starts_with("hullwright-update ")
                || command.starts_with("echo channel=beta >> /etc/hullwright/update.conf");
            assert!(known, "{command}");
        }
    }
    // Of several lines for one key the last counts, so that a line can simply be added.
    let dir = tempfile::tempdir().unwrap();
    let etc = dir.path().join("etc");
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("update.conf"), "channel=stable\n").unwrap();
    for file in [
        "units/update/update-lib.sh",
        "health/scripts/node.sh",
        "health/scripts/oneshot.sh",
    ] {
        let from = repository().join("profiles").join(file);
        let to = dir.path().join(from.file_name().unwrap());
        fs::copy(from, to).unwrap();
    }
    let script = "echo channel=beta >> etc/update.conf; . ./update-lib.sh; setting channel";
    let mut shell = tool("sh");
    shell.args(["-euc", script]).current_dir(dir.path());
    assert_eq!(
        good(
            shell
                .env("HULLWRIGHT_ETC", &etc)
                .env("HULLWRIGHT_LIB", dir.path())
        ),
        "beta\n"
    );
}

#[test]
fn links_of_the_guides_lead_somewhere() {
    for name in ["docs/releasing.md", "docs/ci/README.md"] {
        let path = repository().join(name);
        let text = fs::read_to_string(&path).unwrap();
        for part in text.split("](").skip(1) {
            let link = part.split(')').next().unwrap();
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let target = match target.extension() {
                None if !target.exists() => target.with_extension("md"),
                _ => target,
            };
            assert!(target.exists(), "{name}: {link}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).unwrap().to_lowercase();
                let title = anchor.replace('-', " ");
                assert!(text.contains(&format!("# {title}\n")), "{name}: {link}");
            }
        }
    }
}
