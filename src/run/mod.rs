//! Booting images in QEMU, and looking into them.
