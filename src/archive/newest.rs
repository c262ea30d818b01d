//! The newest version of what a board takes by hash, from the signed indices of its suite.

use anyhow::Result;

use super::artefacts::source;
use super::context::Context;
use super::date;
use super::refresh::Suite;
use super::release::Expiry;
use super::trust::Keyrings;
use crate::arch::Arch;
use crate::failure::{Failure, Kind};
use crate::profile::board::Artefact;
use crate::resolve::version;

/// The name under which [`newest`] looks for the keyring of archives that are not Debian's.
pub const VENDOR: &str = "vendor";

/// `artefact` as the suite that it names has it now; as it is, where it names none or nothing newer is
/// there. `keyrings` has the keyring of other archives than Debian's as [`VENDOR`].
///
/// # Errors
/// The suite can't be fetched or trusted, or has no such package.
pub fn newest(
    artefact: &Artefact,
    arch: Arch,
    keyrings: &Keyrings,
    ctx: &Context,
) -> Result<Artefact> {
    let Some(suite) = &artefact.suite else {
        return Ok(artefact.clone());
    };
    let mut source = source(artefact);
    source.components = vec![artefact.component.clone()];
    if artefact.url.is_some() {
        if !keyrings.contains_key(VENDOR) {
            return Err(Failure::new(
                Kind::Usage,
                format!(
                    "`{}` is not from Debian, and nothing says whose signature its archive has",
                    artefact.name
                ),
            )
            .hint("name the archive's keyring with --keyring FILE")
            .into());
        }
        source.keyring = VENDOR.into();
    }
    let fetcher = ctx.fetcher();
    let expiry = if ctx.allow_expired {
        Expiry::AllowExpired
    } else {
        Expiry::Strict
    };
    let index = Suite {
        source: &source,
        name: suite,
        architecture: arch.traits().debian,
        keyrings,
        ctx,
        fetcher: &fetcher,
    }
    .load(expiry, None)?;
    let offered = index
        .records
        .into_iter()
        .filter(|record| record.name == artefact.package())
        .max_by(|a, b| version::compare(&a.version, &b.version));
    let missing = |what: &str| {
        Failure::new(
            Kind::Archive,
            format!(
                "the suite `{suite}` has no {what} `{}` in `{}` for {arch}",
                artefact.package(),
                artefact.component
            ),
        )
        .hint("correct `package`, `suite` or `component` of the artefact in the board")
    };
    let record = offered.ok_or_else(|| missing("package"))?;
    let sha256 = record.sha256.ok_or_else(|| missing("hash of"))?;
    match version::compare(&record.version, &artefact.version) {
        std::cmp::Ordering::Greater => {}
        // Other bytes under the pinned version are nothing to take in silence.
        std::cmp::Ordering::Equal if sha256 != artefact.sha256 => {
            return Err(Failure::new(
                Kind::Archive,
                format!(
                    "`{}` {} has the SHA-256 {sha256} in the suite `{suite}`, and the board pins {}",
                    artefact.name, artefact.version, artefact.sha256
                ),
            )
            .hint("find out which is right before you change the board")
            .into());
        }
        _ => return Ok(artefact.clone()),
    }
    Ok(Artefact {
        version: record.version,
        path: record.filename,
        size: record.size,
        sha256,
        snapshot: artefact
            .snapshot
            .as_ref()
            .map(|_| date::compact(index.date)),
        ..artefact.clone()
    })
}
