//! dm-verity hash tree and superblock.
//!
//! The hash device has the superblock in block 0, then the levels of the tree from the top down. Each
//! hash block holds 128 digests of SHA-256(salt ‖ block) of the level below, the lowest one of the
//! data; the root hash is the digest of the only block of the top level.

pub mod format;
mod read;
pub mod signature;
mod write;

pub use format::SuperBlock;
pub use read::{VerityError, root_of, verify};
pub(crate) use write::hash_blocks;
pub use write::{LeafHasher, Leaves, Verity, build};

use crate::digest::Sha256;

/// The salt of every image of `os_id`. It is fixed, so that leaf hashes of unchanged content can be
/// kept from build to build.
#[must_use]
pub fn salt(os_id: &str) -> [u8; 32] {
    Sha256::of(format!("hullwright-verity-salt:{os_id}").as_bytes()).0
}

/// Bytes of the hash device for an image of `image` bytes.
#[must_use]
pub fn size_for(image: u64) -> u64 {
    let block = format::BLOCK as u64;
    let levels: u64 = format::levels(image.div_ceil(block)).iter().sum();
    (1 + levels) * block
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use uuid::Uuid;

    /// `blocks` blocks, each different.
    fn image(blocks: usize) -> Vec<u8> {
        (0..blocks)
            .flat_map(|i| {
                let mut block = vec![0; 4096];
                block[..8].copy_from_slice(&(i as u64 + 1).to_le_bytes());
                block
            })
            .collect()
    }

    fn tree(image: &[u8]) -> (Vec<u8>, Verity) {
        let mut out = Vec::new();
        let verity = build(
            &mut &*image,
            image.len() as u64,
            &salt("test"),
            Uuid::from_u128(5),
            &mut out,
        )
        .unwrap();
        (out, verity)
    }

    #[test]
    fn the_salt_is_the_contracts() {
        assert_eq!(salt("hull"), Sha256::of(b"hullwright-verity-salt:hull").0);
    }

    #[test]
    fn trees_of_every_height_verify() {
        for (blocks, hash_blocks) in [
            (1, 1),
            (2, 2),
            (128, 2),
            (129, 4),
            (16384, 130),
            (16385, 133),
        ] {
            let image = image(blocks);
            let (out, verity) = tree(&image);
            assert_eq!(verity.hash_blocks, hash_blocks, "{blocks}");
            assert_eq!(verity.size, out.len() as u64);
            assert_eq!(verity.data_blocks, blocks as u64);
            let found = verify(&mut image.as_slice(), &out, &verity.root_hash).unwrap();
            assert_eq!(found.data_blocks, blocks as u64);
        }
    }

    #[test]
    fn the_tree_is_that_of_the_reference_tool() {
        // veritysetup format --salt=ab…ab (32 bytes) over 300 blocks as `image` makes them.
        let image = image(300);
        let mut out = Vec::new();
        let verity = build(
            &mut image.as_slice(),
            image.len() as u64,
            &[0xAB; 32],
            Uuid::from_u128(5),
            &mut out,
        )
        .unwrap();
        assert_eq!(verity.root_hash.to_string(), ROOT_OF_300);
    }

    const ROOT_OF_300: &str = "a2dbf129a7334e39302adf9556be59e741f5620fe9e825ff2518c1b199846ed0";

    #[test]
    fn one_flipped_bit_anywhere_is_found() {
        let image = image(300);
        let (out, verity) = tree(&image);
        for at in [0, 4096 * 150 + 17, image.len() - 1] {
            let mut bad = image.clone();
            bad[at] ^= 1;
            let error = verify(&mut bad.as_slice(), &out, &verity.root_hash).unwrap_err();
            assert!(
                matches!(error, VerityError::Data { block } if block == at as u64 / 4096),
                "{error}"
            );
        }
        for at in [4096, 4096 + 40, 2 * 4096, 4 * 4096, out.len() - 1] {
            let mut bad = out.clone();
            bad[at] ^= 1;
            assert!(verify(&mut image.as_slice(), &bad, &verity.root_hash).is_err());
        }
        let other = Sha256::of(b"other");
        assert!(verify(&mut image.as_slice(), &out, &other).is_err());
    }

    #[test]
    fn damaged_superblocks_and_short_trees_are_refused() {
        let image = image(300);
        let (out, verity) = tree(&image);
        for (at, value) in [
            (0, 0),
            (8, 2),
            (12, 0),
            (32, b'x'),
            (65, 0),
            (69, 0),
            (72, 1),
            (79, 255),
            (81, 255),
            (80, 31),
        ] {
            let mut bad = out.clone();
            bad[at] = value;
            verify(&mut image.as_slice(), &bad, &verity.root_hash).unwrap_err();
        }
        for len in [0, 100, 511, 4096, out.len() - 1] {
            verify(&mut image.as_slice(), &out[..len], &verity.root_hash).unwrap_err();
        }
        verify(&mut &image[..image.len() - 4096], &out, &verity.root_hash).unwrap_err();
        let mut longer = image;
        longer.extend([0; 4096]);
        verify(&mut longer.as_slice(), &out, &verity.root_hash).unwrap_err();
    }

    #[test]
    fn hashing_while_writing_gives_the_same_tree_however_the_writes_are_cut() {
        let image = image(3000);
        let (out, verity) = tree(&image);
        let salt = salt("test");
        for step in [1000, 4096, 5_000_000, 12_288_000] {
            let mut hasher = LeafHasher::new(Vec::new(), salt);
            for part in image.chunks(step) {
                hasher.write_all(part).unwrap();
            }
            let (copy, leaves) = hasher.finish().unwrap();
            assert_eq!(copy, image);
            let mut again = Vec::new();
            assert_eq!(
                leaves.write(Uuid::from_u128(5), &mut again).unwrap(),
                verity
            );
            assert_eq!(again, out);
        }
        let mut hasher = LeafHasher::new(Vec::new(), salt);
        hasher.write_all(&image[..100]).unwrap();
        assert!(hasher.finish().is_err(), "a partial block is an error");
    }

    #[test]
    fn leaves_known_beforehand_are_taken_as_given() {
        let image = image(1500);
        let (out, _) = tree(&image);
        let salt = salt("test");
        let (head, rest) = image.split_at(500 * 4096);
        let known = hash_blocks(&salt, rest);
        let mut hasher = LeafHasher::new(Vec::new(), salt);
        hasher.write_all(head).unwrap();
        hasher.write_known(rest, &known).unwrap();
        assert!(hasher.write_known(rest, &known[1..]).is_err());
        let (copy, leaves) = hasher.finish().unwrap();
        assert_eq!(copy, image);
        let mut again = Vec::new();
        leaves.write(Uuid::from_u128(5), &mut again).unwrap();
        assert_eq!(again, out);
    }
}
