//! The one place where environment variables are read.
#![allow(
    clippy::disallowed_methods,
    reason = "the command line is where the outside comes in"
)]

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::failure::{Failure, Kind};
use crate::stamp::Stamp;

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// `HULLWRIGHT_CACHE`, else the XDG cache folder.
///
/// # Errors
/// Neither those nor HOME is set.
pub fn cache_dir() -> Result<PathBuf> {
    place("HULLWRIGHT_CACHE", "XDG_CACHE_HOME", ".cache", "the cache")
}

/// The XDG state folder: where development keys live.
///
/// # Errors
/// Neither it nor HOME is set.
pub fn state_dir() -> Result<PathBuf> {
    place(
        "HULLWRIGHT_STATE",
        "XDG_STATE_HOME",
        ".local/state",
        "development keys",
    )
}

fn place(own: &str, xdg: &str, below_home: &str, what: &str) -> Result<PathBuf> {
    if let Some(dir) = path(own) {
        return Ok(dir);
    }
    // The XDG specification tells to ignore relative paths.
    if let Some(dir) = path(xdg).filter(|dir| dir.is_absolute()) {
        return Ok(dir.join("hullwright"));
    }
    path("HOME")
        .map(|home| home.join(below_home).join("hullwright"))
        .ok_or_else(|| {
            Failure::new(
                Kind::Environment,
                format!("HOME is not set, so there is no place for {what}"),
            )
            .hint(format!("set {own} to a folder that can be written to"))
            .into()
        })
}

/// `HULLWRIGHT_KEYS`.
#[must_use]
pub fn keys() -> Option<PathBuf> {
    path("HULLWRIGHT_KEYS")
}

/// `HULLWRIGHT_MIRROR`.
#[must_use]
pub fn mirror() -> Option<String> {
    std::env::var("HULLWRIGHT_MIRROR")
        .ok()
        .filter(|value| !value.is_empty())
}

/// `SOURCE_DATE_EPOCH`, as <https://reproducible-builds.org/specs/source-date-epoch/> defines it.
///
/// # Errors
/// It is set to something that is not a number of seconds.
pub fn source_date_epoch() -> Result<Option<Stamp>> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        return Ok(None);
    };
    let text = value.to_string_lossy();
    match text.parse() {
        Ok(seconds) => Ok(Some(Stamp::from_seconds(seconds))),
        Err(_) => Err(Failure::new(
            Kind::Usage,
            format!("SOURCE_DATE_EPOCH is `{text}`, which is not a number of seconds since 1970"),
        )
        .into()),
    }
}

/// Seconds since the epoch: for expiry of what was signed, never for bytes of an output.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|d| d.as_secs())
        .unwrap_or(0)
}

/// Whether `NO_COLOR` asks for plain text (<https://no-color.org>).
#[must_use]
pub fn no_color() -> bool {
    path("NO_COLOR").is_some()
}
