//! The EFI system partition as a FAT32 image.

pub mod board;
pub mod content;
pub mod fat;
pub mod format;
pub mod names;
pub mod read;
pub mod sparse;

pub use content::{boot_entry_name, loader_conf};
pub use fat::{EspContent, EspFile, build, required_bytes};
pub use names::problem as name_problem;
pub use read::{EspReader, FatError};
pub use sparse::SparseImage;
