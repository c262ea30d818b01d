//! dm-verity hash tree and superblock.
