//! What the tool tells people and machines: progress, manifest, sizes.

pub mod progress;

pub use progress::Progress;
