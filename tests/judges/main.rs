//! What we write, judged by programs that others wrote.
#![allow(clippy::disallowed_methods, reason = "tests live in the outside world")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod erofs;
mod versions;
