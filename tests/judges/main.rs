//! What we write, judged by programs that others wrote.
#![allow(clippy::disallowed_methods, reason = "tests live in the outside world")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[path = "../cli/server.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod server;
#[path = "../support/mod.rs"]
mod support;

mod audit;
mod boards;
mod boards_renewed;
mod ci;
mod compare;
mod debian;
mod erofs;
mod firmware;
mod fixture;
mod hermetic;
mod hosts;
mod image;
mod inspect;
mod interrupted;
mod kernels;
mod keys;
mod limits;
mod lists;
mod modules;
mod mutations;
mod objects;
mod release;
mod releasing;
mod relink;
mod reproducible;
mod signatures;
mod signers;
mod sizes;
mod tamper;
mod updates;
mod uses;
mod versions;
mod web;
