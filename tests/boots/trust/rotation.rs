//! The signed variables of a rotation and a revocation, brought to a running machine in the way that
//! `docs/secure-boot.md` tells.

use std::fs;
use std::path::Path;

use super::keys;
use crate::support::{build, exhaustive, good, hullwright, repository, tool};

/// What the document says to do on a machine, for one variable: attributes (octal), variable, file.
const APPLY: &str = r#"
apply() {
    var=/sys/firmware/efi/efivars/$2
    { printf "\\$1\\0\\0\\0"; base64 -d; } > /run/signed.var
    if [ -e $var ]; then chattr -i $var; fi
    if dd if=/run/signed.var of=$var bs=1M 2>/run/error; then
        echo "$3: taken"
    else
        echo "$3: refused"
    fi
}
"#;

const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const DATABASE: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";

/// A line for [`APPLY`] with the file's bytes.
fn apply(variable: &str, append: bool, path: &Path, name: &str) -> String {
    let attributes = if append { "147" } else { "047" };
    let vendor = match variable {
        "PK" | "KEK" => GLOBAL,
        _ => DATABASE,
    };
    let bytes = good(tool("base64").arg("-w0").arg(path));
    format!("echo {bytes} | apply {attributes} {variable}-{vendor} {name}\n")
}

#[test]
fn a_machine_takes_a_rotation_in_its_order() {
    if !exhaustive() {
        return;
    }
    let state = repository().join("target/test-rotation");
    if state.exists() {
        fs::remove_dir_all(&state).unwrap();
    }
    fs::create_dir_all(&state).unwrap();
    let dir = keys::make(&state, "keys", "dev");
    let out = state.join("out");
    let known = state.join("known");
    good(tool("cp").arg("-a").arg(&dir).arg(&known));
    build(
        &state,
        "qemu",
        &out,
        &["--allow-expired", "--keys", known.to_str().unwrap()],
    );

    let change = |arguments: &[&str]| {
        good(hullwright(&state).arg("keys").args(arguments));
    };
    let kept = |file: &str, name: &str| {
        let kept = state.join(name);
        fs::copy(dir.join("enrol").join(file), &kept).unwrap();
        kept
    };
    change(&["rotate", "keys", "db"]);
    let db = kept("db.auth", "db.auth");
    change(&["rotate", "keys", "PK", "KEK"]);
    change(&["revoke", "keys", "--certificate", "keys.old-1/db.crt"]);
    let first_pk = kept("PK.auth", "PK.auth");
    let pk = kept("PK-update.auth", "PK-update.auth");
    let kek = kept("KEK.auth", "KEK.auth");
    let later_db = kept("db.auth", "later-db.auth");
    let dbx_update = kept("dbx-update.auth", "dbx-update.auth");
    let dbx = kept("dbx.auth", "dbx.auth");

    let steps = [
        ("PK", false, &first_pk, "self-signed-pk", "refused"),
        ("db", false, &db, "db", "taken"),
        ("db", false, &db, "db-again", "refused"),
        ("db", false, &later_db, "db-by-new-kek", "refused"),
        ("KEK", false, &kek, "kek-before-pk", "refused"),
        ("PK", false, &pk, "pk", "taken"),
        ("KEK", false, &kek, "kek", "taken"),
        ("db", false, &later_db, "later-db", "taken"),
        ("dbx", true, &dbx_update, "dbx-update", "taken"),
        ("dbx", false, &dbx, "dbx", "taken"),
    ];
    let mut script = APPLY.to_owned();
    for (variable, append, path, name, _) in steps {
        script.push_str(&apply(variable, append, path, name));
    }
    let said = good(
        hullwright(&state)
            .args(["run", "--secure-boot", "--keys"])
            .arg(&known)
            .arg(out.join("disk.raw"))
            .args(["--exec", &script]),
    );
    for (.., name, expected) in steps {
        let line = format!("{name}: {expected}");
        assert!(
            said.lines().any(|said| said.trim() == line),
            "{line}\n{said}"
        );
    }
}
