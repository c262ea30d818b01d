//! Finds room for inodes in the metadata area, so that little of it is lost.

use std::collections::BTreeSet;

use super::format::{BLOCK, INLINE_MAX, SLOT};

const BLOCK64: u64 = BLOCK as u64;

/// Best fit over the free ends of blocks. Deterministic: of equal gaps the first is taken.
#[derive(Debug)]
pub(super) struct Placer {
    /// Free runs inside a block: (length, offset).
    gaps: BTreeSet<(u64, u64)>,
    /// First byte after the blocks in use.
    end: u64,
}

impl Placer {
    /// A metadata area that begins at byte `start`.
    pub(super) fn new(start: u64) -> Self {
        let mut placer = Self {
            gaps: BTreeSet::new(),
            end: start.next_multiple_of(BLOCK64),
        };
        placer.free(start.next_multiple_of(SLOT), placer.end);
        placer
    }

    fn free(&mut self, from: u64, to: u64) {
        if from < to {
            self.gaps.insert((to - from, from));
        }
    }

    /// The offset for an inode whose fixed part, attributes and indexes take `head` bytes, and behind
    /// which `tail` bytes (at most [`INLINE_MAX`]) lie that must not cross a block.
    pub(super) fn place(&mut self, head: u64, tail: u64) -> u64 {
        debug_assert!(tail <= u64::from(INLINE_MAX));
        let need = (head + tail).next_multiple_of(SLOT);
        if need <= BLOCK64
            && let Some(&gap) = self.gaps.range((need, 0)..).next()
        {
            self.gaps.remove(&gap);
            let (len, at) = gap;
            self.free(at + need, at + len);
            return at;
        }
        let start = self.end;
        let over = head % BLOCK64;
        let at = if over + tail > BLOCK64 {
            start + (BLOCK64 - over).next_multiple_of(SLOT)
        } else {
            start
        };
        self.free(start, at);
        let used = at + need;
        self.end = used.next_multiple_of(BLOCK64);
        self.free(used, self.end);
        at
    }

    /// First byte after the metadata, a multiple of the block size.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_overlaps_and_no_tail_crosses_a_block(
            items in proptest::collection::vec((32_u64..9000, 0_u64..=4032), 1..200),
            start in 1000_u64..4096,
        ) {
            let mut placer = Placer::new(start);
            let mut taken = Vec::new();
            for (head, tail) in items {
                let at = placer.place(head, tail);
                prop_assert_eq!(at % 32, 0);
                prop_assert!(at >= start && at + head + tail <= placer.end());
                prop_assert!(at % 4096 <= 4096 - 32);
                if tail > 0 {
                    prop_assert!((at + head) % 4096 + tail <= 4096);
                }
                taken.push((at, at + head + tail));
            }
            taken.sort_unstable();
            for pair in taken.windows(2) {
                prop_assert!(pair[0].1 <= pair[1].0);
            }
        }
    }
}
