//! Who makes raw signatures. Everything around them is built by the caller, so that a file, an HSM
//! and a service give the same bytes.

use anyhow::{Context as _, Result};

use super::keys::AskPassphrase;
use super::{FileSigner, Trust};

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
}

/// The signers that a build needs.
#[derive(Debug)]
pub struct Signers {
    /// For boot loader, UKI and addons.
    pub db: Box<dyn Signer>,
    /// For the root hash, where the key set has such a key.
    pub verity: Option<Box<dyn Signer>>,
}

impl Signers {
    /// The private keys that lie beside the certificates of `trust`; `ask` has the passphrase of
    /// encrypted ones.
    ///
    /// # Errors
    /// As [`FileSigner::open`].
    pub fn files(trust: &Trust, ask: AskPassphrase<'_>) -> Result<Self> {
        let verity = trust
            .certificate(Role::Verity)
            .map(|_| FileSigner::open(trust, Role::Verity, ask))
            .transpose()
            .context("opening the verity key")?;
        Ok(Self {
            db: Box::new(FileSigner::open(trust, Role::Db, ask)?),
            verity: verity.map(|signer| Box::new(signer) as Box<dyn Signer>),
        })
    }
}
