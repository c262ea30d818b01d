//! What the tool tells people and machines: progress, manifest, sizes.

mod human;
pub mod manifest;
pub mod progress;
pub mod size;

pub use human::human_size;
pub use manifest::Manifest;
pub use progress::Progress;
