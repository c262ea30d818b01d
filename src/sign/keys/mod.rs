//! A folder with a Secure Boot signing key: `db.key` (PKCS #8, PEM), its certificate as `db.crt`
//! (PEM, for people and sbverify) and `db.der` (for enrolment in firmware).
//!
//! This is the one place that needs chance. Its results are inputs of a build like any other: the
//! same folder gives the same signatures.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use const_oid::db::rfc5280::ID_KP_CODE_SIGNING;
use der::pem::LineEnding;
use der::{Decode as _, Encode as _, EncodePem as _};
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use rsa::rand_core::{OsRng, RngCore as _};
use rsa::{RsaPrivateKey, RsaPublicKey, pkcs1v15};
use sha2::Sha256 as Hash;
use x509_cert::Certificate;
use x509_cert::builder::{Builder as _, CertificateBuilder, Profile};
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::{Time, Validity};

use super::{Role, Trust};
use crate::failure::{Failure, Kind};
use crate::stamp::Stamp;

/// Present in folders whose key is for development.
pub const MARKER_FILE: &str = "NOT-FOR-RELEASE";
/// Folder of the signed variables: `PK.auth`, `KEK.auth`, `db.auth`, and `dbx.auth` where something
/// was revoked.
pub const ENROL_DIR: &str = "enrol";
/// In the subject of a development certificate, where firmware set-up screens show it too.
pub(super) const DEVELOPMENT_WORDS: &str = "NOT FOR RELEASE";
/// The smallest modulus accepted, in bits; also what every UEFI firmware supports.
pub(super) const MIN_BITS: usize = 2048;
const DAY: u64 = 24 * 60 * 60;

const MARKER_TEXT: &str = "\
This key was made by hullwright for development. It lies unprotected on a developer's machine.
NOT FOR RELEASE: never enrol it in a machine that matters, never sign a release with it.
Make release keys with `hullwright keys new DIR`.
";

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyProfile {
    /// Made by itself on a developer's machine; RSA-2048, marked as not for release.
    Development,
    /// For images that leave the house; RSA-3072.
    Release,
}

impl KeyProfile {
    const fn bits(self) -> usize {
        match self {
            Self::Development => MIN_BITS,
            Self::Release => 3072,
        }
    }

    fn subject(self, name: &str) -> String {
        match self {
            Self::Development => format!("CN=hullwright development {name} {DEVELOPMENT_WORDS}"),
            Self::Release => format!("CN=hullwright {name}"),
        }
    }
}

fn failure(message: String) -> Failure {
    Failure::new(Kind::Keys, message)
}

/// Makes a key and its certificate in the new folder `dir`, which appears complete or not at
/// all. Validity begins a day before `now`, for clocks that lag.
///
/// # Errors
/// `dir` exists and is not empty, or can't be made.
pub fn generate(dir: &Path, profile: KeyProfile, now: Stamp) -> Result<Trust> {
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(exists(dir).into());
    }
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::DirBuilder::new()
        .recursive(true)
        .create(parent)
        .with_context(|| format!("creating {}", parent.display()))?;
    let scratch = tempfile::Builder::new()
        .prefix(".keys-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .with_context(|| format!("creating a folder in {}", parent.display()))?;

    let write = |name: &str, mode, bytes: &[u8]| {
        write_new(&scratch.path().join(name), mode, bytes)
            .with_context(|| format!("writing {name} for {}", dir.display()))
    };
    for role in [Role::Db, Role::Verity] {
        let name = role.name();
        let key = RsaPrivateKey::new(&mut OsRng, profile.bits()).context("making an RSA key")?;
        let certificate = certify(&key, profile, name, now).context("making a certificate")?;
        let pem = certificate
            .to_pem(LineEnding::LF)
            .context("encoding the certificate")?;
        let der = certificate.to_der().context("encoding the certificate")?;
        let key_pem = key
            .to_pkcs8_pem(LineEnding::LF)
            .context("encoding the key")?;
        write(&role.key_file(), 0o600, key_pem.as_bytes())?;
        write(&role.certificate_file(), 0o644, pem.as_bytes())?;
        write(&format!("{name}.der"), 0o644, &der)?;
    }
    if profile == KeyProfile::Development {
        write(MARKER_FILE, 0o644, MARKER_TEXT.as_bytes())?;
    }
    sync_dir(scratch.path())?;
    // rename(2) replaces an empty folder at most, so of two that race, one wins whole.
    match fs::rename(scratch.path(), dir) {
        Ok(()) => {
            let _ = scratch.keep();
        }
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::DirectoryNotEmpty
                    | std::io::ErrorKind::AlreadyExists
                    | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Err(exists(dir).into());
        }
        Err(error) => {
            return Err(error).with_context(|| format!("renaming to {}", dir.display()));
        }
    }
    sync_dir(parent)?;
    Trust::open(dir, now)
}

/// The development keys below the user's state directory, made on first use. Of two builds that
/// make them at once, both end with the same set.
///
/// # Errors
/// As [`generate`] and [`Trust::open`].
pub fn development(state_dir: &Path, now: Stamp) -> Result<Trust> {
    let dir = state_dir.join("development-keys");
    if !dir.exists() {
        match generate(&dir, KeyProfile::Development, now) {
            Ok(keys) => return Ok(keys),
            Err(_) if dir.join(Role::Db.key_file()).exists() => {}
            Err(error) => return Err(error.context("making development keys")),
        }
    }
    Trust::open(&dir, now)
}

fn exists(dir: &Path) -> Failure {
    failure(format!("{} exists already and is not empty", dir.display()))
        .hint("name another folder; keys are never overwritten")
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

fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

fn sync_dir(dir: &Path) -> Result<()> {
    fs::File::open(dir)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("syncing {}", dir.display()))
}

/// A self-signed certificate for `key`. A leaf with digitalSignature: a CA's key usage makes sbverify
/// refuse the signatures of its own key.
fn certify(
    key: &RsaPrivateKey,
    profile: KeyProfile,
    name: &str,
    now: Stamp,
) -> Result<Certificate> {
    let mut serial = [0; 16];
    OsRng
        .try_fill_bytes(&mut serial)
        .context("reading random bytes")?;
    // Positive and of full length in DER.
    serial[0] = serial[0] & 0x7f | 0x40;
    let begin = now.seconds().saturating_sub(DAY);
    let end = now.seconds() + 20 * 365 * DAY;
    let subject = Name::from_str(&profile.subject(name)).context("encoding the subject")?;
    let public = RsaPublicKey::from(key).to_public_key_der()?;
    let signer = pkcs1v15::SigningKey::<Hash>::new(key.clone());
    let mut builder = CertificateBuilder::new(
        Profile::Leaf {
            issuer: subject.clone(),
            enable_key_agreement: false,
            enable_key_encipherment: false,
        },
        SerialNumber::new(&serial)?,
        Validity {
            not_before: time(begin)?,
            not_after: time(end)?,
        },
        subject,
        SubjectPublicKeyInfoOwned::from_der(public.as_bytes())?,
        &signer,
    )?;
    builder.add_extension(&ExtendedKeyUsage(vec![ID_KP_CODE_SIGNING]))?;
    Ok(builder.build::<pkcs1v15::Signature>()?)
}

/// RFC 5280, section 4.1.2.5: UTCTime up to 2049, GeneralizedTime after.
fn time(seconds: u64) -> Result<Time> {
    let moment = der::DateTime::from_unix_duration(Duration::from_secs(seconds))
        .context("a validity date lies beyond the year 9999")?;
    Ok(if moment.year() < 2050 {
        Time::UtcTime(moment.try_into()?)
    } else {
        Time::GeneralTime(moment.into())
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::failure::{failure_of, kind_of};
    use crate::sign::{FileSigner, Signer};

    const NOW: Stamp = Stamp::from_seconds(1_800_000_000);

    /// A set in a folder that goes with the value; signs with its `db` key.
    #[derive(Debug)]
    pub(crate) struct TestKeys {
        _dir: tempfile::TempDir,
        pub(crate) trust: Trust,
        pub(crate) db: FileSigner,
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
            db: FileSigner::open(&trust, Role::Db).unwrap(),
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
                .and_then(|trust| FileSigner::open(&trust, Role::Db))
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
            "is not an unencrypted RSA private key",
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
