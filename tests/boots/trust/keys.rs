//! Key folders with signed variables, and a `dbx` that revokes an image.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{good, hullwright, tool};

/// A whole set of release keys in `state/name`.
pub fn make(state: &Path, name: &str) -> PathBuf {
    let dir = state.join(name);
    good(hullwright(state).args(["keys", "new"]).arg(&dir).args([
        "--profile",
        "release",
        "--no-passphrase",
    ]));
    dir
}

/// A copy of the key folder `keys` in which the EFI program `revoked` is in `dbx`, signed by KEK with
/// efitools: what another owner's tools make has to do too.
pub fn revoke(keys: &Path, revoked: &Path, to: &Path) {
    good(tool("cp").arg("-a").arg(keys).arg(to));
    let list = to.join("dbx.esl");
    good(tool("hash-to-efi-sig-list").arg(revoked).arg(&list));
    good(
        tool("sign-efi-sig-list")
            .args(["-t", "2026-06-01 00:00:00", "-k"])
            .arg(to.join("owner/KEK.key"))
            .arg("-c")
            .arg(to.join("owner/KEK.crt"))
            .arg("dbx")
            .arg(&list)
            .arg(to.join("enrol/dbx.auth")),
    );
    fs::remove_file(list).unwrap();
}
