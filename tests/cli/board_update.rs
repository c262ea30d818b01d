//! Boards without a profile: listed, shown, and renewed from signed indices.

use crate::deb::{Deb, deb};
use crate::home::{Home, sha256};
use crate::site::{FIELDS, IN_RELEASE, LATER, Site};

const FILE: &str = "boards/mine.yaml";

fn firmware(version: &'static str) -> Deb {
    deb("firmware", version, "").of("all")
}

/// A board that pins the firmware 1.0-1 of `site`.
fn board(site: &Site) -> String {
    let pin = firmware("1.0-1");
    format!(
        "# The board on the desk.\nname: mine\ndescription: Board of the test\narch: arm64\n\nprofile:\n  \
         kernel: {{package: linux}}\n\nartefacts:\n  # Has to be newer than 0.9.\n  - name: fw\n    package: firmware\n    \
         suite: test\n    url: {}\n    version: '{}'   # by hand\n    path: {}\n    size: {}\n    sha256: {}\n    \
         snapshot: 20240101T000000Z\n\nesp:\n  files:\n    - {{to: fw.txt, from: fw, path: usr/share/doc/firmware}}\n",
        site.server.url,
        pin.version,
        pin.path(),
        pin.bytes().len(),
        sha256(&pin.bytes()),
    )
}

fn publish(site: &Site, fields: &str, versions: &[&'static str]) {
    let debs: Vec<Deb> = versions.iter().map(|version| firmware(version)).collect();
    site.publish_all(fields, &[("arm64", &debs)]);
}

fn user() -> (Site, Home) {
    let site = Site::new();
    publish(&site, FIELDS, &["1.0-1"]);
    let home = site.home();
    home.write(FILE, board(&site));
    (site, home)
}

const UPDATE: [&str; 5] = ["board", "update", FILE, "--keyring", "test.pgp"];

#[test]
fn a_board_is_renewed_in_place_and_only_its_pins() {
    let (site, home) = user();
    let before = home.read(FILE);
    assert_eq!(home.good(&UPDATE), "mine: nothing newer\n");
    assert_eq!(home.read(FILE), before);

    publish(&site, LATER, &["1.2-1", "1.10-1", "1.0-1"]);
    let check = [&UPDATE[..], &["--check"]].concat();
    let ran = home.run(&check);
    assert_eq!(ran.status, 9, "{ran}");
    assert!(ran.stdout.starts_with("fw: 1.0-1 -> 1.10-1\n"), "{ran}");
    assert_eq!(home.read(FILE), before, "--check writes nothing");

    let said = home.good(&UPDATE);
    assert!(said.ends_with("boards/mine.yaml written\n"), "{said}");
    let (old, new) = (firmware("1.0-1"), firmware("1.10-1"));
    let expected = before
        .replace(&old.path(), &new.path())
        .replace("'1.0-1'", "'1.10-1'")
        .replace(&sha256(&old.bytes()), &sha256(&new.bytes()))
        .replace(
            &format!("size: {}", old.bytes().len()),
            &format!("size: {}", new.bytes().len()),
        )
        .replace("20240101T000000Z", "20250108T000000Z");
    assert_eq!(home.read(FILE), expected);
    assert_eq!(home.run(&check).status, 0);
}

#[test]
fn what_changes_is_said_in_json_and_may_go_to_another_file() {
    let (site, home) = user();
    publish(&site, LATER, &["1.1-1"]);
    let before = home.read(FILE);
    let ran = home.run(&[&UPDATE[..], &["--json", "--output", "new/mine.yaml"]].concat());
    assert_eq!(ran.status, 0, "{ran}");
    let result = ran.last();
    assert_eq!(result["changes"][0]["old"]["version"], "1.0-1", "{ran}");
    assert_eq!(result["changes"][0]["new"]["version"], "1.1-1", "{ran}");
    assert_eq!(result["files"][0], "new/mine.yaml");
    assert_eq!(home.read(FILE), before);
    assert!(
        home.read("new/mine.yaml")
            .contains("version: '1.1-1'   # by hand")
    );
}

#[test]
fn nothing_unsigned_renews_a_board() {
    let (site, home) = user();
    publish(&site, LATER, &["1.1-1"]);
    let before = home.project();
    let stderr = home.bad(&["board", "update", FILE], 2);
    assert!(stderr.contains("--keyring FILE"), "{stderr}");
    site.server.change(IN_RELEASE, |reply| {
        let text = String::from_utf8(reply.body.clone()).unwrap();
        reply.body = text.replace("08 Jan 2025", "09 Jan 2025").into_bytes();
    });
    home.bad(&UPDATE, 4);
    publish(&site, LATER, &[]);
    let stderr = home.bad(&UPDATE, 4);
    assert!(stderr.contains("has no package `firmware`"), "{stderr}");
    // The same version with other bytes.
    let other = firmware("1.0-1").with("./usr/share/doc/other", None, b"other");
    site.publish_all(LATER, &[("arm64", &[other])]);
    let stderr = home.bad(&UPDATE, 4);
    assert!(stderr.contains("the board pins"), "{stderr}");
    assert_eq!(home.project(), before);
}

#[test]
fn boards_are_listed_and_shown() {
    let (_site, home) = user();
    assert!(
        home.good(&["board", "list"])
            .lines()
            .any(|name| name == "raspberry-pi-4")
    );
    let shown = home.good(&["board", "show", "raspberry-pi-4"]);
    for words in [
        "raspi-firmware 1.2026",
        "start4.elf  (raspi-firmware: ",
        "kernel: broadcom/",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let ran = home.run(&["board", "show", FILE, "--json"]);
    assert_eq!(ran.last()["board"]["artefacts"][0]["name"], "fw", "{ran}");
    home.write(
        "boards/none.yaml",
        "name: none\narch: arm64\nartefats: []\n",
    );
    let stderr = home.bad(&["board", "show", "boards/none.yaml"], 2);
    assert!(
        stderr.contains("boards/none.yaml:3") && stderr.contains("`artefacts`"),
        "{stderr}"
    );
    let stderr = home.bad(&["board", "show", "raspberry-pi-44"], 2);
    assert!(stderr.contains("`raspberry-pi-4`"), "{stderr}");
    let stderr = home.bad(&["board", "update", "raspberry-pi-4"], 2);
    assert!(
        stderr.contains("--output boards/raspberry-pi-4.yaml"),
        "{stderr}"
    );
}
