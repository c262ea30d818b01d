//! Keys in files.

use std::path::Path;

use anyhow::{Context as _, Result};
use der::Decode as _;
use rsa::rand_core::OsRng;
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha2::Sha256 as Hash;
use x509_cert::Certificate;

use super::authenticode::public_key;
use super::failure;
use super::keys::{AskPassphrase, private};
use super::{Role, Signer, Trust};

/// A private key in a file of a key folder.
pub struct FileSigner {
    key: RsaPrivateKey,
    certificate: Vec<u8>,
}

impl std::fmt::Debug for FileSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSigner").finish_non_exhaustive()
    }
}

impl FileSigner {
    /// A key with its certificate (DER), which have to belong together.
    pub(super) const fn new(key: RsaPrivateKey, certificate: Vec<u8>) -> Self {
        Self { key, certificate }
    }

    /// The private key.
    pub(super) const fn key(&self) -> &RsaPrivateKey {
        &self.key
    }

    /// Opens the private key of `role` in the folder of `trust`.
    ///
    /// # Errors
    /// The folder lacks key or certificate, they don't belong together, others may read the key, or
    /// it is encrypted and `ask` has not the passphrase.
    pub fn open(trust: &Trust, role: Role, ask: AskPassphrase<'_>) -> Result<Self> {
        let dir = trust.dir();
        let certificate_path = dir.join(role.certificate_file());
        let Some(certificate) = trust.certificate(role) else {
            return Err(failure(format!("{} is missing", certificate_path.display())).into());
        };
        let path = dir.join(role.key_file());
        private::check_mode(&path, trust.is_development())?;
        Self::pair(dir, &path, &certificate_path, certificate, ask)
    }

    /// The key at `path`, which lies in `dir`, with its certificate (DER), which came from
    /// `certificate_path`.
    pub(super) fn pair(
        dir: &Path,
        path: &Path,
        certificate_path: &Path,
        certificate: &[u8],
        ask: AskPassphrase<'_>,
    ) -> Result<Self> {
        let key = private::open(dir, path, ask)?;
        let parsed = Certificate::from_der(certificate).context("reading the certificate")?;
        if public_key(&parsed)? != RsaPublicKey::from(&key) {
            return Err(failure(format!(
                "{} is not the certificate of the key in {}",
                certificate_path.display(),
                path.display()
            ))
            .hint("copy both files from the same key set")
            .into());
        }
        Ok(Self::new(key, certificate.to_vec()))
    }
}

impl Signer for FileSigner {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn sign_sha256(&self, digest: &[u8; 32]) -> Result<Vec<u8>> {
        // The random source blinds the computation against timing; the signature is the same.
        self.key
            .sign_with_rng(&mut OsRng, Pkcs1v15Sign::new::<Hash>(), digest)
            .context("signing with the RSA key")
    }
}
