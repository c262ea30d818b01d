//! The one place where environment variables are read.
#![allow(
    clippy::disallowed_methods,
    reason = "the command line is where the outside comes in"
)]

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::failure::{Failure, Kind};
use crate::profile::parse_size;
use crate::sign::{self, Settings};
use crate::stamp::Stamp;
use crate::store::DEFAULT_LIMIT;

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

/// `HULLWRIGHT_CACHE_LIMIT`, else 10 GiB.
///
/// # Errors
/// It is no size.
pub fn cache_limit() -> Result<u64> {
    let Ok(text) = std::env::var("HULLWRIGHT_CACHE_LIMIT") else {
        return Ok(DEFAULT_LIMIT);
    };
    if text.is_empty() {
        return Ok(DEFAULT_LIMIT);
    }
    parse_size(&text).map_err(|expected| {
        Failure::new(
            Kind::Usage,
            format!("HULLWRIGHT_CACHE_LIMIT is `{text}`; expected {expected}"),
        )
        .into()
    })
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
    choose(path(own), path(xdg), path("HOME"), below_home).ok_or_else(|| {
        Failure::new(
            Kind::Environment,
            format!("HOME is not set, so there is no place for {what}"),
        )
        .hint(format!("set {own} to a folder that can be written to"))
        .into()
    })
}

/// Our own variable, then the XDG one, then the place below HOME. The XDG Base Directory
/// Specification ("Basics") tells to ignore relative paths.
fn choose(
    own: Option<PathBuf>,
    xdg: Option<PathBuf>,
    home: Option<PathBuf>,
    below_home: &str,
) -> Option<PathBuf> {
    own.or_else(|| {
        xdg.filter(|dir| dir.is_absolute())
            .map(|dir| dir.join("hullwright"))
    })
    .or_else(|| home.map(|home| home.join(below_home).join("hullwright")))
}

/// `HULLWRIGHT_KEYS`.
#[must_use]
pub fn keys() -> Option<PathBuf> {
    path("HULLWRIGHT_KEYS")
}

/// `HULLWRIGHT_PASSPHRASE`.
#[must_use]
pub fn passphrase() -> Option<zeroize::Zeroizing<String>> {
    std::env::var("HULLWRIGHT_PASSPHRASE")
        .ok()
        .filter(|value| !value.is_empty())
        .map(zeroize::Zeroizing::new)
}

/// What signers take from the environment: `HULLWRIGHT_PIN`, `HULLWRIGHT_SIGNER_TIMEOUT`.
///
/// # Errors
/// The time limit is no number of seconds.
pub fn signer_settings() -> Result<Settings> {
    let text = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    let limit = match text("HULLWRIGHT_SIGNER_TIMEOUT") {
        None => sign::DEFAULT_LIMIT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| (1..=86_400).contains(seconds))
            .map(Duration::from_secs)
            .ok_or_else(|| {
                Failure::new(
                    Kind::Usage,
                    format!(
                        "HULLWRIGHT_SIGNER_TIMEOUT is `{text}`, which is not a number of seconds \
                         from 1 to 86400"
                    ),
                )
            })?,
    };
    Ok(Settings {
        pin: text("HULLWRIGHT_PIN"),
        limit,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_cache_is_where_the_variables_say() {
        let os = |s: &str| Some(PathBuf::from(s)).filter(|p| !p.as_os_str().is_empty());
        for (own, xdg, home, expected) in [
            (os("/a"), os("/b"), os("/c"), "/a"),
            (os(""), os("/b"), os("/c"), "/b/hullwright"),
            (None, os("relative"), os("/c"), "/c/.cache/hullwright"),
            (None, None, os("/c"), "/c/.cache/hullwright"),
        ] {
            let chosen = choose(own, xdg, home, ".cache").unwrap();
            assert_eq!(chosen, Path::new(expected));
        }
        assert_eq!(choose(None, None, None, ".cache"), None);
    }
}
