//! What an image holds, as data: enough to tell two releases apart without either image.
//!
//! In a release's folder it is three files: `facts.json` has everything that is short, and names by
//! hash `files.txt` (a line for each path of `/usr`) and `kernel-config`, which are of use by
//! themselves.

pub mod accounts;
mod capability;
mod document;
pub mod files;
pub mod kernel;
pub mod layout;
pub mod units;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::build::Built;
use crate::capability::XATTR;
use crate::digest::Sha256;
use crate::uki::Pe;

pub use accounts::{Accounts, Group, User};
pub use document::{FACTS, FILES, KERNEL_CONFIG};
pub use files::{Entry, EntryKind};
pub use layout::Partition;
pub use units::Unit;

/// What an image holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What is short.
    pub summary: Summary,
    /// Every path of `/usr`, in order.
    pub files: Vec<Entry>,
    /// The kernel's configuration as its package ships it.
    pub kernel_config: Option<Vec<u8>>,
}

/// The part that `facts.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// `os.id`.
    pub id: String,
    /// `os.version`.
    pub version: String,
    /// Architecture.
    pub arch: Arch,
    /// Time of everything in the image, seconds since the epoch.
    pub stamp: u64,
    /// Root hash of `/usr`.
    pub root_hash: Sha256,
    /// Kernel version.
    pub kernel: String,
    /// Command line of the kernel, as signed.
    pub cmdline: String,
    /// Bytes.
    pub sizes: Sizes,
    /// Size of the disk image.
    pub disk: u64,
    /// Its partitions, in the order of the table.
    pub layout: Vec<Partition>,
    /// Packages by name.
    pub packages: Vec<Package>,
    /// Files with setuid or setgid bit or capabilities, by path.
    pub privileged: Vec<Privileged>,
    /// Units of PID 1, by name.
    pub units: Vec<Unit>,
    /// Users and groups.
    pub accounts: Accounts,
}

/// Bytes of what a node downloads, and of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sizes {
    /// The image of `/usr`.
    pub usr: u64,
    /// Its verity data.
    pub verity: u64,
    /// The UKI.
    pub uki: u64,
    /// The kernel in the UKI.
    pub kernel: u64,
    /// The initrd in the UKI.
    pub initrd: u64,
    /// Files of `/usr` before compression.
    pub files: u64,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian architecture.
    pub architecture: String,
    /// The source package, where the archive's path tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Files that are in the image.
    pub files: u64,
    /// Their bytes before compression.
    pub bytes: u64,
}

/// A file that runs with more rights than who starts it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Privileged {
    /// Path.
    pub path: String,
    /// Permission bits in octal.
    pub mode: String,
    /// `UID:GID`.
    pub owner: String,
    /// Capabilities as `getcap` prints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<String>,
    /// The package that it comes from, or `(profile)` or `(hullwright)`.
    pub from: String,
}

impl Facts {
    /// Everything about a finished build.
    ///
    /// # Errors
    /// Its output can't be read; a file of the tree is damaged.
    pub fn collect(built: &Built) -> Result<Self> {
        let manifest = &built.manifest;
        let size = |name: &str| {
            let artefact = manifest.artefact(name);
            artefact
                .map(|artefact| artefact.size)
                .with_context(|| format!("the manifest has no {name}"))
        };
        let uki_name = crate::esp::boot_entry_name(&manifest.id, &manifest.version, 0);
        let uki = std::fs::read(built.directory.join(&uki_name))
            .with_context(|| format!("reading {uki_name}"))?;
        let pe = Pe::parse(&uki).with_context(|| format!("reading {uki_name}"))?;
        let section = |name| pe.section(name).map_or(0, |data| data.len() as u64);
        let files = files::of(&built.tree)?;
        let (disk, layout) = layout::read(&built.directory.join("disk.raw"))?;
        Ok(Self {
            summary: Summary {
                id: manifest.id.clone(),
                version: manifest.version.clone(),
                arch: manifest.arch,
                stamp: manifest.stamp,
                root_hash: manifest.root_hash,
                kernel: manifest.kernel.clone(),
                cmdline: manifest.cmdline.clone(),
                sizes: Sizes {
                    usr: size("usr.erofs")?,
                    verity: size("usr.verity")?,
                    uki: uki.len() as u64,
                    kernel: section(".linux"),
                    initrd: section(".initrd"),
                    files: files::bytes(&files),
                },
                disk,
                layout,
                packages: packages(built),
                privileged: files.iter().filter_map(Privileged::of).collect(),
                units: units::of(&built.tree, &built.enabled_units)?,
                accounts: Accounts::of(&built.tree)?,
            },
            files,
            kernel_config: built.kernel_config.clone(),
        })
    }

    /// Options of the kernel by name; those that are `n` are absent.
    #[must_use]
    pub fn kernel_options(&self) -> BTreeMap<&str, &str> {
        self.kernel_config
            .as_deref()
            .map(kernel::options)
            .unwrap_or_default()
    }
}

impl Privileged {
    fn of(entry: &Entry) -> Option<Self> {
        if !matches!(entry.kind, EntryKind::File { .. }) {
            return None;
        }
        let capabilities = entry.xattrs.get(XATTR);
        if entry.mode & 0o6000 == 0 && capabilities.is_none() {
            return None;
        }
        Some(Self {
            path: entry.path.clone(),
            mode: format!("{:04o}", entry.mode),
            owner: format!("{}:{}", entry.uid, entry.gid),
            capabilities: capabilities.map(|value| capability::text(value)),
            from: entry.from.clone(),
        })
    }
}

fn packages(built: &Built) -> Vec<Package> {
    built
        .manifest
        .packages
        .iter()
        .map(|package| Package {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            source: built
                .lock
                .package(&package.name)
                .filter(|locked| !locked.archive.is_empty())
                .and_then(|locked| source(&locked.path)),
            files: package.files,
            bytes: package.bytes,
        })
        .collect()
}

/// The source package from a path in the pool: `pool/main/s/systemd/udev_257_amd64.deb`.
fn source(path: &str) -> Option<String> {
    let mut parts = path.rsplit('/');
    let (_, source, initial, component) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let fits = source.starts_with(initial) && !initial.is_empty() && !component.is_empty();
    fits.then(|| source.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_tells_the_source_package() {
        for (path, expected) in [
            (
                "pool/main/s/systemd/udev_257.8-1_amd64.deb",
                Some("systemd"),
            ),
            (
                "pool/updates/main/libx/libxml2/libxml2_2_amd64.deb",
                Some("libxml2"),
            ),
            ("debs/mine_1_all.deb", None),
            ("mine_1_all.deb", None),
        ] {
            assert_eq!(source(path).as_deref(), expected, "{path}");
        }
    }
}
