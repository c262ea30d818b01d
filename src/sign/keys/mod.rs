//! Key folders. A set is made at once, appears whole and is never overwritten; what changes it leaves
//! the old one beside it.
//!
//! | file | |
//! |---|---|
//! | `db.key`, `verity.key` | private keys, PKCS #8, PEM |
//! | `db.crt`, `db.der`, `verity.crt`, … | their certificates, PEM and DER |
//! | `release.key`, `release.asc` | the OpenPGP key for releases, secret and public |
//! | `owner/` | `PK` and `KEK` in the same form; no build reads it, and it may lie elsewhere |
//! | `enrol/` | signed variables: all that is public about PK, KEK, db and dbx |
//! | `set.json` | the owner's GUID, the time of the last signed variable |
//!
//! Making keys is the one thing that needs chance. Its results are inputs of a build like any other:
//! the same folder gives the same signatures.

mod certify;
mod check;
mod folder;
mod key;
mod lists;
mod make;
mod open;
pub(in crate::sign) mod private;
mod revoke;
mod rotate;
mod set;
mod show;

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{Role, Trust};
use crate::sign::failure;
use crate::stamp::Stamp;

pub use check::{Finding, Severity, check, date};
pub use key::Key;
pub use make::{NewSet, create};
pub use private::{AskPassphrase, no_passphrase};
pub use revoke::{DBX_UPDATE, Revoked, image_digest, read_certificate, revoke};
pub use rotate::{Changed, PK_UPDATE, Rotation, rotate};
pub use set::Set;
pub use show::{Overview, Private, Shown, show};

/// Present in folders whose key is for development.
pub const MARKER_FILE: &str = "NOT-FOR-RELEASE";
/// Folder of the signed variables: `PK.auth`, `KEK.auth`, `db.auth`, and `dbx.auth` where something
/// was revoked.
pub const ENROL_DIR: &str = "enrol";
/// Folder of the owner's keys, PK and KEK.
pub const OWNER_DIR: &str = "owner";
/// What a set remembers.
pub const SET_FILE: &str = "set.json";
/// The release key, secret.
pub const RELEASE_KEY: &str = "release.key";
/// The release key, public.
pub const RELEASE_PUBLIC: &str = "release.asc";
/// In the subject of a development certificate, where firmware set-up screens show it too.
pub(super) const DEVELOPMENT_WORDS: &str = "NOT FOR RELEASE";
/// The smallest modulus accepted, in bits; also what every UEFI firmware supports.
pub(super) const MIN_BITS: usize = 2048;
const DAY: u64 = 24 * 60 * 60;

/// Below the state folder: the development set. Sets from before there were owner's keys lie in
/// another place, and are left alone.
const DEVELOPMENT_DIR: &str = "keys/development";

/// What a set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum KeyProfile {
    /// Made by itself on a developer's machine; RSA-2048, marked as not for release.
    #[serde(rename = "dev")]
    Development,
    /// For images that leave the house; RSA-3072.
    #[serde(rename = "release")]
    Release,
}

impl KeyProfile {
    const fn bits(self) -> usize {
        match self {
            Self::Development => MIN_BITS,
            Self::Release => 3072,
        }
    }
}

/// Makes an unencrypted set in the new folder `dir`.
///
/// # Errors
/// As [`create`].
pub fn generate(dir: &Path, profile: KeyProfile, now: Stamp) -> Result<Trust> {
    let new = NewSet {
        profile,
        name: None,
        passphrase: None,
    };
    create(dir, &new, now)
}

/// The development keys below the user's state directory, made on first use. Of two builds that
/// make them at once, both end with the same set.
///
/// # Errors
/// As [`generate`] and [`Trust::open`].
pub fn development(state_dir: &Path, now: Stamp) -> Result<Trust> {
    let dir = state_dir.join(DEVELOPMENT_DIR);
    if !dir.exists() {
        match generate(&dir, KeyProfile::Development, now) {
            Ok(keys) => return Ok(keys),
            Err(_) if dir.join(Role::Db.key_file()).exists() => {}
            Err(error) => return Err(error.context("making development keys")),
        }
    }
    Trust::open(&dir, now)
}

pub(super) fn read(dir: &Path, path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| {
        let what = format!("reading {}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => failure(what).hint(format!(
                "a key set has {} and {}; \
                 `hullwright keys new {}` makes one",
                Role::Db.key_file(),
                Role::Db.certificate_file(),
                dir.display()
            )),
            _ => failure(what),
        }
        .into()
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::LazyLock;

    use super::*;
    use crate::failure::{Kind, failure_of, kind_of};
    use crate::sign::{FileSigner, Signer};

    const NOW: Stamp = Stamp::from_seconds(1_800_000_000);

    /// A set in a folder that goes with the value; signs with its `db` key.
    #[derive(Debug)]
    pub(crate) struct TestKeys {
        _dir: tempfile::TempDir,
        pub(crate) trust: Trust,
        pub(crate) db: FileSigner,
        pub(crate) verity: FileSigner,
    }

    impl Signer for TestKeys {
        fn certificate(&self) -> &[u8] {
            self.db.certificate()
        }

        fn sign_sha256(&self, digest: &[u8; 32]) -> Result<Vec<u8>> {
            self.db.sign_sha256(digest)
        }
    }

    fn make(profile: KeyProfile) -> TestKeys {
        let dir = tempfile::tempdir().unwrap();
        let trust = generate(&dir.path().join("keys"), profile, NOW).unwrap();
        TestKeys {
            db: FileSigner::open(&trust, Role::Db, &no_passphrase).unwrap(),
            verity: FileSigner::open(&trust, Role::Verity, &no_passphrase).unwrap(),
            trust,
            _dir: dir,
        }
    }

    /// Keys for the tests of every room; made once a run.
    pub(crate) fn development_keys() -> &'static TestKeys {
        static KEYS: LazyLock<TestKeys> = LazyLock::new(|| make(KeyProfile::Development));
        &KEYS
    }

    pub(crate) fn other_keys() -> &'static TestKeys {
        static KEYS: LazyLock<TestKeys> = LazyLock::new(|| make(KeyProfile::Release));
        &KEYS
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_set_is_private_opens_again_and_is_never_overwritten() {
        let keys = &development_keys().trust;
        assert_eq!(mode(keys.dir()), 0o700);
        assert_eq!(mode(&keys.dir().join("db.key")), 0o600);
        let opened = Trust::open(keys.dir(), NOW).unwrap();
        assert_eq!(opened.fingerprint(), keys.fingerprint());
        assert_eq!(opened.db(), fs::read(keys.dir().join("db.der")).unwrap());
        assert!(opened.is_development());
        let error = generate(keys.dir(), KeyProfile::Release, NOW).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Keys);
        let siblings = fs::read_dir(keys.dir().parent().unwrap()).unwrap().count();
        assert_eq!(siblings, 1, "nothing is left of the refused attempt");
    }

    #[test]
    fn what_is_wrong_with_a_set_is_said() {
        let (keys, other) = (&development_keys().trust, &other_keys().trust);
        let copy = |from: &Path, to: &Path, names: &[&str]| {
            for name in names {
                fs::copy(from.join(name), to.join(name)).unwrap();
            }
        };
        let check = |fill: &dyn Fn(&Path), now: u64, expected: &str| {
            let dir = tempfile::tempdir().unwrap();
            fill(dir.path());
            let error = Trust::open(dir.path(), Stamp::from_seconds(now))
                .and_then(|trust| FileSigner::open(&trust, Role::Db, &no_passphrase))
                .unwrap_err();
            let failure = failure_of(&error).unwrap();
            assert_eq!(failure.kind, Kind::Keys);
            assert!(
                failure.message.contains(expected),
                "{expected}: {}",
                failure.message
            );
        };
        let now = NOW.seconds();
        let both = ["db.key", "db.crt"];
        check(&|_| (), now, "db.crt");
        check(&|to| copy(keys.dir(), to, &["db.key"]), now, "db.crt");
        check(
            &|to| {
                copy(keys.dir(), to, &["db.key"]);
                copy(other.dir(), to, &["db.crt"]);
            },
            now,
            "is not the certificate of the key",
        );
        check(
            &|to| {
                copy(keys.dir(), to, &both);
                fs::write(to.join("db.key"), "junk").unwrap();
            },
            now,
            "is not an RSA private key",
        );
        check(
            &|to| copy(keys.dir(), to, &both),
            now + 21 * 365 * DAY,
            "expired on",
        );
        check(
            &|to| copy(keys.dir(), to, &both),
            now - 2 * DAY,
            "is not valid before",
        );
    }

    #[test]
    fn development_keys_are_made_once_whoever_comes_first() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("state/hullwright");
        let prints: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| development(&path, NOW).unwrap().fingerprint()))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(prints[0], prints[1]);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn release_keys_refuse_development_images_and_nothing_else() {
        assert!(development_keys().trust.check_allowed(true).is_ok());
        assert!(development_keys().trust.check_allowed(false).is_ok());
        assert!(other_keys().trust.check_allowed(false).is_ok());
        let error = other_keys().trust.check_allowed(true).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Keys);
        assert!(!other_keys().trust.is_development());
    }

    #[test]
    fn the_marker_alone_makes_a_set_one_for_development() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["db.key", "db.crt"] {
            fs::copy(other_keys().trust.dir().join(name), dir.path().join(name)).unwrap();
        }
        assert!(!Trust::open(dir.path(), NOW).unwrap().is_development());
        fs::write(dir.path().join(MARKER_FILE), "").unwrap();
        assert!(Trust::open(dir.path(), NOW).unwrap().is_development());
    }
}
