//! What a package compiles to.

use std::sync::Arc;

use crate::digest::Sha256;
use crate::erofs::Blob;
use crate::tree::{Meta, TreePath};

/// The control fields that linking needs; relations stay text as written.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// `Package`.
    pub name: String,
    /// `Version`.
    pub version: String,
    /// `Architecture`.
    pub architecture: String,
    /// `Replaces`, which allows taking over files.
    pub replaces: String,
    /// Paths from the `conffiles` member.
    pub conffiles: Vec<TreePath>,
}

/// What an entry of a package is.
#[derive(Debug, Clone)]
pub enum EntryKind {
    /// A directory.
    Dir,
    /// A regular file.
    File(Arc<Blob>),
    /// A further name of the inode at an earlier path of the same package.
    HardLink(TreePath),
    /// A symbolic link with its target as written.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// One member of the data archive.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path as shipped (before usr-merge).
    pub path: TreePath,
    /// Owner, mode, extended attributes.
    pub meta: Meta,
    /// Type and content.
    pub kind: EntryKind,
}

/// A compiled package: everything that linking needs of a `.deb`, without its scripts.
#[derive(Debug, Clone)]
pub struct PackageObject {
    /// SHA-256 of the `.deb`.
    pub deb: Sha256,
    /// Control fields.
    pub control: Control,
    /// Members in archive order.
    pub entries: Vec<Entry>,
}
