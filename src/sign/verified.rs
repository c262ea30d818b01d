//! Signatures are believed when they verify, whoever made them.

use anyhow::{Context as _, Result};
use der::Decode as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use sha2::Sha256;
use x509_cert::Certificate;

use super::authenticode::public_key;
use super::failure;
use super::{Role, Signer};
use crate::failure::failure_of;

/// A signer whose every answer is verified against the certificate before it is used.
#[derive(Debug)]
pub struct VerifiedSigner {
    inner: Box<dyn Signer>,
    key: RsaPublicKey,
    /// How messages call it.
    name: String,
    role: Role,
}

impl VerifiedSigner {
    /// Puts `inner`, which people know as `name`, under control.
    ///
    /// # Errors
    /// Its certificate is not one of an RSA key.
    pub fn new(inner: Box<dyn Signer>, name: String, role: Role) -> Result<Self> {
        let certificate = Certificate::from_der(inner.certificate())
            .context("reading the signer's certificate")?;
        Ok(Self {
            key: public_key(&certificate)?,
            inner,
            name,
            role,
        })
    }

    fn check(&self, digest: &[u8; 32], signature: &[u8]) -> Result<()> {
        let (name, role) = (&self.name, self.role.name());
        let expected = self.key.size();
        if signature.len() != expected {
            return Err(failure(format!(
                "{name} gave a signature of {} bytes for the key `{role}`; \
                 one by its certificate's key has {expected}",
                signature.len()
            ))
            .into());
        }
        let scheme = Pkcs1v15Sign::new::<Sha256>();
        if self.key.verify(scheme, digest, signature).is_ok() {
            return Ok(());
        }
        // Both mistakes have been made by people who write signers.
        let doubly = RsaScheme::of(&self.key, digest, signature);
        let mut failure = failure(format!(
            "{name} gave a signature for the key `{role}` that does not verify with its certificate"
        ));
        failure = failure.hint(match doubly {
            RsaScheme::HashedAgain => {
                "it hashed the digest once more; it has to sign the digest as it is"
            }
            RsaScheme::Bare => {
                "it signed the bare digest; the DigestInfo of SHA-256 belongs around it (RFC 8017, \
                 section 9.2)"
            }
            RsaScheme::Unknown => {
                "is it the key of this certificate, and does it sign with RSASSA-PKCS1-v1_5 and \
                 SHA-256?"
            }
        });
        Err(failure.into())
    }
}

/// What a signature that does not verify is instead.
enum RsaScheme {
    HashedAgain,
    Bare,
    Unknown,
}

impl RsaScheme {
    fn of(key: &RsaPublicKey, digest: &[u8; 32], signature: &[u8]) -> Self {
        let again = crate::digest::Sha256::of(digest).0;
        if key
            .verify(Pkcs1v15Sign::new::<Sha256>(), &again, signature)
            .is_ok()
        {
            Self::HashedAgain
        } else if key
            .verify(Pkcs1v15Sign::new_unprefixed(), digest, signature)
            .is_ok()
        {
            Self::Bare
        } else {
            Self::Unknown
        }
    }
}

impl Signer for VerifiedSigner {
    fn certificate(&self) -> &[u8] {
        self.inner.certificate()
    }

    fn sign_sha256(&self, digest: &[u8; 32]) -> Result<Vec<u8>> {
        self.sign_for(digest, "")
    }

    fn sign_for(&self, digest: &[u8; 32], purpose: &str) -> Result<Vec<u8>> {
        let signature = self.inner.sign_for(digest, purpose).map_err(|error| {
            if failure_of(&error).is_some() {
                return error;
            }
            failure(format!("{} failed: {error:#}", self.name)).into()
        })?;
        self.check(digest, &signature)?;
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use rsa::rand_core::OsRng;

    use super::*;
    use crate::failure::Kind;
    use crate::sign::keys::tests::{development_keys, other_keys};

    type Sign = fn(&[u8; 32]) -> Result<Vec<u8>>;

    /// What a signer may do wrong.
    #[derive(Debug)]
    struct Wrong(Sign);

    impl Signer for Wrong {
        fn certificate(&self) -> &[u8] {
            development_keys().certificate()
        }

        fn sign_sha256(&self, digest: &[u8; 32]) -> Result<Vec<u8>> {
            (self.0)(digest)
        }
    }

    fn private() -> rsa::RsaPrivateKey {
        use rsa::pkcs8::DecodePrivateKey as _;
        let path = development_keys().trust.dir().join("db.key");
        rsa::RsaPrivateKey::from_pkcs8_pem(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn a_signature_that_does_not_verify_is_an_error_that_names_the_signer() {
        let table: [(Sign, &str, &str); 7] = [
            (|_| Ok(Vec::new()), "of 0 bytes", ""),
            (|_| Ok(vec![7; 256]), "does not verify", "is it the key"),
            (|d| other_keys().sign_sha256(d), "of 384 bytes", ""),
            (
                |d| {
                    development_keys()
                        .sign_sha256(d)
                        .map(|s| [s, vec![0]].concat())
                },
                "of 257 bytes",
                "",
            ),
            (
                |d| {
                    let again = crate::digest::Sha256::of(d).0;
                    development_keys().sign_sha256(&again)
                },
                "does not verify",
                "hashed the digest once more",
            ),
            (
                |d| {
                    let scheme = Pkcs1v15Sign::new_unprefixed();
                    Ok(private().sign_with_rng(&mut OsRng, scheme, d)?)
                },
                "does not verify",
                "bare digest",
            ),
            (
                |_| anyhow::bail!("the cloud is gone"),
                "the cloud is gone",
                "",
            ),
        ];
        for (index, (wrong, message, hint)) in table.into_iter().enumerate() {
            let name = "the signer `x`".to_owned();
            let signer = VerifiedSigner::new(Box::new(Wrong(wrong)), name, Role::Db).unwrap();
            let error = signer.sign_sha256(&[5; 32]).unwrap_err();
            let failure = failure_of(&error).unwrap();
            assert_eq!(failure.kind, Kind::Keys, "case {index}");
            assert!(failure.message.contains("the signer `x`"), "{failure}");
            assert!(failure.message.contains(message), "case {index}: {failure}");
            assert!(failure.hints.concat().contains(hint), "case {index}");
        }
        let good = Wrong(|d| development_keys().sign_sha256(d));
        let signer = VerifiedSigner::new(Box::new(good), "x".into(), Role::Db).unwrap();
        assert_eq!(signer.sign_sha256(&[5; 32]).unwrap().len(), 256);
    }
}
