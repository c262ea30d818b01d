//! What the archive room needs from outside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http::Fetcher;
use super::mirror::Mirrors;
use super::release::Expiry;
use crate::profile::Profile;
use crate::report::Progress;
use crate::resolve::Lock;
use crate::store::Store;

/// The Releases that this run has fetched and verified, by URL. Cloning is cheap. Whatever is locked
/// with the same ones sees the archives at the same moment.
#[derive(Debug, Clone, Default)]
pub struct Releases(Arc<Mutex<BTreeMap<String, Arc<[u8]>>>>);

impl Releases {
    /// The one that was fetched from `url`.
    pub(super) fn get(&self, url: &str) -> Option<Arc<[u8]>> {
        self.0.lock().ok()?.get(url).cloned()
    }

    /// Keeps one that has verified.
    pub(super) fn keep(&self, url: &str, bytes: &Arc<[u8]>) {
        if let Ok(mut kept) = self.0.lock() {
            kept.insert(url.to_owned(), Arc::clone(bytes));
        }
    }
}

/// Everything besides profile and lock.
#[derive(Debug, Clone)]
pub struct Context {
    /// Cache.
    pub store: Store,
    /// What is known about mirrors.
    pub mirrors: Mirrors,
    /// What is fetched once a run.
    pub releases: Releases,
    /// Progress.
    pub progress: Progress,
    /// The time now, in seconds since the epoch; judges expiry only.
    pub now: u64,
    /// No network.
    pub offline: bool,
    /// How the user names the profile, for commands in messages; empty: its name.
    pub reference: String,
    /// `--from DIR`: locked inputs by SHA-256; implies no network for packages.
    pub from: Option<PathBuf>,
    /// `--allow-expired`.
    pub allow_expired: bool,
    /// Transfers at once.
    pub jobs: usize,
    /// Whether the proxy variables of the environment count.
    pub proxies: bool,
    /// Stops transfers when set.
    pub cancel: Arc<AtomicBool>,
    /// First pause between attempts; each one after it is twice as long.
    pub retry_pause: Duration,
}

impl Context {
    /// The defaults: online, strict, eight transfers.
    #[must_use]
    pub fn new(store: Store, mirrors: Mirrors, now: u64) -> Self {
        Self {
            store,
            mirrors,
            releases: Releases::default(),
            progress: Progress::quiet(),
            now,
            offline: false,
            reference: String::new(),
            from: None,
            allow_expired: false,
            jobs: 8,
            proxies: true,
            cancel: Arc::default(),
            retry_pause: Duration::from_millis(300),
        }
    }

    /// The profile in a command that the user can run.
    pub(super) fn named<'a>(&'a self, lock: &'a Lock) -> &'a str {
        if self.reference.is_empty() {
            &lock.profile
        } else {
            &self.reference
        }
    }

    pub(super) fn fetcher(&self) -> Fetcher {
        Fetcher::new(self)
    }

    /// The design's rule for Releases past `Valid-Until`.
    pub(super) fn expiry(&self, profile: &Profile) -> Expiry {
        if self.allow_expired {
            Expiry::AllowExpired
        } else if profile.development {
            Expiry::WarnDevelopment
        } else {
            Expiry::Strict
        }
    }
}
