//! Names in a release tree. Every one follows from id, version and root hash, so that an index can't
//! name anything else.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::disk::usr_partuuids;

/// The public key, at the root of a tree.
pub const KEY: &str = "release.asc";
/// The index of a channel.
pub const INDEX: &str = "index.json";
/// The sums of an architecture's folder.
pub const SUMS: &str = "SHA256SUMS";
/// The small text beside them that says which channel this is, and how new.
pub const CHANNEL: &str = "channel.txt";
/// What a detached signature's name adds to that of the file.
pub const SIGNATURE: &str = ".gpg";

/// The name of the signature of `file`.
#[must_use]
pub fn signature_of(file: &str) -> String {
    format!("{file}{SIGNATURE}")
}

/// What a file of a release is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// `/usr`.
    Usr,
    /// Its dm-verity data.
    Verity,
    /// The signature of its root hash, as a usr-verity-sig partition holds it.
    Signature,
    /// The UKI.
    Uki,
    /// systemd-boot, signed.
    BootLoader,
    /// The disk image, compressed.
    Disk,
    /// `manifest.json` of the build.
    Manifest,
    /// The lock.
    Lock,
    /// The merged profile.
    Profile,
    /// Packages.
    Packages,
    /// Files of `/usr`.
    Files,
    /// Licences.
    Licences,
    /// Options of the kernel.
    KernelConfig,
    /// What a diff compares.
    Facts,
    /// The difference to the release before, for people.
    DiffMarkdown,
    /// The same for programs.
    DiffJson,
}

impl Role {
    /// Every role, in the order of an index.
    pub const ALL: [Self; 16] = [
        Self::Usr,
        Self::Verity,
        Self::Signature,
        Self::Uki,
        Self::BootLoader,
        Self::Disk,
        Self::Manifest,
        Self::Lock,
        Self::Profile,
        Self::Packages,
        Self::Files,
        Self::Licences,
        Self::KernelConfig,
        Self::Facts,
        Self::DiffMarkdown,
        Self::DiffJson,
    ];

    /// What every release has.
    pub const REQUIRED: [Self; 9] = [
        Self::Usr,
        Self::Verity,
        Self::Signature,
        Self::Uki,
        Self::BootLoader,
        Self::Disk,
        Self::Manifest,
        Self::Lock,
        Self::Profile,
    ];

    /// Whether a machine runs it: what a yanked release loses.
    #[must_use]
    pub const fn is_payload(self) -> bool {
        matches!(
            self,
            Self::Usr | Self::Verity | Self::Signature | Self::Uki | Self::BootLoader | Self::Disk
        )
    }

    /// Whether a node downloads it for every update.
    #[must_use]
    pub const fn is_update(self) -> bool {
        matches!(self, Self::Usr | Self::Verity | Self::Signature | Self::Uki)
    }

    /// The file's name. systemd-sysupdate reads the version from it, and of usr and verity the
    /// PARTUUID, by which the initrd finds the partitions.
    #[must_use]
    pub fn file_name(self, id: &str, version: &str, root_hash: &Sha256) -> String {
        let (usr, verity) = usr_partuuids(root_hash);
        let ending = match self {
            Self::Usr => return format!("{id}_{version}_{usr}.usr.raw"),
            Self::Verity => return format!("{id}_{version}_{verity}.vty.raw"),
            // No pattern `ID_@v.efi` matches it.
            Self::BootLoader => return format!("systemd-boot_{id}_{version}.efi"),
            Self::Signature => "sig.raw",
            Self::Uki => "efi",
            Self::Disk => "disk.raw.zst",
            Self::Manifest => "manifest.json",
            Self::Lock => "lock",
            Self::Profile => "profile.yaml",
            Self::Packages => "packages.json",
            Self::Files => "files.txt",
            Self::Licences => "licences.txt",
            Self::KernelConfig => "kernel-config",
            Self::Facts => "facts.json",
            Self::DiffMarkdown => "diff.md",
            Self::DiffJson => "diff.json",
        };
        format!("{id}_{version}.{ending}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_names_are_those_of_the_contract() {
        let root: Sha256 = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef"
            .parse()
            .unwrap();
        let name = |role: Role| role.file_name("myos", "1.2.0", &root);
        for (role, expected) in [
            (
                Role::Usr,
                "myos_1.2.0_00112233-4455-6677-8899-aabbccddeeff.usr.raw",
            ),
            (
                Role::Verity,
                "myos_1.2.0_01234567-89ab-cdef-0123-456789abcdef.vty.raw",
            ),
            (Role::Signature, "myos_1.2.0.sig.raw"),
            (Role::Uki, "myos_1.2.0.efi"),
            (Role::BootLoader, "systemd-boot_myos_1.2.0.efi"),
            (Role::Disk, "myos_1.2.0.disk.raw.zst"),
            (Role::Lock, "myos_1.2.0.lock"),
            (Role::DiffMarkdown, "myos_1.2.0.diff.md"),
        ] {
            assert_eq!(name(role), expected);
        }
        let all: BTreeSet<_> = Role::ALL.into_iter().map(name).collect();
        assert_eq!(all.len(), Role::ALL.len());
        assert!(Role::ALL.is_sorted());
        assert!(
            Role::ALL
                .iter()
                .all(|role| !role.is_update() || role.is_payload())
        );
    }
}
