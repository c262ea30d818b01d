//! Which bytes differ between two states of an image, and what they are.

use std::collections::BTreeMap;

use serde::Serialize;

use super::place::root_hash_range;
use crate::esp::SparseImage;
use crate::sign::authenticode;
use crate::uki::format::optional;
use crate::uki::read::Pe;

/// Blocks in which a partition's data is compared and written.
pub(super) const BLOCK: usize = 4096;
/// Equal bytes between two runs that make them two.
const GAP: u64 = 512;

/// A run of changed bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// File of the output directory.
    pub file: String,
    /// Byte offset in it.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
    /// What is there: `signature`, `root hash signature`, `checksum`, `content`, for files of the EFI
    /// system partition with their path.
    pub what: String,
}

/// Runs of offsets, in ascending order.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<(u64, u64)>);

impl Runs {
    /// Adds what differs between two stretches that begin at `base`.
    pub fn compare(&mut self, base: u64, old: &[u8], new: &[u8]) {
        let longest = old.len().max(new.len());
        for index in 0..longest {
            if old.get(index) != new.get(index) {
                self.add(base + index as u64);
            }
        }
    }

    fn add(&mut self, offset: u64) {
        match self.0.last_mut() {
            Some((at, len)) if offset < *at + *len + GAP => *len = offset + 1 - *at,
            _ => self.0.push((offset, 1)),
        }
    }

    /// The runs, each cut where `edges` has an offset.
    pub fn cut(self, edges: &[u64]) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        for (mut at, mut len) in self.0 {
            let inside: Vec<u64> = edges
                .iter()
                .copied()
                .filter(|edge| (at + 1..at + len).contains(edge))
                .collect();
            for edge in inside {
                out.push((at, edge - at));
                len -= edge - at;
                at = edge;
            }
            out.push((at, len));
        }
        out
    }
}

/// The blocks of a sparse image that hold data, by offset.
pub(super) fn blocks(image: &SparseImage) -> BTreeMap<u64, &[u8]> {
    image
        .runs()
        .iter()
        .flat_map(|run| {
            run.pieces()
                .flat_map(|piece| piece.chunks(BLOCK))
                .enumerate()
                .map(|(number, block)| (run.offset + (number * BLOCK) as u64, block))
        })
        .collect()
}

/// What lies at an offset of a file.
pub(super) fn part(content: &[u8], offset: u64) -> &'static str {
    let Ok(pe) = Pe::parse(content) else {
        return "content";
    };
    let checksum = (pe.optional_at() + optional::CHECKSUM) as u64;
    if (checksum..checksum + 4).contains(&offset) {
        return "checksum";
    }
    if root_hash_range(content).is_some_and(|range| range.contains(&(offset as usize))) {
        return "root hash signature";
    }
    match authenticode::place(&pe) {
        Some(place) if offset >= place as u64 => "signature",
        _ => "content",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_what_differs_without_small_gaps_and_end_at_edges() {
        let mut runs = Runs::default();
        let old = [0; 2000];
        let mut new = old;
        for at in [3, 5, 600, 1113, 1900] {
            new[at] = 1;
        }
        runs.compare(1000, &old, &new);
        runs.compare(9000, b"ab", b"abc");
        assert_eq!(
            runs.cut(&[1004, 1600, 9000]),
            [
                (1003, 1),
                (1004, 2),
                (1600, 1),
                (2113, 1),
                (2900, 1),
                (9002, 1),
            ]
        );
    }

    #[test]
    fn parts_of_a_signed_program_are_told_apart() {
        let reserved = authenticode::reserve(crate::uki::write::tests::kernel()).unwrap();
        let place = reserved.len() as u64 - authenticode::PLACE as u64;
        let checksum = 0x58 + optional::CHECKSUM as u64;
        for (offset, expected) in [
            (0, "content"),
            (checksum - 1, "content"),
            (checksum, "checksum"),
            (checksum + 3, "checksum"),
            (checksum + 4, "content"),
            (place - 1, "content"),
            (place, "signature"),
        ] {
            assert_eq!(part(&reserved, offset), expected, "{offset}");
        }
        assert_eq!(part(b"text", 1), "content");
    }
}
