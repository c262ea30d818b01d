//! Unified kernel images: systemd-stub with the kernel, the initrd and their descriptions appended
//! as PE sections (UAPI specification "Unified Kernel Image").

pub mod addon;
pub mod format;
pub mod read;
pub mod sbat;
pub mod stub;
pub mod write;

pub use read::{Pe, PeError};
pub use write::{AssembleError, Section, assemble};
