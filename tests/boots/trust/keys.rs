//! Key folders with signed variables, and one with an image in its `dbx`.

use std::path::{Path, PathBuf};

use crate::support::{good, hullwright, tool};

/// A whole set of keys in `state/name`, for `purpose`: `release` or `dev`.
pub fn make(state: &Path, name: &str, purpose: &str) -> PathBuf {
    let dir = state.join(name);
    good(hullwright(state).args(["keys", "new"]).arg(&dir).args([
        "--profile",
        purpose,
        "--no-passphrase",
    ]));
    dir
}

/// A copy of the key folder `keys` in which the EFI program `revoked` is in `dbx`.
pub fn revoke(keys: &Path, revoked: &Path, to: &Path) {
    good(tool("cp").arg("-a").arg(keys).arg(to));
    let folder = to.parent().unwrap();
    good(
        hullwright(folder)
            .args(["keys", "revoke"])
            .arg(to)
            .arg("--image")
            .arg(revoked),
    );
}
