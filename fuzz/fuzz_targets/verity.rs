//! dm-verity superblocks and trees.
#![no_main]

use hullwright::digest::Sha256;
use hullwright::verity::{self, SuperBlock};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(superblock) = SuperBlock::parse(data) else {
        return;
    };
    assert_eq!(
        SuperBlock::parse(&superblock.to_bytes()).expect("what we write, we read"),
        superblock
    );
    let _ = verity::verify(&mut &data[..data.len() / 2], data, &Sha256([7; 32]));
});
