//! What the initrd holds, and its cpio archive.
