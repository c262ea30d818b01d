//! Releases: trees for any static web server, from which nodes update themselves.

pub mod diff;
pub mod disk_zst;
pub mod facts;
pub mod index;
pub mod lists;
pub mod names;
pub mod rules;
pub mod signed;
pub mod sums;
pub mod tree;
pub mod version;
