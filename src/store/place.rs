//! Where the cache is.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

use crate::failure::{Failure, Kind};

/// The cache directory: `HULLWRIGHT_CACHE`, else `XDG_CACHE_HOME/hullwright`, else
/// `HOME/.cache/hullwright`. Empty values count as absent, and so does a relative `XDG_CACHE_HOME`
/// (XDG Base Directory Specification, "Basics").
///
/// # Errors
/// None of the three is set.
pub fn cache_dir(
    hullwright_cache: Option<OsString>,
    xdg: Option<OsString>,
    home: Option<OsString>,
) -> Result<PathBuf> {
    let path = |value: Option<OsString>| value.filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(dir) = path(hullwright_cache) {
        return Ok(dir);
    }
    if let Some(dir) = path(xdg).filter(|dir| dir.is_absolute()) {
        return Ok(dir.join("hullwright"));
    }
    match path(home) {
        Some(dir) => Ok(dir.join(".cache/hullwright")),
        None => Err(Failure::new(
            Kind::Environment,
            "HOME is not set, so there is no place for the cache",
        )
        .hint("set HULLWRIGHT_CACHE to a writable folder, or set HOME")
        .into()),
    }
}
