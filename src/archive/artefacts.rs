//! What a board takes by hash: from the cache, a folder, a mirror, or a snapshot service, as packages
//! are, but without an index, because the board's hash is all the trust that it needs.

use std::path::PathBuf;

use anyhow::Result;

use super::context::Context;
use super::http::{FetchError, Fetcher, Wanted};
use super::mirror::{join, snapshot};
use super::packages::safe_path;
use super::trust::DEBIAN;
use crate::failure::{Failure, Kind};
use crate::profile::Profile;
use crate::profile::board::Artefact;
use crate::profile::schema::ArchiveSource;
use crate::report::progress::Stage;
use crate::resolve::Lock;
use crate::resolve::lock::LockedArtefact;
use crate::store::environment;

/// Brings the artefacts of a lock into the cache and returns their paths in the lock's order.
///
/// # Errors
/// One that can't be had anywhere, or whose content is wrong.
pub fn fetch_artefacts(lock: &Lock, profile: &Profile, ctx: &Context) -> Result<Vec<PathBuf>> {
    let cached =
        |artefact: &LockedArtefact| ctx.store.download_sized(&artefact.sha256, artefact.size);
    let missing: Vec<_> = lock
        .artefacts
        .iter()
        .filter(|artefact| cached(artefact).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(lock.artefacts.iter().filter_map(cached).collect());
    }
    if ctx.offline && ctx.from.is_none() {
        let names: Vec<_> = missing
            .iter()
            .map(|artefact| format!("{} {}", artefact.name, artefact.version))
            .collect();
        return Err(Failure::new(
            Kind::Archive,
            format!(
                "what the board takes by hash is not in the cache, and --offline forbids to fetch \
                 it: {}",
                names.join(", ")
            ),
        )
        .hint(format!(
            "run `hullwright fetch {}` with network first, or give --from DIR",
            ctx.named(lock)
        ))
        .into());
    }
    let total = missing.iter().map(|artefact| artefact.size).sum();
    let stage = ctx.progress.stage("fetch", Some(total));
    let job = Job {
        lock,
        profile,
        ctx,
        fetcher: ctx.fetcher(),
        stage: &stage,
    };
    lock.artefacts
        .iter()
        .map(|artefact| cached(artefact).map_or_else(|| job.fetch(artefact), Ok))
        .collect()
}

struct Job<'a> {
    lock: &'a Lock,
    profile: &'a Profile,
    ctx: &'a Context,
    fetcher: Fetcher,
    stage: &'a Stage,
}

impl Job<'_> {
    fn fetch(&self, artefact: &LockedArtefact) -> Result<PathBuf> {
        self.stage.item(&artefact.name);
        let what = format!("{} {} of the board", artefact.name, artefact.version);
        let path = match &self.ctx.from {
            Some(folder) => self
                .fetcher
                .take_from(folder, &wanted(artefact, &what, ""))?,
            None => self.download(artefact, &what)?,
        };
        let size = std::fs::metadata(&path).map_err(|e| environment("reading", &path, &e))?;
        if size.len() != artefact.size {
            let (found, size) = (size.len(), artefact.size);
            return Err(Failure::new(
                Kind::Usage,
                format!("{what} has {found} bytes, and the board says {size}"),
            )
            .hint(format!("its hash is right: write `size: {found}`"))
            .into());
        }
        Ok(path)
    }

    /// From the mirror or, where that has it no more, the snapshot service.
    fn download(&self, artefact: &LockedArtefact, what: &str) -> Result<PathBuf> {
        let of_board = find(self.lock, artefact, self.profile, self.ctx)?;
        let source = source(of_board);
        let get = |url: &str| {
            let wanted = wanted(artefact, what, url);
            self.fetcher.download(&wanted, Some(self.stage))
        };
        let url = join(&self.ctx.mirrors.base(&source).url, &artefact.path);
        let mut tried = match get(&url) {
            Ok(path) => return Ok(path),
            Err(FetchError::Failed(error)) => return Err(error),
            Err(FetchError::Gone(url)) => format!("{url} does not exist"),
        };
        let moment = of_board.snapshot.as_deref();
        if let Some(url) = moment.and_then(|moment| snapshot(&source, moment, &artefact.path)) {
            tracing::info!("{what} is gone from the mirror; trying {url}");
            match get(&url) {
                Ok(path) => return Ok(path),
                Err(FetchError::Gone(url)) => tried.push_str(&format!(", nor does {url}")),
                Err(FetchError::Failed(error)) => {
                    self.fetcher.check_cancel()?;
                    tried.push_str(&format!("; {error}"));
                }
            }
        }
        Err(
            Failure::new(Kind::Archive, format!("{what} is gone: {tried}"))
                .hint(
                    "renew `version`, `path`, `size` and `sha256` in the board, or use another \
                     mirror (--mirror URL)",
                )
                .into(),
        )
    }
}

fn wanted<'a>(artefact: &LockedArtefact, what: &'a str, url: &'a str) -> Wanted<'a> {
    Wanted {
        what,
        url,
        sha256: artefact.sha256,
        size: artefact.size,
    }
}

/// The board's word on a locked artefact: where it is fetched from.
fn find<'a>(
    lock: &Lock,
    artefact: &LockedArtefact,
    profile: &'a Profile,
    ctx: &Context,
) -> Result<&'a Artefact> {
    let safe = safe_path(&artefact.path);
    profile
        .board_artefacts()
        .iter()
        .find(|of_board| safe && LockedArtefact::from(*of_board) == *artefact)
        .ok_or_else(|| {
            Failure::new(
                Kind::Usage,
                format!(
                    "the lock has the artefact {} {}, which is not as the board has it",
                    artefact.name, artefact.version
                ),
            )
            .hint(format!(
                "write the lock anew: `hullwright lock {}`",
                ctx.named(lock)
            ))
            .into()
        })
}

/// The archive that an artefact would be a package of.
pub(super) fn source(artefact: &Artefact) -> ArchiveSource {
    let vendor = artefact.url.is_some();
    ArchiveSource {
        name: artefact.name.clone(),
        url: artefact.url.clone(),
        tree: artefact.tree,
        suites: Vec::new(),
        components: Vec::new(),
        // Mirrors stand in for Debian's archives alone.
        keyring: if vendor { String::new() } else { DEBIAN.into() },
        fingerprints: Vec::new(),
        pocket: false,
        priority: 0,
        only: Vec::new(),
        snapshot: None,
    }
}
