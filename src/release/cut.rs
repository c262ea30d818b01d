//! `release cut`: builds become releases of a channel.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::index::{Index, Product, Release};
use super::names::Role;
use super::payload::{self, Before, Payload};
use super::tree::{Authority, Incoming, Tree};
use super::{rules, version};
use crate::arch::Arch;
use crate::build::Built;
use crate::failure::{Failure, Kind};
use crate::profile::Loaded;
use crate::report::Progress;
use crate::resolve::Lock;
use crate::sign::Trust;
use crate::staging::Scratch;
use crate::stamp::Stamp;

/// What is known of a build before it begins.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The profile.
    pub loaded: &'a Loaded,
    /// Time of everything.
    pub stamp: Stamp,
    /// Numbers of users and groups, where they are known already.
    pub lock: &'a Lock,
}

/// What was released.
#[derive(Debug, Clone)]
pub struct Added {
    /// `os.id`.
    pub id: String,
    /// Architecture.
    pub arch: Arch,
    /// What the index says.
    pub release: Release,
}

/// A cut under way: products are added one after the other, and published together.
#[derive(Debug)]
pub struct Cut<'a> {
    tree: &'a Tree,
    authority: &'a Authority,
    index: Index,
    others: Vec<Index>,
    scratch: Scratch,
    incoming: Vec<Incoming>,
    added: Vec<Added>,
    max_growth: u32,
}

/// Refuses what is for development, which no fleet must ever trust, and images that would never look for
/// the next release.
///
/// # Errors
/// The profile or the keys are for development; the profile does not say where updates are.
pub fn admit(loaded: &Loaded, trust: &Trust) -> Result<()> {
    if loaded.profile.development {
        return Err(Failure::new(
            Kind::Usage,
            format!(
                "{} has `development: true`: anybody may log in to its images, so there are no releases of it",
                loaded.reference
            ),
        )
        .hint("release a profile without the `dev` mix-in")
        .into());
    }
    if loaded.profile.update.url.is_none() {
        return Err(Failure::new(
            Kind::Usage,
            format!(
                "{} has no `update.url`: machines that are installed with it would never update",
                loaded.reference
            ),
        )
        .hint("set it to where DIR will be served, such as `update: {url: \"https://updates.example.com/os\"}`")
        .into());
    }
    if trust.is_development() {
        return Err(Failure::new(
            Kind::Keys,
            format!(
                "the keys in {} are for development only",
                trust.dir().display()
            ),
        )
        .hint("make a set for releases with `hullwright keys new DIR --profile release`, and name it with --keys DIR")
        .into());
    }
    Ok(())
}

impl<'a> Cut<'a> {
    /// Begins a cut into `channel`.
    ///
    /// # Errors
    /// The tree is not as it was signed, or not writable.
    pub fn begin(
        tree: &'a Tree,
        authority: &'a Authority,
        channel: &str,
        max_growth: u32,
    ) -> Result<Self> {
        Ok(Self {
            index: tree.channel(channel, authority)?,
            others: tree.others(channel, authority)?,
            scratch: tree.scratch()?,
            incoming: Vec::new(),
            added: Vec::new(),
            tree,
            authority,
            max_growth,
        })
    }

    /// Refuses what can be refused before anything is built.
    ///
    /// # Errors
    /// Everything that is wrong with one of the `candidates`.
    pub fn check(&self, candidates: &[Candidate<'_>]) -> Result<()> {
        let mut found = Vec::new();
        let mut seen = Vec::new();
        for candidate in candidates {
            let profile = &candidate.loaded.profile;
            let (id, arch) = (&profile.os.id, profile.arch);
            if seen.contains(&(id, arch)) {
                found.push(Failure::new(
                    Kind::Usage,
                    format!("two of the profiles have `os.id: {id}` for {arch}"),
                ));
            }
            seen.push((id, arch));
            let product = self.index.product(id, arch);
            found.extend(rules::order(
                product,
                &self.index.channel,
                &profile.os.version,
                candidate.stamp.seconds(),
            ));
            if let Some(last) = product.and_then(Product::last) {
                let lock = self.lock_of(id, arch, last)?;
                found.extend(rules::ids(&lock, candidate.lock, &last.version));
            }
        }
        rules::refuse(found)
    }

    /// Where to build.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.scratch.path().join("build")
    }

    /// Adds what was built into [`Self::output`].
    ///
    /// # Errors
    /// The release breaks a rule.
    pub fn add(&mut self, built: &Built, loaded: &Loaded, progress: &Progress) -> Result<()> {
        let manifest = &built.manifest;
        let (id, arch) = (manifest.id.clone(), manifest.arch);
        let last = self
            .index
            .product(&id, arch)
            .and_then(Product::last)
            .cloned();
        let folder = self.scratch.path().join(format!("{id}-{arch}"));
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        let source = self.folder(arch);
        let prefix = last.as_ref().map(|last| format!("{id}_{}.", last.version));
        // Only where it has facts: a tree may be older than they are.
        let before = last
            .as_ref()
            .filter(|last| last.file(Role::Facts).is_some())
            .and(prefix.as_deref())
            .map(|prefix| Before {
                folder: &source,
                prefix,
            });
        let payload = payload::make(built, loaded, before, &folder, progress)?;
        fs::remove_dir_all(&built.directory)
            .with_context(|| format!("removing {}", built.directory.display()))?;
        self.judge(&payload, last.as_ref())?;
        let Payload { release, files, .. } = payload;
        insert(&mut self.index, &id, arch, release.clone());
        self.incoming.extend(files);
        self.added.push(Added { id, arch, release });
        Ok(())
    }

    fn judge(&self, payload: &Payload, last: Option<&Release>) -> Result<()> {
        let (id, arch, release) = (&payload.id, payload.arch, &payload.release);
        let product = self.index.product(id, arch);
        let mut found = rules::order(
            product,
            &self.index.channel,
            &release.version,
            release.stamp,
        );
        found.extend(rules::elsewhere(&self.others, id, arch, release));
        if let Some(last) = last {
            let lock = self.lock_of(id, arch, last)?;
            found.extend(rules::ids(&lock, &payload.lock, &last.version));
        }
        found.extend(rules::fit(product, release));
        found.extend(rules::growth(last, release, self.max_growth));
        rules::refuse(found)
    }

    /// Publishes everything that was added, in one step.
    ///
    /// # Errors
    /// The disk is full; the tree is then as it was.
    pub fn publish(mut self) -> Result<(Index, Vec<Added>)> {
        self.index.serial += 1;
        self.tree
            .publish(&self.index, &self.incoming, self.authority, &self.scratch)?;
        Ok((self.index, self.added))
    }

    fn folder(&self, arch: Arch) -> PathBuf {
        self.tree.folder(&self.index.channel, arch)
    }

    fn lock_of(&self, id: &str, arch: Arch, release: &Release) -> Result<Lock> {
        super::lock_of(&self.folder(arch), id, release)
    }
}

/// Puts `release` among those of its product.
pub(super) fn insert(index: &mut Index, id: &str, arch: Arch, release: Release) {
    let product = index.product_mut(id, arch);
    let at = product
        .releases
        .partition_point(|other| version::compare(&other.version, &release.version).is_lt());
    product.releases.insert(at, release);
    product.current = product.newest_offered().map(str::to_owned);
}
