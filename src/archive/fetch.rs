//! The packages of a lock: from the cache, a folder, a mirror, or a snapshot service.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Result;

use super::artefacts::fetch_artefacts;
use super::context::Context;
use super::date;
use super::http::{FetchError, Fetcher, Wanted, copy_out};
use super::mirror::{join, snapshot};
use super::packages::safe_path;
use super::refresh::Suite;
use super::release::Expiry;
use super::trust::Keyrings;
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::profile::Profile;
use crate::profile::schema::ArchiveSource;
use crate::report::progress::Stage;
use crate::resolve::Lock;
use crate::resolve::lock::LockedPackage;
use crate::store::environment;

/// Brings all packages of a lock into the cache and returns their paths in the lock's order; local
/// files, which have no archive, give `None` and are the caller's.
///
/// `on_ready` is called once for each (its index in `lock.packages`, its path) as soon as it is
/// there, from several threads, so that work on it overlaps with the transfers of others.
/// `keyrings` is only used to say which version an archive has instead of a vanished one.
///
/// # Errors
/// A package that can't be had anywhere, or whose content is wrong.
pub fn fetch_packages(
    lock: &Lock,
    profile: &Profile,
    keyrings: &Keyrings,
    ctx: &Context,
    on_ready: &(dyn Fn(usize, &Path) + Sync),
) -> Result<Vec<Option<PathBuf>>> {
    fetch_some(lock, profile, keyrings, ctx, &|_| true, on_ready)
}

/// As [`fetch_packages`], for those whose index is `wanted`; the others give `None`.
///
/// # Errors
/// See [`fetch_packages`].
pub fn fetch_some(
    lock: &Lock,
    profile: &Profile,
    keyrings: &Keyrings,
    ctx: &Context,
    wanted: &dyn Fn(usize) -> bool,
    on_ready: &(dyn Fn(usize, &Path) + Sync),
) -> Result<Vec<Option<PathBuf>>> {
    let mut paths: Vec<Option<PathBuf>> = Vec::with_capacity(lock.packages.len());
    let mut missing = Vec::new();
    for (index, package) in lock.packages.iter().enumerate() {
        let path = if package.archive.is_empty() || !wanted(index) {
            None
        } else {
            let path = ctx.store.download_sized(&package.sha256, package.size);
            if path.is_none() {
                missing.push(index);
            }
            path
        };
        paths.push(path);
    }
    if ctx.offline && ctx.from.is_none() && !missing.is_empty() {
        return Err(offline(lock, ctx, &missing));
    }
    let total = missing
        .iter()
        .filter_map(|&i| lock.packages.get(i))
        .map(|p| p.size)
        .sum();
    let stage = ctx.progress.stage("fetch", Some(total));
    let job = Job {
        lock,
        profile,
        keyrings,
        ctx,
        fetcher: ctx.fetcher(),
        stage: &stage,
    };
    // Large ones first, so that none is left alone at the end.
    missing.sort_by_key(|&i| std::cmp::Reverse(lock.packages.get(i).map_or(0, |p| p.size)));
    let fetched = Mutex::new(Vec::with_capacity(missing.len()));
    let failed = Mutex::new(None);
    let stop = AtomicBool::new(false);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..ctx.jobs.max(1).min(missing.len()) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&index) = missing.get(at) else { break };
                    let Some(package) = lock.packages.get(index) else {
                        break;
                    };
                    match job.fetch(package) {
                        Ok(path) => {
                            on_ready(index, &path);
                            if let Ok(mut list) = fetched.lock() {
                                list.push((index, path));
                            }
                        }
                        Err(error) => {
                            stop.store(true, Ordering::Relaxed);
                            if let Ok(mut slot) = failed.lock() {
                                slot.get_or_insert(error);
                            }
                        }
                    }
                }
            });
        }
        for (index, path) in paths.iter().enumerate() {
            if let Some(path) = path {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                on_ready(index, path);
            }
        }
    });
    if let Some(error) = failed.into_inner().ok().flatten() {
        return Err(error);
    }
    for (index, path) in fetched.into_inner().unwrap_or_default() {
        if let Some(slot) = paths.get_mut(index) {
            *slot = Some(path);
        }
    }
    Ok(paths)
}

/// Writes all packages of a lock to `folder`, as files named by their SHA-256 (`fetch --to`), the
/// form that [`Context::from`] takes them in. Returns them with their sizes.
///
/// # Errors
/// As [`fetch_packages`]; a folder that can't be written.
pub fn export(
    lock: &Lock,
    profile: &Profile,
    keyrings: &Keyrings,
    ctx: &Context,
    folder: &Path,
) -> Result<BTreeMap<Sha256, u64>> {
    std::fs::create_dir_all(folder).map_err(|e| {
        environment("making the folder", folder, &e).hint("choose another folder with --to DIR")
    })?;
    let paths = fetch_packages(lock, profile, keyrings, ctx, &|_, _| {})?;
    let mut written = BTreeMap::new();
    for (package, path) in lock.packages.iter().zip(paths) {
        if let Some(path) = path {
            copy_out(&path, folder, &package.sha256)?;
            written.insert(package.sha256, package.size);
        }
    }
    let paths = fetch_artefacts(lock, profile, ctx)?;
    for (artefact, path) in lock.artefacts.iter().zip(paths) {
        copy_out(&path, folder, &artefact.sha256)?;
        written.insert(artefact.sha256, artefact.size);
    }
    Ok(written)
}

fn offline(lock: &Lock, ctx: &Context, missing: &[usize]) -> anyhow::Error {
    const SHOWN: usize = 8;
    let mut names: Vec<String> = missing
        .iter()
        .take(SHOWN)
        .filter_map(|&i| lock.packages.get(i))
        .map(|p| format!("{} {}", p.name, p.version))
        .collect();
    if missing.len() > SHOWN {
        names.push(format!("and {} more", missing.len() - SHOWN));
    }
    Failure::new(
        Kind::Archive,
        format!(
            "{} of {} locked packages are not in the cache, and --offline forbids to fetch them: {}",
            missing.len(),
            lock.packages.len(),
            names.join(", ")
        ),
    )
    .hint(format!("run `hullwright fetch {}` with network first, or give --from DIR", ctx.named(lock)))
    .into()
}

struct Job<'a> {
    lock: &'a Lock,
    profile: &'a Profile,
    keyrings: &'a Keyrings,
    ctx: &'a Context,
    fetcher: Fetcher,
    stage: &'a Stage,
}

impl Job<'_> {
    fn fetch(&self, package: &LockedPackage) -> Result<PathBuf> {
        let what = format!(
            "package {} {} ({})",
            package.name, package.version, package.architecture
        );
        self.stage.item(&package.name);
        if let Some(folder) = &self.ctx.from {
            let wanted = Wanted {
                what: &what,
                url: "",
                sha256: package.sha256,
                size: package.size,
            };
            return self.fetcher.take_from(folder, &wanted);
        }
        let source = self
            .profile
            .archives
            .iter()
            .find(|source| source.name == package.archive)
            .ok_or_else(|| {
                Failure::new(
                    Kind::Usage,
                    format!(
                        "{what} is locked from archive `{}`, which the profile does not have",
                        package.archive
                    ),
                )
                .hint(format!(
                    "write the lock anew: `hullwright lock {}`",
                    self.ctx.named(self.lock)
                ))
            })?;
        if !safe_path(&package.path) {
            return Err(Failure::new(
                Kind::Usage,
                format!(
                    "{what}: the lock has the path `{}`, which is not below the archive",
                    package.path
                ),
            )
            .hint(format!(
                "write the lock anew: `hullwright lock {}`",
                self.ctx.named(self.lock)
            ))
            .into());
        }
        let url = join(&self.ctx.mirrors.base(source).url, &package.path);
        match self.download(&what, &url, package) {
            Ok(path) => Ok(path),
            Err(FetchError::Failed(error)) => Err(error),
            Err(FetchError::Gone(_)) => self.superseded(package, source, &what, &url),
        }
    }

    fn download(
        &self,
        what: &str,
        url: &str,
        package: &LockedPackage,
    ) -> Result<PathBuf, FetchError> {
        let wanted = Wanted {
            what,
            url,
            sha256: package.sha256,
            size: package.size,
        };
        self.fetcher.download(&wanted, Some(self.stage))
    }

    /// The mirror has dropped the version: the snapshot service, then an error that says what to do.
    fn superseded(
        &self,
        package: &LockedPackage,
        source: &ArchiveSource,
        what: &str,
        url: &str,
    ) -> Result<PathBuf> {
        let date = self
            .lock
            .suites
            .iter()
            .find(|s| s.archive == package.archive && s.name == package.suite)
            .map(|s| s.date);
        let mut tried = format!("{url} does not exist");
        if let Some(snapshot) =
            date.and_then(|d| snapshot(source, &date::compact(d), &package.path))
        {
            tracing::info!("{what} is gone from the mirror; trying {snapshot}");
            match self.download(what, &snapshot, package) {
                Ok(path) => return Ok(path),
                Err(FetchError::Gone(url)) => tried.push_str(&format!(", nor does {url}")),
                Err(FetchError::Failed(error)) => {
                    self.fetcher.check_cancel()?;
                    tried.push_str(&format!("; {error}"));
                }
            }
        }
        let mut failure = Failure::new(
            Kind::Archive,
            format!("{what} is gone from the archive `{}`: {tried}", source.name),
        );
        failure = match self.on_offer(package, source) {
            Some(version) => failure.hint(format!("the version now on offer is {version}")),
            None => failure,
        };
        Err(failure
            .hint(format!(
                "`hullwright lock {} --upgrade {}` locks the version that is there",
                self.ctx.named(self.lock),
                package.name
            ))
            .into())
    }

    fn on_offer(&self, package: &LockedPackage, source: &ArchiveSource) -> Option<String> {
        let suite = Suite {
            source,
            name: &package.suite,
            architecture: self.profile.arch.traits().debian,
            keyrings: self.keyrings,
            ctx: self.ctx,
            fetcher: &self.fetcher,
        };
        let index = suite.load(Expiry::AllowExpired, None).ok()?;
        let versions: Vec<String> = index
            .records
            .into_iter()
            .filter(|r| r.name == package.name)
            .map(|r| r.version)
            .collect();
        (!versions.is_empty()).then(|| versions.join(", "))
    }
}
