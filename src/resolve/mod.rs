//! Package selection and the lock.
//!
//! `request` reads the profile, `universe` sorts what is on offer, `provider` puts it before the
//! solver, `solve` turns the answer into a [`Resolution`], `check` verifies it, `explain` tells why
//! there is none. `lock` writes the result down and `why` tells how a package came into it.

mod check;
mod explain;
pub mod lock;
pub mod obtain;
mod provider;
pub mod relation;
pub mod request;
pub mod script_only;
pub mod solve;
mod table;
pub mod universe;
pub mod version;
pub mod why;

pub use lock::Lock;
pub use solve::{Chosen, Reason, Resolution, resolve, resolve_holding};
pub use universe::{Dropped, Field, Held};

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
