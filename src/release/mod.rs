//! Releases: trees for any static web server, from which nodes update themselves.

pub mod diff;
pub mod disk_zst;
pub mod facts;
pub mod lists;
pub mod version;
