//! GPT layout and the sparse disk image.
//!
//! The table is the same from the first image on, because nodes in the field rely on it: ESP, the
//! three partitions of slot A, those of slot B, unused space for larger slots, and behind it the root
//! that systemd-repart makes on the first boot. Type GUIDs are those of the Discoverable Partitions
//! Specification (UAPI); usr and its verity data are found by PARTUUIDs that are the halves of the
//! root hash.

pub mod format;
pub mod layout;
pub mod read;
pub mod repart;
pub mod table;
pub mod write;

pub use layout::{ContentSizes, ImageLayout, LayoutError, Planned, ROOT_MIN, Role};
pub use read::{GptError, GptTable};
pub use table::{Identity, usr_partuuids};
pub use write::{Begun, DiskReport, Extent, PartFile, Parts, begin, write_disk};
