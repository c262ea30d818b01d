//! Boards: hardware that needs files on the EFI system partition, described by data alone.
//!
//! A profile names a board, or writes one as a mapping. What the board says of packages, kernel and
//! disk becomes a base of that profile (`load`); the rest becomes [`Board`], which the build reads.

mod alone;
pub(super) mod load;
pub(super) mod rules;
pub(super) mod table;

pub use alone::{BoardFile, built_in};
use serde::{Deserialize, Serialize};

use super::schema::{MirrorTree, Profile};
use crate::arch::Arch;
use crate::digest::Sha256;

/// What a board adds to an image, besides its base profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Name of the board.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// The only architecture that it runs.
    pub arch: Arch,
    /// Its serial console, instead of the architecture's; absent: the architecture's.
    #[serde(default)]
    pub serial: Option<String>,
    /// What firmware files are taken from.
    #[serde(default)]
    pub artefacts: Vec<Artefact>,
    /// The EFI system partition.
    #[serde(default)]
    pub esp: Esp,
    /// Device trees of every UKI; systemd-stub takes the one that is for the machine.
    #[serde(default)]
    pub devicetrees: Vec<DeviceTree>,
    /// The partition table.
    #[serde(default)]
    pub partitions: Partitions,
}

/// A file that is taken by its hash and never installed. That hash is its root of trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// What `from` calls it.
    pub name: String,
    /// Debian's name of the package; absent: the same.
    #[serde(default)]
    pub package: Option<String>,
    /// Suite in which `hullwright board update` looks for a newer one.
    #[serde(default)]
    pub suite: Option<String>,
    /// Component of that suite.
    #[serde(default = "main")]
    pub component: String,
    /// Which of the mirror's trees, where `url` is absent.
    #[serde(default)]
    pub tree: MirrorTree,
    /// Base URL; absent: the mirror.
    #[serde(default)]
    pub url: Option<String>,
    /// Version.
    pub version: String,
    /// Path below the base URL.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Sha256,
    /// A moment at which the archive had it, as snapshot services write it (`20260912T075541Z`).
    #[serde(default)]
    pub snapshot: Option<String>,
}

fn main() -> String {
    "main".into()
}

impl Artefact {
    /// Debian's name of the package.
    #[must_use]
    pub fn package(&self) -> &str {
        self.package.as_deref().unwrap_or(&self.name)
    }

    /// Whether it is a package, from which files are taken.
    #[must_use]
    pub fn is_deb(&self) -> bool {
        self.path.ends_with(".deb")
    }
}

/// The EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Esp {
    /// Files beside hullwright's own.
    pub files: Vec<File>,
}

/// One file on the EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where it goes, from the partition's root.
    pub to: String,
    /// [`KERNEL`], or the name of an artefact.
    #[serde(default)]
    pub from: Option<String>,
    /// Which file of it; absent: the artefact itself.
    #[serde(default)]
    pub path: Option<String>,
    /// The content, where it is not taken from anything.
    #[serde(default)]
    pub text: Option<String>,
}

/// A device tree for systemd-stub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceTree {
    /// [`KERNEL`], or the name of an artefact.
    #[serde(default = "kernel")]
    pub from: String,
    /// Which file of it.
    pub path: String,
}

fn kernel() -> String {
    KERNEL.into()
}

/// The name by which files of the image's own kernel package are taken: those below
/// `usr/lib/linux-image-VERSION`, where Debian ships device trees.
pub const KERNEL: &str = "kernel";

/// The partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Partitions {
    /// Whether the MBR lists the EFI system partition too, for firmware that knows no GPT.
    pub hybrid_mbr: bool,
}

impl Profile {
    /// The serial console: the board's, or else the architecture's.
    #[must_use]
    pub fn serial(&self) -> &str {
        self.board
            .as_ref()
            .and_then(|board| board.serial.as_deref())
            .unwrap_or(self.arch.traits().serial)
    }

    /// What the board's files are taken from.
    #[must_use]
    pub fn board_artefacts(&self) -> &[Artefact] {
        self.board.as_ref().map_or(&[], |board| &board.artefacts)
    }
}
