//! Private keys in files: PKCS #8 in PEM, plain or encrypted with a passphrase.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use der::pem::{LineEnding, PemLabel as _};
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::pkcs5::{pbes2, scrypt};
use rsa::pkcs8::{
    DecodePrivateKey as _, EncodePrivateKey as _, EncryptedPrivateKeyInfo, PrivateKeyInfo,
    SecretDocument,
};
use rsa::rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use super::failure;

/// Gives the passphrase of what its argument names; called only where something is encrypted.
pub type AskPassphrase<'a> = &'a dyn Fn(&str) -> Result<Zeroizing<String>>;

/// Who has no passphrase to give.
///
/// # Errors
/// Always: `what` is encrypted.
pub fn no_passphrase(what: &str) -> Result<Zeroizing<String>> {
    Err(
        failure(format!("{what} is encrypted, and no passphrase was given"))
            .hint("set HULLWRIGHT_PASSPHRASE, or name a file with --passphrase-file FILE")
            .into(),
    )
}

/// Parameters of scrypt: 16 MiB, which is what OpenSSL agrees to use, five times over.
const LOG_N: u8 = 14;
const R: u32 = 8;
const P: u32 = 5;
const AES256_KEY_LEN: usize = 32;

/// `key` in PKCS #8, PEM; with a passphrase, encrypted by scrypt and AES-256-CBC (RFC 7914,
/// section 7; RFC 8018, section 6.2).
pub(super) fn encode(key: &RsaPrivateKey, passphrase: Option<&str>) -> Result<Zeroizing<String>> {
    let Some(passphrase) = passphrase else {
        return key.to_pkcs8_pem(LineEnding::LF).context("encoding the key");
    };
    let plain = key.to_pkcs8_der().context("encoding the key")?;
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    for bytes in [&mut salt, &mut iv] {
        OsRng
            .try_fill_bytes(bytes)
            .context("reading random bytes")?;
    }
    let scrypt = scrypt::Params::new(LOG_N, R, P, AES256_KEY_LEN)
        .map_err(|error| anyhow::anyhow!("choosing parameters of scrypt: {error}"))?;
    let parameters = pbes2::Parameters::scrypt_aes256cbc(scrypt, &salt, &iv)
        .map_err(|error| anyhow::anyhow!("choosing parameters of encryption: {error}"))?;
    PrivateKeyInfo::try_from(plain.as_bytes())
        .and_then(|info| info.encrypt_with_params(parameters, passphrase))
        .and_then(|document| {
            Ok(document.to_pem(EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF)?)
        })
        .map_err(|error| anyhow::anyhow!("encrypting the key: {error}"))
}

/// The key in the file `path`, a file of the folder `dir`.
pub(in crate::sign) fn open(
    dir: &Path,
    path: &Path,
    ask: AskPassphrase<'_>,
) -> Result<RsaPrivateKey> {
    let shown = path.display();
    let text = Zeroizing::new(super::read(dir, path)?);
    if !is_encrypted(&text) {
        return RsaPrivateKey::from_pkcs8_pem(&text)
            .or_else(|_| RsaPrivateKey::from_pkcs1_pem(&text))
            .map_err(|error| {
                failure(format!("{shown} is not an RSA private key in PEM: {error}"))
                    .hint("make a set with `hullwright keys new DIR` and look at its files")
                    .into()
            });
    }
    let (_, document) = SecretDocument::from_pem(&text)
        .map_err(|error| failure(format!("{shown} is not a private key in PEM: {error}")))?;
    let encrypted = EncryptedPrivateKeyInfo::try_from(document.as_bytes())
        .map_err(|error| failure(format!("{shown} is encrypted in an unknown way: {error}")))?;
    let passphrase = ask(&shown.to_string())?;
    // A wrong passphrase shows as wrong padding, or, once in 256 times, as no key.
    encrypted
        .decrypt(passphrase.as_bytes())
        .ok()
        .and_then(|plain| RsaPrivateKey::from_pkcs8_der(plain.as_bytes()).ok())
        .ok_or_else(|| wrong_passphrase(&shown.to_string()).into())
}

/// What to say of a passphrase that does not open `what`.
pub(in crate::sign) fn wrong_passphrase(what: &str) -> crate::failure::Failure {
    failure(format!("the passphrase given is not that of {what}"))
}

/// Whether a private key in PEM needs a passphrase.
pub(super) fn is_encrypted(pem: &str) -> bool {
    pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

/// The permission bits of a private key that others may read.
pub(super) fn loose_mode(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Refuses a private key that others may read; one for development gets a warning.
pub(in crate::sign) fn check_mode(path: &Path, development: bool) -> Result<()> {
    let Some(mode) = loose_mode(path) else {
        return Ok(());
    };
    let path = path.display();
    if development {
        tracing::warn!("{path} has mode {mode:04o}: others may read it; `chmod 600 {path}`");
        return Ok(());
    }
    Err(
        failure(format!("{path} has mode {mode:04o}: others may read it"))
            .hint(format!("run `chmod 600 {path}`, and think who has read it"))
            .into(),
    )
}
