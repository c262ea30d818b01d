//! Key sets: what is refused, and what each command says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::home::{Home, Ran, stable};

const PASSPHRASE: &str = "correct horse battery";

/// A release set with a passphrase, made once: four RSA keys of 3072 bits take their time.
fn release_set() -> PathBuf {
    static SET: OnceLock<PathBuf> = OnceLock::new();
    SET.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let set = target.join("cli-release-keys");
        if !set.is_dir() {
            let home = Home::new();
            let new = tempfile::tempdir_in(target).unwrap();
            let made = home
                .command(&["keys", "new", "--profile", "release", "--quiet"])
                .arg(new.path().join("keys"))
                .env("HULLWRIGHT_PASSPHRASE", PASSPHRASE)
                .status()
                .unwrap();
            assert!(made.success());
            // Another process may have been faster.
            let _ = fs::rename(new.path().join("keys"), &set);
        }
        set
    })
    .clone()
}

/// A home with a copy of a set in `keys`.
fn home_with(set: &Path) -> Home {
    let home = Home::new();
    copy(set, &home.path("keys"));
    home
}

fn development_home() -> Home {
    let home = Home::new();
    home.good(&["keys", "new", "keys", "--name", "Example Corp", "--quiet"]);
    home
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn unlocked(home: &Home, arguments: &[&str]) -> Ran {
    home.finish(
        home.command(arguments)
            .env("HULLWRIGHT_PASSPHRASE", PASSPHRASE),
    )
}

#[test]
fn a_set_goes_through_its_life() {
    let home = development_home();
    let fingerprint = home.good(&["keys", "show", "keys"])[..64].to_owned();
    let shown = home.run(&["keys", "show", "keys", "--json"]).last();
    assert_eq!(shown["fingerprint"], fingerprint.as_str());
    assert_eq!(shown["name"], "Example Corp");
    assert_eq!(shown["profile"], "dev");
    let names: Vec<_> = shown["keys"].as_array().unwrap().iter().collect();
    let names: Vec<_> = names
        .iter()
        .map(|key| key["key"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["PK", "KEK", "db", "verity", "release"]);
    assert_eq!(home.good(&["keys", "check", "keys"]), "keys: good\n");

    home.good(&["keys", "rotate", "keys", "db", "kek"]);
    let rotated = home.run(&["keys", "show", "keys", "--json"]).last();
    assert_ne!(rotated["fingerprint"], fingerprint.as_str());
    assert_eq!(
        rotated["others_in_db"][0]["fingerprint"],
        fingerprint.as_str()
    );
    let old = home.run(&["keys", "show", "keys.old-1", "--json"]).last();
    assert_eq!(old["fingerprint"], fingerprint.as_str());

    let revoke = [
        "keys",
        "revoke",
        "keys",
        "--certificate",
        "keys.old-1/db.crt",
    ];
    let revoked = home.run(&[&revoke[..], &["--json"]].concat()).last();
    assert_eq!(revoked["renewed"][0], "dbx-update.auth");
    assert_eq!(home.good(&revoke), "keys: dbx has all of it\n");
    let dropped = home.run(&["keys", "rotate", "keys", "--drop-old", "--json"]);
    assert_eq!(dropped.last()["renewed"][0], "db.auth", "{dropped}");
    assert_eq!(home.good(&["keys", "check", "keys"]), "keys: good\n");
    home.no_temporaries();
}

#[test]
fn what_is_no_passphrase_or_not_the_one_is_said() {
    let home = home_with(&release_set());
    home.write("short", "horse\n");
    home.write("empty", "\n");
    home.write("wrong", "battery staple correct\n");
    let mut text = String::new();
    let new = ["keys", "new", "more", "--profile", "release"];
    let rotate = ["keys", "rotate", "keys", "verity"];
    for (command, file) in [
        (&new[..], None),
        (&new, Some("short")),
        (&new, Some("empty")),
        (&new, Some("missing")),
        (&rotate, None),
        (&rotate, Some("wrong")),
    ] {
        let mut arguments = command.to_vec();
        if let Some(file) = file {
            arguments.extend(["--passphrase-file", file]);
        }
        text.push_str(&format!("$ hullwright {}\n", arguments.join(" ")));
        text.push_str(&home.bad(&arguments, 8));
    }
    insta::assert_snapshot!(text);
    let names: Vec<_> = home
        .project()
        .into_keys()
        .filter(|name| !name.starts_with("keys/"))
        .collect();
    assert_eq!(
        names,
        ["empty", "keys", "short", "wrong"],
        "nothing is left behind"
    );

    home.write("right", format!("{PASSPHRASE}\nnot this\n"));
    home.good(&[&rotate[..], &["--passphrase-file", "right"]].concat());
    let shown = unlocked(&home, &["keys", "show", "keys", "--json"]).last();
    for key in shown["keys"].as_array().unwrap() {
        assert_eq!(key["private"], "encrypted", "{key}");
    }
}

#[test]
fn sets_that_can_not_be_used_are_explained() {
    let mut text = String::new();
    let mut refused = |what: &str, home: &Home, arguments: &[&str]| {
        let error = home.bad(arguments, 8);
        text.push_str(&format!("# {what}\n{}\n", stable(&error)));
    };
    let check = ["keys", "check", "keys"];
    let home = development_home();
    refused("a folder that exists", &home, &["keys", "new", "keys"]);
    refused("no set", &home, &["keys", "check", "nothing"]);

    fs::rename(home.path("keys/owner"), home.path("safe")).unwrap();
    refused(
        "the owner's keys elsewhere",
        &home,
        &["keys", "rotate", "keys", "db"],
    );
    let elsewhere = ["keys", "rotate", "keys", "db", "--owner", "safe"];
    home.good(&elsewhere);
    let notes = home.good(&check);
    assert!(
        notes.contains("note: keys/owner/PK.key lies elsewhere"),
        "{notes}"
    );

    // Lost and mismatched: the certificate of another key, and a variable of another set.
    fs::copy(home.path("keys.old-1/db.crt"), home.path("keys/db.crt")).unwrap();
    refused("a certificate of another key", &home, &check);
    fs::remove_file(home.path("keys/db.crt")).unwrap();
    refused("a lost certificate", &home, &check);

    let home = home_with(&release_set());
    fs::copy(
        development_home().path("keys/enrol/db.auth"),
        home.path("keys/enrol/db.auth"),
    )
    .unwrap();
    refused("a variable of another set", &home, &check);
    let home = home_with(&release_set());
    let loose = fs::Permissions::from_mode(0o644);
    fs::set_permissions(home.path("keys/db.key"), loose).unwrap();
    refused("a key that others may read", &home, &check);
    insta::assert_snapshot!(text);
}

#[test]
fn what_can_not_be_revoked_is_said() {
    let home = development_home();
    home.write("text", "no image, no certificate");
    for (arguments, status, expected) in [
        (&["--image", "text"][..], 2, "text is no PE image"),
        (&["--image", "missing"], 2, "reading missing"),
        (&["--sha256", "abc"], 2, "expected 64 hexadecimal digits"),
        (&["--certificate", "text"], 2, "in PEM or DER"),
        (
            &["--certificate", "keys/db.der"],
            8,
            "machines would refuse every image",
        ),
        (&[], 2, "required arguments"),
    ] {
        let error = home.bad(&[&["keys", "revoke", "keys"], arguments].concat(), status);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(!home.path("keys/enrol/dbx.auth").exists());
}
