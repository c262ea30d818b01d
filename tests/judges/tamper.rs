//! Damage to `/usr`, bit by bit: none of it is ever taken for good.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use hullwright::digest::Sha256;
use hullwright::report::manifest::Manifest;
use hullwright::verity::format::BLOCK;
use hullwright::verity::{self};

use crate::fixture::{fixture, timed};
use crate::support::{good, tool};

/// How many blocks of each kind are damaged.
const DATA: usize = 50;
const HASHES: usize = 20;
/// Another one tries other blocks.
const SEED: u64 = 0x6875_6c6c_7772_6974;

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `count` different numbers below `limit`.
    fn choose(&mut self, count: usize, limit: u64) -> Vec<u64> {
        let mut chosen = std::collections::BTreeSet::new();
        while chosen.len() < count.min(limit as usize) {
            chosen.insert(self.next() % limit);
        }
        chosen.into_iter().collect()
    }
}

/// Turns one bit over; twice is as it was.
fn flip(file: &File, bit: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8).unwrap();
}

fn judged_good(usr: &Path, hashes: &Path, root: &str) -> bool {
    let mut verify = tool("veritysetup");
    let output = verify
        .arg("verify")
        .args([usr, hashes])
        .arg(root)
        .output()
        .unwrap();
    output.status.success()
}

fn read_good(usr: &Path, hashes: &Path, root: &Sha256) -> bool {
    let tree = fs::read(hashes).unwrap();
    verity::verify(&mut File::open(usr).unwrap(), &tree, root).is_ok()
}

#[test]
fn one_bit_in_any_block_of_usr_or_its_hash_tree_is_noticed() {
    let fixture = fixture();
    let dir = fixture.root.join("tamper");
    fs::create_dir(&dir).unwrap();
    let (usr, hashes) = (dir.join("usr.erofs"), dir.join("usr.verity"));
    for (name, to) in [("usr.erofs", &usr), ("usr.verity", &hashes)] {
        let mut copy = tool("cp");
        good(
            copy.arg("--reflink=auto")
                .arg(fixture.out.join(name))
                .arg(to),
        );
    }
    let text = fs::read_to_string(fixture.out.join("manifest.json")).unwrap();
    let root = serde_json::from_str::<Manifest>(&text).unwrap().root_hash;
    let open = |path| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap()
    };
    let block = BLOCK as u64;
    let mut random = Random(SEED);
    let mut places = Vec::new();
    for (path, first, count) in [(&usr, 0, DATA), (&hashes, 1, HASHES)] {
        // Block 0 of the hash device is the superblock, which describes the tree and is not in it.
        let blocks = path.metadata().unwrap().len() / block - first;
        for at in random.choose(count, blocks) {
            let bit = (at + first) * block * 8 + random.next() % (block * 8);
            places.push((path, bit));
        }
    }
    assert_eq!(places.len(), DATA + HASHES);
    timed("70 flipped bits, judged twice each", || {
        for (path, bit) in places {
            let file = open(path);
            flip(&file, bit);
            let shown = format!("bit {bit} of {}", path.display());
            assert!(!judged_good(&usr, &hashes, &root.to_string()), "{shown}");
            assert!(!read_good(&usr, &hashes, &root), "{shown}");
            flip(&file, bit);
        }
    });
    assert!(judged_good(&usr, &hashes, &root.to_string()));
    assert!(read_good(&usr, &hashes, &root));
}
