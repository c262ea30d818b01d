//! Keys and signatures.

use crate::failure::{Failure, Kind};

pub mod authenticode;
mod choice;
pub mod cms;
pub mod command;
pub mod efi;
mod file;
pub mod keys;
pub mod openpgp;
pub mod pkcs11;
mod signer;
mod trust;
mod verified;

pub use choice::Choice;
pub use file::FileSigner;
pub use keys::{AskPassphrase, KeyProfile, no_passphrase};
pub use signer::{DEFAULT_LIMIT, Role, Settings, Signer, Signers, WithPurpose};
pub use trust::{Enrolment, Trust};
pub use verified::VerifiedSigner;

/// What is wrong with a key or a signer.
pub(crate) fn failure(message: String) -> Failure {
    Failure::new(Kind::Keys, message)
}
