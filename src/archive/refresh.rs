//! From a profile to verified, parsed indices of its suites.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use sha2::Digest as _;

use super::context::Context;
use super::http::{FetchError, Fetcher, Wanted};
use super::mirror::{Base, join};
use super::release::{self, Expiry, Origin, Release};
use super::trust::{Keyrings, trust};
use super::{Record, SuiteIndex, packages};
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::profile::Profile;
use crate::profile::schema::ArchiveSource;
use crate::resolve::Lock;
use crate::store::environment;

/// Debian's is 140 kB.
const MAX_RELEASE: u64 = 8 << 20;
/// Debian's main is 10 MB compressed and 56 MB plain.
const MAX_INDEX: u64 = 256 << 20;
const MAX_PLAIN_INDEX: u64 = 1 << 30;
/// Of the compact form; a new number makes it anew.
const COMPACT_VERSION: u32 = 1;

/// Fetches, verifies and parses the indices of all suites of a profile, in the profile's order.
/// `keyrings` has the files that the profile's archives name; `previous` is the lock that no suite
/// may be older than.
///
/// # Errors
/// A suite that can't be fetched or trusted.
pub fn refresh(
    profile: &Profile,
    keyrings: &Keyrings,
    ctx: &Context,
    previous: Option<&Lock>,
) -> Result<Vec<SuiteIndex>> {
    let stage = ctx.progress.stage("refresh", None);
    let fetcher = ctx.fetcher();
    let expiry = ctx.expiry(profile);
    let suites: Vec<(&ArchiveSource, &str)> = profile
        .archives
        .iter()
        .flat_map(|source| {
            source
                .suites
                .iter()
                .map(move |suite| (source, suite.as_str()))
        })
        .collect();
    let architecture = profile.arch.traits().debian;
    let load = |index: usize, source: &ArchiveSource, name: &str| {
        let locked = previous
            .and_then(|lock| {
                lock.suites
                    .iter()
                    .find(|s| s.archive == source.name && s.name == name)
            })
            .map(|s| s.date);
        let suite = Suite {
            source,
            name,
            architecture,
            keyrings,
            ctx,
            fetcher: &fetcher,
        };
        let mut loaded = suite.load(expiry, locked)?;
        for record in &mut loaded.records {
            record.suite = index;
        }
        stage.item(name);
        Ok(loaded)
    };
    std::thread::scope(|scope| {
        let load = &load;
        let threads: Vec<_> = suites
            .iter()
            .enumerate()
            .map(|(index, &(source, name))| scope.spawn(move || load(index, source, name)))
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

/// One suite under way.
pub(super) struct Suite<'a> {
    pub(super) source: &'a ArchiveSource,
    pub(super) name: &'a str,
    pub(super) architecture: &'a str,
    pub(super) keyrings: &'a Keyrings,
    pub(super) ctx: &'a Context,
    pub(super) fetcher: &'a Fetcher,
}

impl Suite<'_> {
    pub(super) fn load(&self, expiry: Expiry, locked: Option<u64>) -> Result<SuiteIndex> {
        let base = self.ctx.mirrors.base(self.source);
        let url = join(&base.url, &format!("dists/{}/InRelease", self.name));
        let origin = Origin {
            archive: &self.source.name,
            suite: self.name,
            url: &url,
        };
        let trust = trust(self.source, self.name, self.keyrings)?;
        let kept = self
            .ctx
            .store
            .folder("releases")
            .join(Sha256::of(format!("{}\n{}", base.url, self.name).as_bytes()).to_string());
        let bytes = self.in_release(&url, &kept, &base)?;
        let release = release::verify(&bytes, &trust, self.ctx.now, origin)?;
        let expired = release.judge(self.ctx.now, expiry, locked, origin)?;
        let mut records = Vec::new();
        for component in &self.source.components {
            records.extend(self.component(&release, &base, component)?);
        }
        let inrelease = Sha256::of(&bytes);
        if !self.ctx.offline {
            self.ctx.store.write(&kept, &bytes)?;
            self.ctx.releases.keep(&url, &bytes);
        }
        Ok(SuiteIndex {
            archive: self.source.name.clone(),
            suite: self.name.to_owned(),
            date: release.date,
            inrelease,
            expired,
            pocket: self.source.pocket,
            priority: self.source.priority,
            only: self.source.only.clone(),
            records,
        })
    }

    fn in_release(&self, url: &str, kept: &Path, base: &Base) -> Result<Arc<[u8]>> {
        if self.ctx.offline {
            return std::fs::read(kept).map(Arc::from).map_err(|_| {
                Failure::new(
                    Kind::Archive,
                    format!(
                        "the Release of suite `{}` ({url}) is not in the cache, and --offline \
                         forbids to fetch it",
                        self.name
                    ),
                )
                .hint("run the command once without --offline")
                .hint("a build from a lock needs no Release: `hullwright build --locked --offline`")
                .into()
            });
        }
        if let Some(known) = self.ctx.releases.get(url) {
            return Ok(known);
        }
        let what = format!("the Release of suite `{}`", self.name);
        match self.fetcher.get(url, MAX_RELEASE, &what) {
            Ok(bytes) => Ok(bytes.into()),
            Err(FetchError::Gone(url)) => Err(Failure::new(
                Kind::Archive,
                format!(
                    "archive `{}` has no suite `{}`: {url} does not exist",
                    self.source.name, self.name
                ),
            )
            .hint(format!("the mirror comes from {}", base.named_by))
            .hint("correct `suites` in the profile, or use another mirror (--mirror URL)")
            .into()),
            Err(FetchError::Failed(error)) => Err(error),
        }
    }

    fn component(&self, release: &Release, base: &Base, component: &str) -> Result<Vec<Record>> {
        let index = |arch: &str| format!("{component}/binary-{arch}/Packages");
        let Some(mut records) = self.index(release, base, &index(self.architecture))? else {
            return Err(Failure::new(
                Kind::Archive,
                format!(
                    "suite `{}` of archive `{}` has no component `{component}` for {}",
                    self.name, self.source.name, self.architecture
                ),
            )
            .hint("correct `components` of the archive in the profile")
            .into());
        };
        if release.separate_all {
            records.extend(
                self.index(release, base, &index("all"))?
                    .unwrap_or_default(),
            );
        }
        Ok(records)
    }

    /// The records of an index, from the compact form in the cache where there is one; `None` when
    /// the Release does not list the index.
    fn index(&self, release: &Release, base: &Base, plain: &str) -> Result<Option<Vec<Record>>> {
        let Some((path, coding, sha256, size)) = [
            (".xz", Coding::Xz),
            (".gz", Coding::Gzip),
            ("", Coding::Plain),
        ]
        .into_iter()
        .find_map(|(suffix, coding)| {
            let path = format!("{plain}{suffix}");
            let &(sha256, size) = release.files.get(&path)?;
            Some((path, coding, sha256, size))
        }) else {
            return Ok(None);
        };
        let compact = self
            .ctx
            .store
            .folder("indices")
            .join(format!("{sha256}.{}.v{COMPACT_VERSION}", self.architecture));
        if let Some(records) = read_compact(&compact, self.architecture) {
            return Ok(Some(records));
        }
        let what = format!("the package index {}/{path}", self.name);
        if size > MAX_INDEX {
            return Err(Failure::new(
                Kind::Archive,
                format!("{what} declares {size} bytes; more than {MAX_INDEX} are not accepted"),
            )
            .hint(self.at_fault(base))
            .into());
        }
        let file = self.fetch_index(release, base, &path, &what, sha256, size)?;
        let limit = match release.files.get(plain) {
            Some(&(_, size)) if coding != Coding::Plain => size.min(MAX_PLAIN_INDEX),
            _ => MAX_PLAIN_INDEX,
        };
        let bytes = decode(&file, coding, limit, &what, || self.at_fault(base))?;
        let records = packages::parse(&bytes, self.architecture).map_err(|e| {
            Failure::new(Kind::Archive, format!("{what} can't be read: {e}"))
                .hint(self.at_fault(base))
        })?;
        drop(bytes);
        write_compact(self.ctx, &compact, &records)?;
        Ok(Some(records))
    }

    /// Whom to turn to when what was signed is itself bad, so that another mirror has the same.
    fn at_fault(&self, base: &Base) -> String {
        format!(
            "archive `{}` ({}) has signed it like this: tell those who run it, or leave it out of \
             the profile",
            self.source.name, base.url
        )
    }

    fn fetch_index(
        &self,
        release: &Release,
        base: &Base,
        path: &str,
        what: &str,
        sha256: Sha256,
        size: u64,
    ) -> Result<std::path::PathBuf> {
        if let Some(file) = self.ctx.store.verify(&sha256)? {
            return Ok(file);
        }
        if self.ctx.offline {
            return Err(Failure::new(
                Kind::Archive,
                format!("{what} is not in the cache, and --offline forbids to fetch it"),
            )
            .hint("run the command once without --offline")
            .into());
        }
        // By its hash, an index can be had even while the mirror is being updated.
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let by_hash = format!("dists/{}/{folder}/by-hash/SHA256/{sha256}", self.name);
        let by_name = format!("dists/{}/{path}", self.name);
        let candidates = [release.by_hash.then_some(by_hash), Some(by_name)];
        let mut gone = None;
        for candidate in candidates.into_iter().flatten() {
            let url = join(&base.url, &candidate);
            let wanted = Wanted {
                what,
                url: &url,
                sha256,
                size,
            };
            match self.fetcher.download(&wanted, None) {
                Err(error @ FetchError::Gone(_)) => gone = Some(error),
                Err(error) => return Err(error.into_failure(what)),
                Ok(file) => return Ok(file),
            }
        }
        Err(gone.map_or_else(
            || anyhow::anyhow!("no place to fetch {what} from"),
            |error| error.into_failure(what),
        ))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Xz,
    Gzip,
    Plain,
}

fn decode(
    file: &Path,
    coding: Coding,
    limit: u64,
    what: &str,
    hint: impl Fn() -> String,
) -> Result<Vec<u8>> {
    let input = std::fs::read(file).map_err(|e| environment("reading", file, &e))?;
    let input = input.as_slice();
    let mut reader: Box<dyn Read + '_> = match coding {
        Coding::Xz => crate::xz::reader(input, 512 * 1024),
        Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Coding::Plain => Box::new(input),
    };
    let mut bytes = Vec::with_capacity(usize::try_from(limit.min(128 << 20)).unwrap_or(0));
    let read = reader
        .by_ref()
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes);
    let damaged =
        |reason: String| Failure::new(Kind::Archive, format!("{what} {reason}")).hint(hint());
    read.map_err(|e| damaged(format!("can't be unpacked: {e}")))?;
    if bytes.len() as u64 > limit {
        return Err(damaged(format!("unpacks to more than the {limit} bytes declared")).into());
    }
    Ok(bytes)
}

/// The compact form is a zstd frame with a checksum, so that a damaged one is only made again.
fn read_compact(path: &Path, architecture: &str) -> Option<Vec<Record>> {
    let file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    zstd::stream::read::Decoder::new(file)
        .ok()?
        .take(MAX_PLAIN_INDEX)
        .read_to_end(&mut bytes)
        .ok()?;
    let (digest, text) = bytes.split_at_checked(32)?;
    if sha2::Sha256::digest(text)[..] != *digest {
        return None;
    }
    packages::parse(text, architecture).ok()
}

fn write_compact(ctx: &Context, path: &Path, records: &[Record]) -> Result<()> {
    let text = packages::compact(records);
    let mut bytes = sha2::Sha256::digest(&text).to_vec();
    bytes.extend_from_slice(&text);
    let packed = zstd::bulk::compress(&bytes, 1)?;
    ctx.store.write(path, &packed)
}
