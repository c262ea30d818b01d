//! Keys and signatures.

pub mod authenticode;
pub mod cms;
mod file;
pub mod keys;
mod signer;
mod trust;

pub use file::FileSigner;
pub use keys::KeyProfile;
pub use signer::{Role, Signer, Signers};
pub use trust::{Enrolment, Trust};
