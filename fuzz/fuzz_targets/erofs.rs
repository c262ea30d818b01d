//! EROFS images: superblock, inodes, directories, attributes, every file's content.
#![no_main]

use hullwright::erofs::{Image, InodeKind};

/// Bytes of one file, and of all files together: a few bytes may decode to megabytes.
const FILE: u64 = 1 << 20;
const ALL: u64 = 4 << 20;
/// Where the superblock keeps its compatible features; the first is its checksum.
const FEATURES: usize = 1024 + 8;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Nobody guesses a CRC: leave it out, so that what lies behind it is reached.
    let mut data = data.to_vec();
    if let Some(byte) = data.get_mut(FEATURES) {
        *byte &= !1;
    }
    let Ok(image) = Image::open(data.as_slice()) else {
        return;
    };
    let Ok(paths) = image.walk() else { return };
    let mut room = ALL;
    for (path, inode) in &paths {
        let _ = image.xattrs(inode);
        match inode.kind {
            InodeKind::File if inode.size <= room => {
                if let Ok(bytes) = image.read_file(inode, FILE) {
                    assert_eq!(bytes.len() as u64, inode.size, "{path}");
                    room -= inode.size;
                }
            }
            InodeKind::Symlink => {
                let _ = image.read_link(inode);
            }
            _ => {}
        }
    }
    // What the walk has seen, looking it up must find.
    if let Some((path, inode)) = paths.last() {
        if let Ok(found) = image.lookup(path) {
            assert_eq!(found.as_ref(), Some(inode), "{path}");
        }
    }
});
