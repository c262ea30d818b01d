//! Keys and signatures.

pub mod authenticode;
pub mod cms;
pub mod efi;
mod file;
pub mod keys;
pub mod openpgp;
mod signer;
mod trust;

pub use file::FileSigner;
pub use keys::{AskPassphrase, KeyProfile, no_passphrase};
pub use signer::{Role, Signer, Signers};
pub use trust::{Enrolment, Trust};
