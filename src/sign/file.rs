//! Keys in files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use der::Decode as _;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::rand_core::OsRng;
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha2::Sha256 as Hash;
use x509_cert::Certificate;

use super::authenticode::public_key;
use super::{Role, Signer, Trust};
use crate::failure::{Failure, Kind};

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
    /// Opens the private key of `role` in the folder of `trust`. A key that others may read is used
    /// with a warning.
    ///
    /// # Errors
    /// The folder lacks key or certificate, or they don't belong together.
    pub fn open(trust: &Trust, role: Role) -> Result<Self> {
        let dir = trust.dir();
        let path = dir.join(role.key_file());
        let certificate_path = dir.join(role.certificate_file());
        let shown = path.display();
        let Some(certificate) = trust.certificate(role) else {
            return Err(failure(format!("{} is missing", certificate_path.display())).into());
        };
        let text = super::keys::read(dir, &path)?;
        let key = RsaPrivateKey::from_pkcs8_pem(&text)
            .or_else(|_| RsaPrivateKey::from_pkcs1_pem(&text))
            .map_err(|error| {
                failure(format!(
                    "{shown} is not an unencrypted RSA private key in PEM: {error}"
                ))
                .hint("make a set with `hullwright keys new DIR` and look at its files")
            })?;
        let parsed = Certificate::from_der(certificate).context("reading the certificate")?;
        if public_key(&parsed)? != RsaPublicKey::from(&key) {
            return Err(failure(format!(
                "{} is not the certificate of the key in {shown}",
                certificate_path.display(),
            ))
            .hint("copy both files from the same key set")
            .into());
        }
        warn_about_permissions(&path);
        Ok(Self {
            key,
            certificate: certificate.to_vec(),
        })
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

fn failure(message: String) -> Failure {
    Failure::new(Kind::Keys, message)
}

fn warn_about_permissions(path: &Path) {
    if let Ok(metadata) = fs::metadata(path) {
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            let path = path.display();
            tracing::warn!("{path} has mode {mode:04o}: others may read it; `chmod 600 {path}`");
        }
    }
}
