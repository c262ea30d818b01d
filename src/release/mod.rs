//! Releases: trees for any static web server, from which nodes update themselves.

pub mod version;
