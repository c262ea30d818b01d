//! What firmware is told of keys: signature lists (who is trusted, what is not) and the signed
//! variables that carry them.

pub mod auth;
pub mod format;
pub mod read;
pub mod siglist;

pub use auth::Variable;
pub use read::FormatError;
pub use siglist::{Entry, Signature};
