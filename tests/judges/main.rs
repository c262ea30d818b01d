//! What we write, judged by programs that others wrote.
#![allow(clippy::disallowed_methods, reason = "tests live in the outside world")]

#[path = "../support/mod.rs"]
mod support;

mod erofs;
mod inspect;
mod versions;
