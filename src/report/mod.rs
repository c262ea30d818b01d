//! What the tool tells people and machines: progress, manifest, sizes.

pub mod manifest;
pub mod progress;
mod size;

pub use manifest::Manifest;
pub use progress::Progress;
pub use size::human_size;
