//! Releases: trees for any static web server, from which nodes update themselves.

pub mod index;
pub mod names;
pub mod sums;
pub mod version;
