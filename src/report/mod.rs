//! What the tool tells people and machines: progress, manifest, sizes.

pub mod manifest;
pub mod progress;

pub use manifest::Manifest;
pub use progress::Progress;
