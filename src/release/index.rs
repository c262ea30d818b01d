//! `index.json`: what a channel offers and has offered. `docs/channel-index.md` describes it for those
//! who read it, `docs/channel-index.schema.json` for their tools.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::names::Role;
use super::sums::is_file_name;
use super::version;
use crate::arch::Arch;
use crate::digest::Sha256;
use crate::profile;

/// The version of the format that this program reads and writes.
pub const VERSION: u32 = 1;
/// More bytes than any index that this program makes.
pub const MAX_INDEX: u64 = 16 << 20;
/// More than any file of a release has.
pub const MAX_FILE: u64 = 1 << 42;

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Version of the format: 1.
    pub index: u32,
    /// Name of the channel, which is that of its folder.
    pub channel: String,
    /// Grows with every change.
    pub serial: u64,
    /// By id, then architecture.
    pub products: Vec<Product>,
}

/// What one kind of machine follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// `os.id`.
    pub id: String,
    /// Architecture, whose folder has the files.
    pub arch: Arch,
    /// The newest version that is not yanked.
    pub current: Option<String>,
    /// From the oldest version to the newest.
    pub releases: Vec<Release>,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// `os.version`.
    pub version: String,
    /// Time of everything in it, seconds since 1970.
    pub stamp: u64,
    /// dm-verity root hash of `/usr`.
    pub root_hash: Sha256,
    /// Partition sizes of machines that were installed with it.
    pub layout: Layout,
    /// Its files, by role.
    pub files: Vec<File>,
    /// Why it was withdrawn. Its payloads are gone; machines that run it keep running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yanked: Option<String>,
}

/// Partition sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// EFI system partition.
    pub esp: u64,
    /// One usr slot.
    pub usr: u64,
    /// One usr-verity slot.
    pub verity: u64,
    /// One usr-verity-sig slot.
    pub signature: u64,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name in the architecture's folder.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Sha256,
}

impl Release {
    /// The file with `role`.
    #[must_use]
    pub fn file(&self, role: Role) -> Option<&File> {
        self.files.iter().find(|file| file.role == role)
    }

    /// The files that are there: of a yanked release, only what no machine runs.
    pub fn present(&self) -> impl Iterator<Item = &File> {
        self.files
            .iter()
            .filter(|file| self.yanked.is_none() || !file.role.is_payload())
    }

    /// Bytes of what a node downloads.
    #[must_use]
    pub fn update_size(&self) -> u64 {
        let update = self.files.iter().filter(|file| file.role.is_update());
        update.fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// Whether machines run the same bytes.
    #[must_use]
    pub fn same_payloads(&self, other: &Self) -> bool {
        let payloads = |release: &Self| -> Vec<_> {
            let files = release.files.iter().filter(|file| file.role.is_payload());
            files.map(|file| (file.role, file.sha256)).collect()
        };
        self.root_hash == other.root_hash && payloads(self) == payloads(other)
    }
}

impl Product {
    /// The release of `version`, spelled just so.
    #[must_use]
    pub fn release(&self, version: &str) -> Option<&Release> {
        self.releases
            .iter()
            .find(|release| release.version == version)
    }

    /// The newest release, yanked or not: what a next one must exceed.
    #[must_use]
    pub fn last(&self) -> Option<&Release> {
        self.releases.last()
    }

    /// What `current` must be.
    #[must_use]
    pub fn newest_offered(&self) -> Option<&str> {
        let offered = self
            .releases
            .iter()
            .rev()
            .find(|release| release.yanked.is_none());
        offered.map(|release| release.version.as_str())
    }
}

impl Index {
    /// A channel that offers nothing yet.
    #[must_use]
    pub fn new(channel: &str) -> Self {
        Self {
            index: VERSION,
            channel: channel.into(),
            serial: 0,
            products: Vec::new(),
        }
    }

    /// The product `id` for `arch`.
    #[must_use]
    pub fn product(&self, id: &str, arch: Arch) -> Option<&Product> {
        self.products
            .iter()
            .find(|product| product.id == id && product.arch == arch)
    }

    /// The same, made where there is none.
    pub fn product_mut(&mut self, id: &str, arch: Arch) -> &mut Product {
        let key = |product: &Product| (product.id.clone(), product.arch);
        let at = self
            .products
            .binary_search_by_key(&(id.to_owned(), arch), key)
            .unwrap_or_else(|at| {
                let product = Product {
                    id: id.into(),
                    arch,
                    current: None,
                    releases: Vec::new(),
                };
                self.products.insert(at, product);
                at
            });
        &mut self.products[at]
    }

    /// The releases for `arch`, each with its product.
    pub fn releases(&self, arch: Arch) -> impl Iterator<Item = (&Product, &Release)> {
        let products = self
            .products
            .iter()
            .filter(move |product| product.arch == arch);
        products.flat_map(|product| {
            product
                .releases
                .iter()
                .map(move |release| (product, release))
        })
    }

    /// The files of releases that are there in the folder of `arch`.
    pub fn present(&self, arch: Arch) -> impl Iterator<Item = &File> {
        self.releases(arch)
            .flat_map(|(_, release)| release.present())
    }

    /// Architectures that have a folder.
    #[must_use]
    pub fn arches(&self) -> BTreeSet<Arch> {
        self.products.iter().map(|product| product.arch).collect()
    }

    /// The latest stamp of all releases: the time of the channel's signatures.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        let releases = self.products.iter().flat_map(|product| &product.releases);
        releases.map(|release| release.stamp).max().unwrap_or(0)
    }

    /// Reads an index and checks that it makes sense.
    ///
    /// # Errors
    /// It is no index, of another version, or contradicts itself; the message says where.
    pub fn parse(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Major {
            index: u32,
        }
        ensure!(
            text.len() as u64 <= MAX_INDEX,
            "it is too large for an index"
        );
        let major: Major = serde_json::from_slice(text).context("it is no channel index")?;
        ensure!(
            major.index == VERSION,
            "it has format {}, this hullwright reads format {VERSION}",
            major.index
        );
        let index: Self = serde_json::from_slice(text).context("it is no channel index")?;
        index.check()?;
        Ok(index)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// None that could happen: the types can be written.
    pub fn to_text(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).context("writing the index")?;
        text.push('\n');
        Ok(text)
    }

    fn check(&self) -> Result<()> {
        let expected = |what: &'static str| move |text: String| anyhow::anyhow!("{what}: {text}");
        profile::check_channel(&self.channel).map_err(expected("`channel`"))?;
        ensure!(
            self.products
                .is_sorted_by(|a, b| (&a.id, a.arch) < (&b.id, b.arch)),
            "`products` are not in order, or one is there twice"
        );
        for product in &self.products {
            let context = || format!("product {} {}", product.id.escape_debug(), product.arch);
            profile::check_os_id(&product.id)
                .map_err(expected("`id`"))
                .with_context(context)?;
            product.check().with_context(context)?;
        }
        Ok(())
    }
}

impl Product {
    fn check(&self) -> Result<()> {
        for release in &self.releases {
            let context = || format!("version {}", release.version.escape_debug());
            profile::check_os_version(&release.version)
                .map_err(|text| anyhow::anyhow!("`version`: {text}"))
                .with_context(context)?;
            release.check(&self.id).with_context(context)?;
        }
        ensure!(
            self.releases
                .is_sorted_by(|a, b| version::compare(&a.version, &b.version).is_lt()),
            "`releases` are not in the order of their versions, or one is there twice"
        );
        ensure!(
            self.current.as_deref() == self.newest_offered(),
            "`current` is not the newest version that is not yanked"
        );
        Ok(())
    }
}

impl Release {
    fn check(&self, id: &str) -> Result<()> {
        ensure!(
            self.files.is_sorted_by(|a, b| a.role < b.role),
            "`files` are not in the order of their roles, or one is there twice"
        );
        for file in &self.files {
            let name = file.role.file_name(id, &self.version, &self.root_hash);
            if file.name != name || !is_file_name(&name) {
                bail!("`{}` should be named `{name}`", file.name.escape_debug());
            }
            ensure!(file.size <= MAX_FILE, "{name} has {} bytes", file.size);
        }
        for role in Role::REQUIRED {
            if self.file(role).is_none() {
                let name = role.file_name(id, &self.version, &self.root_hash);
                bail!("{name} is missing");
            }
        }
        if let Some(reason) = &self.yanked {
            ensure!(is_reason(reason), "`yanked` is not one line of text");
        }
        Ok(())
    }
}

/// A reason for people: one line that a terminal can show.
#[must_use]
pub fn is_reason(text: &str) -> bool {
    (1..=500).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
pub(super) mod tests;
