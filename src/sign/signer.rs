//! Who makes raw signatures. Everything around them is built by the caller, so that a file, an HSM
//! and a service give the same bytes.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::command::CommandSigner;
use super::keys::AskPassphrase;
use super::pkcs11::Token;
use super::{Choice, FileSigner, Trust, VerifiedSigner};
use crate::failure::{Failure, Kind};

/// What a key of a set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Boot loader, UKI and addons: its certificate is in the firmware's `db`.
    Db,
    /// The root hash of `/usr`, which the kernel checks.
    Verity,
}

impl Role {
    /// `db` or `verity`: the stem of the key's files, and its name for signers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Db => "db",
            Self::Verity => "verity",
        }
    }

    /// File with the private key.
    #[must_use]
    pub fn key_file(self) -> String {
        format!("{}.key", self.name())
    }

    /// File with the certificate, PEM.
    #[must_use]
    pub fn certificate_file(self) -> String {
        format!("{}.crt", self.name())
    }
}

/// Signs digests with a key whose certificate is known.
pub trait Signer: Send + Sync + std::fmt::Debug {
    /// The X.509 certificate of the key, DER.
    fn certificate(&self) -> &[u8];

    /// RSASSA-PKCS1-v1_5 signature over a SHA-256 digest (RFC 8017, section 8.2); the DigestInfo is
    /// added by the signer.
    ///
    /// # Errors
    /// The key is locked, absent or refuses.
    fn sign_sha256(&self, digest: &[u8; 32]) -> Result<Vec<u8>>;

    /// The same, for a signer that wants to tell somebody what it signs.
    ///
    /// # Errors
    /// As [`Signer::sign_sha256`].
    fn sign_for(&self, digest: &[u8; 32], _purpose: &str) -> Result<Vec<u8>> {
        self.sign_sha256(digest)
    }
}

/// A signer that is told what every signature is for.
#[derive(Debug, Clone, Copy)]
pub struct WithPurpose<'a>(pub &'a dyn Signer, pub &'a str);

impl Signer for WithPurpose<'_> {
    fn certificate(&self) -> &[u8] {
        self.0.certificate()
    }

    fn sign_sha256(&self, digest: &[u8; 32]) -> Result<Vec<u8>> {
        self.0.sign_for(digest, self.1)
    }
}

/// How long a signer may take for one answer, unless told otherwise.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// What signers are given from outside.
#[derive(Clone)]
pub struct Settings {
    /// The PIN of a token whose URI has none.
    pub pin: Option<String>,
    /// How long one answer may take.
    pub limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pin: None,
            limit: DEFAULT_LIMIT,
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// The signers that a build needs.
#[derive(Debug)]
pub struct Signers {
    /// For boot loader, UKI and addons.
    pub db: Box<dyn Signer>,
    /// For the root hash, where it is signed.
    pub verity: Option<Box<dyn Signer>>,
}

impl Signers {
    /// The signers that `choice` means, for the certificates of `trust` and those keys only that are
    /// `needed`; `ask` has the passphrases of encrypted key files. Each signature is verified.
    ///
    /// # Errors
    /// A key is missing, does not belong to its certificate, or its signer does not answer.
    pub fn open(
        choice: &Choice,
        trust: &Trust,
        needed: &[Role],
        settings: &Settings,
        ask: AskPassphrase<'_>,
    ) -> Result<Self> {
        let token = match choice {
            Choice::Pkcs11(uri) => Some(Token::open(uri, settings)?),
            Choice::File | Choice::Command(_) => None,
        };
        let open = |role: Role, certificate: &[u8]| -> Result<Box<dyn Signer>> {
            let signer = match (choice, &token) {
                (Choice::Command(words), _) => Box::new(CommandSigner::new(
                    words.clone(),
                    certificate.to_vec(),
                    role,
                    settings.limit,
                )),
                (Choice::Pkcs11(_), Some(token)) => token.signer(role, certificate)?,
                _ => Box::new(FileSigner::open(trust, role, ask)?),
            };
            let name = format!("the signer `{choice}`");
            Ok(Box::new(VerifiedSigner::new(signer, name, role)?))
        };
        let verity = match trust.certificate(Role::Verity) {
            _ if !needed.contains(&Role::Verity) => None,
            Some(certificate) => {
                Some(open(Role::Verity, certificate).context("opening the verity key")?)
            }
            None => {
                return Err(Failure::new(
                    Kind::Keys,
                    format!(
                        "the root hash is to be signed, and the keys in {} have no verity key",
                        trust.dir().display()
                    ),
                )
                .hint("make a whole set with `hullwright keys new DIR`")
                .into());
            }
        };
        Ok(Self {
            db: open(Role::Db, trust.db())?,
            verity,
        })
    }
}
