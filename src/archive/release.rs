//! The Release file of a suite: verified, parsed, and judged for age.
//!
//! Format: <https://wiki.debian.org/DebianRepository/Format#A.22Release.22_files>.

use std::collections::BTreeMap;

use anyhow::Result;

use super::trust::Trust;
use super::{cleartext, date, openpgp};
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};

/// The signed content of an InRelease file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `Suite` (`stable`).
    pub suite: String,
    /// `Codename` (`trixie`).
    pub codename: String,
    /// `Date`, seconds since the epoch.
    pub date: u64,
    /// `Valid-Until`.
    pub valid_until: Option<u64>,
    /// `Acquire-By-Hash: yes`.
    pub by_hash: bool,
    /// Whether packages of architecture `all` have an index of their own.
    pub separate_all: bool,
    /// Files of the `SHA256` section by path: hash and size.
    pub files: BTreeMap<String, (Sha256, u64)>,
}

/// What becomes of a Release past its `Valid-Until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// An error.
    Strict,
    /// Accepted because the user said so (`--allow-expired`).
    AllowExpired,
    /// A warning: development profiles.
    WarnDevelopment,
}

/// Where a Release came from, for messages.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Name of the archive in the profile.
    pub archive: &'a str,
    /// The suite that was asked for.
    pub suite: &'a str,
    /// URL of the InRelease file.
    pub url: &'a str,
}

impl Origin<'_> {
    fn failure(&self, what: impl std::fmt::Display) -> Failure {
        Failure::new(
            Kind::Archive,
            format!(
                "the signed Release of suite `{}` ({}) {what}",
                self.suite, self.url
            ),
        )
    }
}

/// Verifies an InRelease file and reads its signed text.
///
/// # Errors
/// Anything that keeps it from being trusted for this suite.
pub fn verify(bytes: &[u8], trust: &Trust, now: u64, origin: Origin<'_>) -> Result<Release> {
    let message = cleartext::parse(bytes).map_err(|e| {
        origin.failure(format!("is damaged: {e}")).hint(
            "try again, or use another mirror with --mirror: something on the way changed the file",
        )
    })?;
    openpgp::verify(&message, &trust.keyring, &trust.pins, now).map_err(|rejected| {
        let mut failure = origin.failure("bears no signature that counts");
        for (issuer, reason) in &rejected.0 {
            failure = failure.hint(format!("signature by {issuer}: {reason}"));
        }
        let expected = if trust.pins.is_empty() {
            trust.keyring.fingerprints()
        } else {
            trust.pins.clone()
        };
        failure.hint(format!(
            "archive `{}` accepts signatures by {}",
            origin.archive,
            expected.join(", ")
        ))
    })?;
    parse(&message.text, origin)
}

/// Reads the fields of a verified text and checks that it is of the suite that was asked for.
fn parse(text: &str, origin: Origin<'_>) -> Result<Release> {
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    let mut files = BTreeMap::new();
    let mut section = "";
    for line in text.lines() {
        if let Some(entry) = line.strip_prefix([' ', '\t']) {
            if section.eq_ignore_ascii_case("SHA256") {
                let (path, file) = file(entry).ok_or_else(|| {
                    origin.failure(format!("has a SHA256 line that can't be read: `{entry}`"))
                })?;
                files.insert(path.to_owned(), file);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            section = name;
            if fields.insert(name, value.trim()).is_some() {
                return Err(origin
                    .failure(format!("has the field `{name}` twice"))
                    .into());
            }
        } else if !line.is_empty() {
            return Err(origin
                .failure(format!("has a line that is no field: `{line}`"))
                .into());
        }
    }
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let time = |name: &str| -> Result<Option<u64>> {
        match field(name) {
            "" => Ok(None),
            text => match date::parse(text) {
                Some(seconds) => Ok(Some(seconds)),
                None => Err(origin
                    .failure(format!("has a `{name}` that can't be read: `{text}`"))
                    .into()),
            },
        }
    };
    let words = |name: &str| field(name).split_ascii_whitespace();
    let release = Release {
        suite: field("Suite").to_owned(),
        codename: field("Codename").to_owned(),
        date: time("Date")?.ok_or_else(|| origin.failure("has no `Date`"))?,
        valid_until: time("Valid-Until")?,
        by_hash: field("Acquire-By-Hash") == "yes",
        separate_all: words("Architectures").any(|a| a == "all")
            && !words("No-Support-for-Architecture-all").any(|w| w == "Packages"),
        files,
    };
    // Otherwise a mirror could serve one suite's signed Release in another's place.
    if origin.suite != release.suite && origin.suite != release.codename {
        return Err(origin
            .failure(format!(
                "is that of another suite: Suite `{}`, Codename `{}`",
                release.suite, release.codename
            ))
            .hint("write the suite in the profile as one of these two")
            .into());
    }
    Ok(release)
}

fn file(line: &str) -> Option<(&str, (Sha256, u64))> {
    let mut words = line.split_ascii_whitespace();
    let sha256 = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    let path = words.next()?;
    words.next().is_none().then_some((path, (sha256, size)))
}

impl Release {
    /// Judges the age at `now`, and against the `Date` that the lock has for this suite. Says whether
    /// an expired Release was accepted.
    ///
    /// # Errors
    /// Expired under [`Expiry::Strict`], or older than the lock.
    pub fn judge(
        &self,
        now: u64,
        expiry: Expiry,
        locked: Option<u64>,
        origin: Origin<'_>,
    ) -> Result<bool> {
        if let Some(locked) = locked.filter(|&locked| self.date < locked) {
            return Err(origin
                .failure(format!(
                    "is of {}, older than the one in the lock, of {}: the mirror lags, or replays \
                     an old state",
                    date::readable(self.date),
                    date::readable(locked)
                ))
                .hint("use another mirror (--mirror URL), or try again later")
                .into());
        }
        if self.date > now.saturating_add(86_400) {
            tracing::warn!(
                "the Release of {} is of {}, but this machine's clock says {}",
                origin.suite,
                date::readable(self.date),
                date::readable(now)
            );
        }
        let Some(until) = self.valid_until.filter(|&until| until < now) else {
            return Ok(false);
        };
        let message = format!(
            "was valid until {}, and it is {} now",
            date::readable(until),
            date::readable(now)
        );
        match expiry {
            Expiry::Strict => Err(origin
                .failure(message)
                .hint(
                    "use a mirror that is up to date (--mirror URL), or check this machine's clock",
                )
                .hint("--allow-expired accepts it all the same, and says so in lock and manifest")
                .into()),
            Expiry::AllowExpired => Ok(true),
            Expiry::WarnDevelopment => {
                tracing::warn!(
                    "{}; accepted for a development profile",
                    origin.failure(message)
                );
                Ok(true)
            }
        }
    }
}
