//! `manifest.json`: what an image is made of.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::digest::Sha256;
use crate::disk;
use crate::failure::{Failure, Kind};
use crate::resolve::Lock;
use crate::tree::{Content, Origin, Tree};

/// The manifest of a build. Reproducible: no times but the stamp, no paths of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format: 1.
    pub manifest: u32,
    /// Profile.
    pub profile: String,
    /// `os.id`.
    pub id: String,
    /// `os.version`.
    pub version: String,
    /// Architecture.
    pub arch: Arch,
    /// Whether the image is for development only.
    pub development: bool,
    /// Time of everything in the image, seconds since the epoch.
    pub stamp: u64,
    /// hullwright's version.
    pub tool: String,
    /// SHA-256 of the lock.
    pub lock: Sha256,
    /// SHA-256 of the merged profile.
    pub profile_hash: Sha256,
    /// Whether an expired Release was accepted when the packages were locked.
    pub allow_expired: bool,
    /// Root hash of `/usr`.
    pub root_hash: Sha256,
    /// Command line of the kernel, as signed.
    pub cmdline: String,
    /// Kernel version.
    pub kernel: String,
    /// SHA-256 of the certificate that signed boot loader and UKI.
    pub signing_certificate: Sha256,
    /// Files of the output, by name.
    pub artefacts: Vec<Artefact>,
    /// The disk image.
    pub disk: DiskSummary,
    /// Packages by name.
    pub packages: Vec<Package>,
    /// Files of `/usr` and of the initrd.
    pub files: FileCounts,
    /// What the board added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<BoardSummary>,
}

/// File name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// File name of what the usr-verity-sig partition holds.
pub const SIGNATURE: &str = "usr.verity-sig";
/// File name of the sums.
pub const SUMS: &str = "SHA256SUMS";

impl Manifest {
    /// The artefact called `name`.
    #[must_use]
    pub fn artefact(&self, name: &str) -> Option<&Artefact> {
        self.artefacts.iter().find(|artefact| artefact.name == name)
    }

    /// Reads the manifest in an output directory.
    ///
    /// # Errors
    /// There is none, or not one of this version.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let shown = path.display();
        let usage = |what: String| Failure::new(Kind::Usage, what);
        let text = fs::read_to_string(&path).map_err(|error| {
            usage(format!("reading {shown}: {error}"))
                .hint("name the output directory of a build, or the disk.raw in it")
        })?;
        serde_json::from_str(&text)
            .map_err(|error| usage(format!("{shown} is not a manifest: {error}")).into())
    }

    /// Writes `manifest.json`, and `SHA256SUMS` as coreutils' `sha256sum --check` reads it.
    ///
    /// # Errors
    /// The directory is not writable.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("writing the manifest")?;
        text.push('\n');
        let mut sums: BTreeMap<&str, Sha256> = self
            .artefacts
            .iter()
            .map(|a| (a.name.as_str(), a.sha256))
            .collect();
        sums.insert(MANIFEST, Sha256::of(text.as_bytes()));
        fs::write(folder.join(MANIFEST), &text).context("writing manifest.json")?;
        let sums: String = sums
            .iter()
            .map(|(name, sum)| format!("{sum}  {name}\n"))
            .collect();
        fs::write(folder.join(SUMS), sums).context("writing SHA256SUMS")
    }
}

/// One file of the output directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    /// File name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Sha256,
}

/// What a board added to the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardSummary {
    /// The board.
    pub name: String,
    /// What its files were taken from.
    pub artefacts: Vec<BoardArtefact>,
    /// Files on the EFI system partition.
    pub files: Vec<BoardFile>,
    /// Device trees in the UKI, in their order.
    pub devicetrees: Vec<BoardFile>,
}

/// Something that a board takes files from, by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardArtefact {
    /// What the board calls it.
    pub name: String,
    /// Version.
    pub version: String,
    /// SHA-256 of the whole.
    pub sha256: Sha256,
}

/// One file that a board added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardFile {
    /// Path on the EFI system partition, or a device tree's in the kernel's package.
    pub path: String,
    /// An artefact, `kernel` or `text`.
    pub from: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Sha256,
}

/// The disk image, without hashing its zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSummary {
    /// Bytes, holes included.
    pub size: u64,
    /// SHA-256 over offset, length and hash of each data extent
    /// (see [`crate::disk::write::disk_hash`]).
    pub sha256: Sha256,
    /// The data extents.
    pub extents: Vec<Extent>,
}

/// A run of data in the disk image; everything else is zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Byte offset.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
}

impl From<disk::Extent> for Extent {
    fn from(extent: disk::Extent) -> Self {
        Self {
            offset: extent.offset,
            length: extent.len,
            sha256: extent.sha256,
        }
    }
}

impl From<&Extent> for disk::Extent {
    fn from(extent: &Extent) -> Self {
        Self {
            offset: extent.offset,
            len: extent.length,
            sha256: extent.sha256,
        }
    }
}

/// A package in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian architecture.
    pub architecture: String,
    /// SHA-256 of the `.deb`.
    pub sha256: Sha256,
    /// Files that reached the image.
    pub files: u64,
    /// Their bytes before compression.
    pub bytes: u64,
}

/// How many files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCounts {
    /// Inodes' names in `/usr`.
    pub usr: u64,
    /// Their bytes before compression.
    pub usr_bytes: u64,
    /// Names in the initrd.
    pub initrd: u64,
}

/// The packages of `lock` with what of them is in `tree`. Names of one inode count once each.
#[must_use]
pub fn packages(lock: &Lock, tree: &Tree) -> Vec<Package> {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (_, node) in tree.iter() {
        let Origin::Package(name) = &node.origin else {
            continue;
        };
        if node.is_dir() {
            continue;
        }
        let (files, bytes) = counts.entry(name).or_default();
        *files += 1;
        *bytes += node.content().map_or(0, Content::len);
    }
    lock.packages
        .iter()
        .map(|package| {
            let (files, bytes) = counts
                .get(package.name.as_str())
                .copied()
                .unwrap_or_default();
            Package {
                name: package.name.clone(),
                version: package.version.clone(),
                architecture: package.architecture.clone(),
                sha256: package.sha256,
                files,
                bytes,
            }
        })
        .collect()
}
