//! Keys in a hardware module or token, behind PKCS #11 (OASIS PKCS #11 v3.1).
//!
//! A module is a shared library, which a statically linked program can't load.

#[cfg(all(feature = "pkcs11", not(target_feature = "crt-static")))]
mod token;
mod uri;

pub use uri::{Pin, Uri};

#[cfg(all(feature = "pkcs11", not(target_feature = "crt-static")))]
pub use token::Token;

#[cfg(not(all(feature = "pkcs11", not(target_feature = "crt-static"))))]
pub use absent::Token;

/// What stands in for tokens in a program that can't load modules.
#[cfg(not(all(feature = "pkcs11", not(target_feature = "crt-static"))))]
mod absent {
    use anyhow::Result;

    use super::super::{Role, Settings, Signer};
    use super::Uri;
    use crate::failure::{Failure, Kind};

    /// No token.
    #[derive(Debug)]
    pub enum Token {}

    impl Token {
        /// Always an error.
        ///
        /// # Errors
        /// Always.
        pub fn open(uri: &Uri, _: &Settings) -> Result<Self> {
            let (why, way_out) = if cfg!(feature = "pkcs11") {
                (
                    "is statically linked and can't load PKCS #11 modules",
                    "use the dynamically linked hullwright (`cargo build --release`)",
                )
            } else {
                (
                    "was built without PKCS #11",
                    "build it with the cargo feature `pkcs11`",
                )
            };
            Err(Failure::new(
                Kind::Keys,
                format!("this hullwright {why}, and {uri} needs one"),
            )
            .hint(way_out)
            .hint("or sign with a program: `--signer command:PROGRAM` (docs/signers.md)")
            .into())
        }

        /// Nothing has such a key.
        ///
        /// # Errors
        /// Never: there is no token.
        pub fn signer(&self, _: Role, _: &[u8]) -> Result<Box<dyn Signer>> {
            match *self {}
        }
    }
}
