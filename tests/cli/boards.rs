//! Boards from the outside: what is wrong with one is said with its place, and what it takes by hash
//! is fetched like packages.

use crate::deb::deb;
use crate::home::{Home, sha256};
use crate::site::{Site, profile};

const LOCK: &str = "p.x86_64.lock";

/// A package that only the board knows, served from where no index names it.
fn firmware(site: &Site) -> (String, usize, String) {
    let bytes = deb("fw", "2-1", "")
        .with("./usr/lib/fw.bin", None, b"firmware")
        .bytes();
    let path = "elsewhere/fw_2-1_all.deb";
    site.server.put(path, bytes.clone());
    (path.into(), bytes.len(), sha256(&bytes))
}

fn board(url: &str, (path, size, sha256): &(String, usize, String)) -> String {
    format!(
        "name: toy\narch: x86_64\nartefacts:\n- name: fw\n  {url}version: 2-1\n  path: {path}\n  \
         size: {size}\n  sha256: {sha256}\nesp:\n  files:\n  - {{to: fw.bin, from: fw, path: usr/lib/fw.bin}}\n"
    )
}

/// A site, and a user whose profile has the board `toy.yaml`.
fn home(site: &Site, board: &str) -> Home {
    let home = site.home();
    home.write("boards/toy.yaml", board);
    home.write(
        "p.yaml",
        profile(&site.server.url, "board: ./boards/toy.yaml\n"),
    );
    home
}

#[test]
fn what_a_board_takes_by_hash_is_locked_fetched_resumed_and_passed_on() {
    let site = Site::new();
    let firmware = firmware(&site);
    // As a mirror would: the board names no URL.
    let home = home(&site, &board("", &firmware));
    site.server.change("fw_2-1", |reply| reply.cuts = 1);
    home.good(&["lock", "p.yaml"]);
    let lock = home.read(LOCK);
    assert!(lock.contains("\nartefacts:\n- name: fw\n"), "{lock}");
    assert!(!lock.contains("127.0.0.1"), "a lock names no host: {lock}");
    let mirror = site.server.url.as_str();
    let offline = home.bad(&["fetch", "p.yaml", "--offline"], 4);
    assert!(offline.contains("--offline forbids"), "{offline}");
    let fetched = home.good(&["fetch", "p.yaml", "--mirror", mirror]);
    assert!(fetched.starts_with("4 packages, "), "{fetched}");
    home.good(&["fetch", "p.yaml", "--offline", "--to", "inputs"]);
    assert!(home.path("inputs").join(&firmware.2).is_file());

    // Another machine, from the folder alone.
    let other = home_from(&home);
    other.good(&["fetch", "p.yaml", "--offline", "--from", "inputs"]);
    assert!(
        other
            .cached("downloads")
            .iter()
            .any(|path| path.ends_with(&firmware.2))
    );

    // A board that pins something else needs another lock.
    let newer = ("elsewhere/fw_3_all.deb".into(), 9, "1".repeat(64));
    home.write("boards/toy.yaml", board("", &newer));
    let stale = home.bad(&["build", "p.yaml", "--locked", "--offline"], 2);
    assert!(
        stale.contains("does not fit the profile any more"),
        "{stale}"
    );
}

fn home_from(one: &Home) -> Home {
    let other = Home::new();
    for (name, _) in one.project() {
        if one.path(&name).is_file() {
            other.write(&name, std::fs::read(one.path(&name)).unwrap());
        }
    }
    other
}

#[test]
fn an_artefact_with_another_hash_or_gone_is_refused() {
    let site = Site::new();
    let (path, size, right) = firmware(&site);
    let url = format!("url: {}\n  ", site.server.url);
    let wrong = board(&url, &(path.clone(), size, "0".repeat(64)));
    let text = home(&site, &wrong).bad(&["fetch", "p.yaml"], 4);
    assert!(text.contains("fw 2-1 of the board"), "{text}");
    assert!(
        text.contains(&"0".repeat(64)) && text.contains(&right),
        "{text}"
    );

    let wrong = board(&url, &(path, size + 1, right.clone()));
    let text = home(&site, &wrong).bad(&["fetch", "p.yaml"], 2);
    assert!(
        text.contains(&format!("its hash is right: write `size: {size}`")),
        "{text}"
    );

    let gone = board(&url, &("elsewhere/none.deb".into(), size, right));
    let text = home(&site, &gone).bad(&["fetch", "p.yaml"], 4);
    assert!(text.contains("fw 2-1 of the board is gone"), "{text}");
    assert!(
        text.contains("renew `version`, `path`, `size` and `sha256`"),
        "{text}"
    );
}

#[test]
fn mistakes_in_a_board_are_shown_with_file_line_and_what_mends_them() {
    let site = Site::new();
    let firmware = firmware(&site);
    let good = board("", &firmware);
    let mut all = String::new();
    for (wrong, profile_has) in [
        (good.replace("artefacts:", "artefact:"), ""),
        (good.replace("arch: x86_64", "arch: amd64"), ""),
        (good.replace("from: fw", "from: fv"), ""),
        (good.replace("to: fw.bin", "to: EFI/Linux/fw.bin"), ""),
        (good.replace("to: fw.bin", "to: Loader"), ""),
        (good.replace("size: ", "size: big "), ""),
        (good.replace(&firmware.2, "beef"), ""),
        (format!("{good}profile:\n  os: {{id: b}}\n"), ""),
        (good.clone(), "arch: arm64\n"),
    ] {
        let home = home(&site, &wrong);
        let own = home.read("p.yaml");
        home.write("p.yaml", format!("{profile_has}{own}"));
        all += &home.bad(&["check", "p.yaml"], 2);
        all += "\n";
    }
    let home = home(&site, &good);
    for name in ["raspbery-pi-4", "./boards/ty.yaml"] {
        let own = home.read("p.yaml").replace("./boards/toy.yaml", name);
        home.write("q.yaml", own);
        all += &home.bad(&["check", "q.yaml"], 2);
        all += "\n";
    }
    insta::assert_snapshot!(all);
}
