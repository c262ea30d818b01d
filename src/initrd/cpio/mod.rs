//! The cpio archives that the kernel unpacks as its first file system.

pub mod format;
mod read;
mod write;

pub use read::{CpioError, Entry, archive};
pub use write::{Member, members, write};

use crate::tree::TreePath;

/// How a path is called in an archive: `.` is the root.
#[must_use]
pub fn name_of(path: &TreePath) -> String {
    if path.is_root() {
        ".".to_owned()
    } else {
        String::from_utf8_lossy(path.as_bytes()).into_owned()
    }
}

#[cfg(test)]
mod tests;
