//! Directory blocks: entries of 12 bytes, sorted by name, and after them the names, which a block
//! holds complete. The first entry's name offset tells how many entries a block has.

use super::format::BLOCK;

const ENTRY: usize = 12;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name.
    pub name: Vec<u8>,
    /// Inode number.
    pub nid: u64,
    /// `EROFS_FT_*`.
    pub file_type: u8,
}

/// How many of `names` (lengths, in order) each block takes, and the bytes of the last block.
pub(super) fn divide(names: impl Iterator<Item = usize>) -> (Vec<usize>, u64) {
    let mut counts = Vec::new();
    let mut count = 0;
    let mut used = 0;
    for len in names {
        if used + ENTRY + len > BLOCK as usize {
            counts.push(count);
            (count, used) = (0, 0);
        }
        count += 1;
        used += ENTRY + len;
    }
    if count > 0 {
        counts.push(count);
    }
    (counts, used as u64)
}

/// Encodes a directory; `entries` are sorted by name. All blocks but the last are padded.
pub(super) fn encode(entries: &[DirEntry]) -> Vec<u8> {
    let (counts, _) = divide(entries.iter().map(|e| e.name.len()));
    let mut out = Vec::new();
    let mut rest = entries;
    for (i, count) in counts.iter().enumerate() {
        let (block, tail) = rest.split_at(*count);
        rest = tail;
        let mut offset = block.len() * ENTRY;
        for entry in block {
            out.extend(entry.nid.to_le_bytes());
            out.extend((offset as u16).to_le_bytes());
            out.extend([entry.file_type, 0]);
            offset += entry.name.len();
        }
        for entry in block {
            out.extend_from_slice(&entry.name);
        }
        if i + 1 < counts.len() {
            out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
        }
    }
    out
}

/// Decodes one block (or the shorter last one); `None` when it is damaged.
pub(super) fn decode_block(block: &[u8]) -> Option<Vec<DirEntry>> {
    let offset_of = |i: usize| -> Option<usize> {
        let at = i.checked_mul(ENTRY)?;
        let bytes = block.get(at..)?.get(8..10)?;
        Some(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    };
    let first = offset_of(0)?;
    if first == 0 || first % ENTRY != 0 || first > block.len() {
        return None;
    }
    let count = first / ENTRY;
    let mut out = Vec::with_capacity(count);
    for i in 0..count {
        let entry = block.get(i * ENTRY..(i + 1) * ENTRY)?;
        let nid = u64::from_le_bytes(entry.get(..8)?.try_into().ok()?);
        let begin = offset_of(i)?;
        let name = if i + 1 < count {
            block.get(begin..offset_of(i + 1)?)?
        } else {
            let name = block.get(begin..)?;
            // Padding follows the last name of a full block.
            let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
            &name[..end]
        };
        if begin < first
            || name.is_empty()
            || name.len() > 255
            || name.contains(&0)
            || name.contains(&b'/')
        {
            return None;
        }
        out.push(DirEntry {
            name: name.to_vec(),
            nid,
            file_type: *entry.get(10)?,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_over_many_blocks() {
        for count in [1, 2, 100, 1000] {
            let mut entries: Vec<_> = (0..count)
                .map(|i| DirEntry {
                    name: format!("{}{i}", "x".repeat(i % 200)).into_bytes(),
                    nid: i as u64 * 7,
                    file_type: 1,
                })
                .collect();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            let bytes = encode(&entries);
            let (counts, last) = divide(entries.iter().map(|e| e.name.len()));
            assert_eq!(bytes.len() as u64, (counts.len() as u64 - 1) * 4096 + last);
            let back: Vec<_> = bytes
                .chunks(4096)
                .flat_map(|block| decode_block(block).unwrap())
                .collect();
            assert_eq!(back, entries);
        }
    }

    #[test]
    fn damaged_blocks_are_refused() {
        let good = encode(&[DirEntry {
            name: b"name".to_vec(),
            nid: 1,
            file_type: 1,
        }]);
        assert!(decode_block(&good).is_some());
        for (at, value) in [(8, 0), (8, 13), (8, 24), (9, 200), (12, 0), (14, b'/')] {
            let mut bad = good.clone();
            bad[at] = value;
            let got = decode_block(&bad);
            assert!(got.is_none_or(|e| e[0].name != b"name"), "{at} {value}");
        }
        assert_eq!(decode_block(&[]), None);
        assert_eq!(decode_block(&[0; 4096]), None);
    }
}
