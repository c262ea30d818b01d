//! The command line as a user meets it: no network, no root.
#![allow(clippy::disallowed_methods, reason = "tests live in the outside world")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod architectures;
mod audit;
mod board_update;
mod boards;
mod cache;
mod contracts;
mod deb;
mod health;
mod help;
mod home;
mod hostile;
mod interrupt;
mod kernel;
mod keys;
mod locks;
mod profiles;
mod release;
mod seeds;
mod server;
mod signers;
mod site;
mod ubootefi;
mod updates;
