//! The command line as a user meets it: no network, no root.
#![allow(clippy::disallowed_methods, reason = "tests live in the outside world")]

#[path = "../support/mod.rs"]
mod support;
