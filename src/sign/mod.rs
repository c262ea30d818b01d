//! Keys and signatures.

pub mod authenticode;
pub mod keys;

pub use keys::{KeyProfile, KeySet};

/// Signs digests with a key whose certificate is known. Implement it for a file, an HSM, a service:
/// the caller builds every structure around the raw signature.
pub trait Signer: Send + Sync {
    /// The X.509 certificate of the key, DER.
    fn certificate(&self) -> &[u8];

    /// RSASSA-PKCS1-v1_5 signature over a SHA-256 digest (RFC 8017, section 8.2); the DigestInfo is
    /// added by the signer.
    ///
    /// # Errors
    /// The key is locked, absent or refuses.
    fn sign_sha256(&self, digest: &[u8; 32]) -> anyhow::Result<Vec<u8>>;

    /// Whether the key is marked as for development only.
    fn is_development(&self) -> bool;
}
