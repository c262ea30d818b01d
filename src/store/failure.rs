//! I/O errors of the machine as failures that name the path and the way out.

use std::io;
use std::path::Path;

use crate::failure::{Failure, Kind};

/// The failure for an I/O error while `doing` something to `path`.
#[must_use]
pub fn environment(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(
        Kind::Environment,
        format!("{doing} {}: {error}", path.display()),
    );
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => failure
            .hint("free some space, or point HULLWRIGHT_CACHE to a folder on a larger file system"),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => failure
            .hint("make the folder writable, or point HULLWRIGHT_CACHE to one that is writable"),
        _ => failure,
    }
}
