//! Names that people type: patterns of names, and what a mistyped one may have meant.

pub mod glob;
mod nearest;

pub use nearest::{nearest, nearest_few};
