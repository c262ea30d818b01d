//! Nodes that update themselves over HTTP with Secure Boot on, and what becomes of bad updates. The
//! cases have the numbers of `docs/failure-modes.md`.

mod failures;
mod fleet;
mod node;
pub mod power;
mod server;
mod story;
mod uboot;
