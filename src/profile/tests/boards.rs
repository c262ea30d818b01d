//! Boards: what they add to a profile, and what they are refused for.

use super::*;
use crate::arch::Arch;

const SHA: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A board with `more` keys.
fn board(more: &str) -> String {
    format!(
        "name: toy\narch: arm64\nserial: ttyS7\n\
         artefacts: [{{name: fw, version: 1, path: pool/fw_1_all.deb, size: 9, sha256: {SHA}}}]\n{more}"
    )
}

fn folder(board: &str, profile: &str) -> Folder {
    let profile = format!("{LEAST}{profile}");
    Folder::new(&[("boards/toy.yaml", board), ("p.yaml", &profile)])
}

const NAMED: &str = "board: boards/toy.yaml\n";

#[test]
fn a_board_is_a_base_of_its_profile_and_its_values_know_their_places() {
    let text = board(
        "profile:\n  disk: {esp: 128 MiB, slack: 0}\n  kernel: {initrd_modules: [a]}\n\
         esp: {files: [{to: fw.bin, from: fw, path: usr/fw.bin}]}\n\
         devicetrees: [{path: toy.dtb}]\npartitions: {hybrid_mbr: true}\n",
    );
    let files = [
        ("boards/toy.yaml", text.as_str()),
        (
            "base.yaml",
            "disk: {esp: 64 MiB}\nkernel: {initrd_modules: [b]}\n",
        ),
        (
            "p.yaml",
            "extends: base\nboard: ./boards/toy.yaml\nos: {id: a, name: A, version: 1}\n\
             kernel: {package: linux-image-x, initrd_modules: [c]}\n",
        ),
    ];
    let folder = Folder::new(&files);
    let loaded = folder.load("p.yaml", &[]).unwrap();
    let profile = &loaded.profile;
    assert_eq!(profile.arch, Arch::Arm64);
    assert_eq!(profile.serial(), "ttyS7");
    assert_eq!(profile.disk.esp.0, 128 << 20);
    assert_eq!(profile.disk.slack.0, 0);
    assert_eq!(profile.kernel.initrd_modules, ["b", "a", "c"]);
    let board = profile.board.as_ref().unwrap();
    assert_eq!(board.devicetrees[0].from, "kernel");
    assert!(board.partitions.hybrid_mbr);
    let origins = loaded.origins();
    let origin = |path: &str| {
        let leaf = origins.iter().find(|leaf| leaf.path == path).unwrap();
        leaf.origin
            .replace(&format!("{}/", folder.path().display()), "")
    };
    assert_eq!(origin("disk.esp"), "boards/toy.yaml:6");
    assert_eq!(origin("board.esp.files[0].to"), "boards/toy.yaml:8");
    assert_eq!(
        loaded.board_place(&["devicetrees"], 0).rsplit('/').next(),
        Some("toy.yaml:9")
    );

    // What is printed means the same image, without the board's file.
    let printed = loaded.merged_yaml(false);
    let again = parse_bytes(printed.as_bytes()).unwrap();
    assert_eq!(again, *profile);
}

#[test]
fn a_board_that_another_file_changes_is_another_profile() {
    let hash = |more: &str| {
        folder(&board(more), NAMED)
            .load("p.yaml", &[])
            .unwrap()
            .hash()
    };
    let plain = hash("");
    assert_eq!(plain, hash(""));
    assert_ne!(plain, hash("devicetrees: [{path: toy.dtb}]\n"));
}

#[test]
fn what_is_wrong_with_a_board_is_said_with_its_place() {
    let file = |file: &str| format!("esp: {{files: [{file}]}}\n");
    for (more, wanted) in [
        (
            "artefact: []\n".into(),
            "`artefact` is not a key of `board`",
        ),
        ("esp: {file: []}\n".into(), "did you mean `files`?"),
        (
            "profile: {os: {id: b}}\n".into(),
            "`os` is not a board's to set",
        ),
        (
            "profile: {arch: arm64}\n".into(),
            "`arch` stands beside `profile`",
        ),
        ("profile: {kernl: {}}\n".into(), "did you mean `kernel`?"),
        ("profile: [a]\n".into(), "expected a mapping"),
        (file("{to: a, from: fx, path: b}"), "did you mean `fw`?"),
        (file("{to: a, from: fw}"), "add `path:`"),
        (file("{to: a}"), "has no content"),
        (
            file("{to: a, from: fw, path: b, text: c}"),
            "both `from` and `text`",
        ),
        (
            file("{to: EFI/linux/a.efi, text: c}"),
            "`efi/linux`, which is hullwright's own",
        ),
        (
            file("{to: Loader, text: c}"),
            "`loader`, which is hullwright's own",
        ),
        (file("{to: EFI, text: c}"), "hullwright's own"),
        (
            file("{to: a, text: c}, {to: A/b, text: c}"),
            "collides with `a`",
        ),
        (
            file("{to: \"a:b\", text: c}"),
            "a character that FAT can't store",
        ),
        (
            file("{to: a, from: fw, path: ../b}"),
            "without `/` in front",
        ),
        (
            "devicetrees: [{path: /a.dtb}]\n".into(),
            "without `/` in front",
        ),
        (
            "devicetrees: [{from: x, path: a.dtb}]\n".into(),
            "the board has no artefact `x`",
        ),
    ] {
        let error = folder(&board(&more), NAMED).error("p.yaml", &[]);
        assert!(error.contains(wanted), "{more}: {error}");
        assert!(error.starts_with("boards/toy.yaml:"), "{more}: {error}");
    }
    for (text, wanted) in [
        ("arch: arm64\n", "`board.name` is missing"),
        ("name: toy\n", "`board.arch` is missing"),
        (
            "name: toy\narch: arm64\nserial: /dev/ttyS1\n",
            "such as `ttyS1`",
        ),
    ] {
        let error = folder(text, NAMED).error("p.yaml", &[]);
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn a_board_that_is_not_there_or_not_for_the_image_is_refused() {
    let error = |profile: &str, sets: &[&str]| folder(&board(""), profile).error("p.yaml", sets);
    let text = error("board: raspbery-pi-4\n", &[]);
    assert!(text.contains("did you mean `raspberry-pi-4`?"), "{text}");
    let text = error("board: ./boards/ty.yaml\n", &[]);
    assert!(text.contains("boards/ty.yaml is not a file"), "{text}");
    let text = error(NAMED, &["arch=x86_64"]);
    assert!(text.contains("the board `toy` is arm64"), "{text}");
    let text = error(NAMED, &["board.serial=ttyS2"]);
    assert!(
        text.contains("can't be set from the command line"),
        "{text}"
    );
    let files = [
        ("boards/toy.yaml", board("")),
        ("base.yaml", "board: raspberry-pi-4\n".into()),
        ("p.yaml", format!("extends: base\n{NAMED}{LEAST}")),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let text = Folder::new(&files).error("p.yaml", &[]);
    assert!(text.contains("has the board `raspberry-pi-4`"), "{text}");
}
