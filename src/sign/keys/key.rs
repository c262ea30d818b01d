//! The keys of a set: their names, files and lifetimes.

use std::path::{Path, PathBuf};

use super::{DEVELOPMENT_WORDS, KeyProfile, OWNER_DIR};
use crate::sign::Role;
use crate::sign::efi::Variable;

const YEAR: u64 = 365 * super::DAY;

/// A key of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Platform key: its owner owns the machine.
    Pk,
    /// Key exchange key: signs changes of `db` and `dbx`.
    Kek,
    /// Signs boot loader, UKI and addons.
    Db,
    /// Signs the root hash of `/usr`.
    Verity,
    /// Signs releases, OpenPGP.
    Release,
}

impl Key {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pk, Self::Kek, Self::Db, Self::Verity, Self::Release];
    /// Those with an X.509 certificate.
    pub const X509: [Self; 4] = [Self::Pk, Self::Kek, Self::Db, Self::Verity];

    /// Its name, and the stem of its files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pk => Variable::Pk.name(),
            Self::Kek => Variable::Kek.name(),
            Self::Db => Role::Db.name(),
            Self::Verity => Role::Verity.name(),
            Self::Release => "release",
        }
    }

    /// Whether it belongs to the owner alone: no build reads it.
    #[must_use]
    pub const fn is_owners(self) -> bool {
        matches!(self, Self::Pk | Self::Kek)
    }

    /// A file of this key in the set `dir`, whose owner's keys lie in `owner`.
    pub(super) fn file_in(self, dir: &Path, owner: &Path, extension: &str) -> PathBuf {
        let dir = if self.is_owners() { owner } else { dir };
        dir.join(format!("{}.{extension}", self.name()))
    }

    /// A file of this key below a new set.
    pub(super) fn file(self, extension: &str) -> PathBuf {
        self.file_in(Path::new(""), Path::new(OWNER_DIR), extension)
    }

    /// How long it is good for, in seconds. Those that sign what leaves the house change more often
    /// than those that a person has to walk to a machine for.
    pub(super) const fn lifetime(self, profile: KeyProfile) -> u64 {
        match (profile, self) {
            (KeyProfile::Release, Self::Db | Self::Verity | Self::Release) => 10 * YEAR,
            (KeyProfile::Development, _) | (KeyProfile::Release, Self::Pk | Self::Kek) => 20 * YEAR,
        }
    }

    /// Who the certificate or OpenPGP key is about.
    pub(super) fn subject(self, profile: KeyProfile, owner: &str) -> String {
        let name = self.name();
        match profile {
            KeyProfile::Development => format!("{owner} development {name} {DEVELOPMENT_WORDS}"),
            KeyProfile::Release => format!("{owner} {name}"),
        }
    }
}

impl std::str::FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|key| key.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("`{text}` is no key; expected one of {names}")
            })
    }
}
