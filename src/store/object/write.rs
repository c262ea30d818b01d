//! Writing an object file.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;

use super::format::{Header, KIND_MAX, TABLE_ENTRY, kind_bytes, pieces};

/// The data of an object that is to be written, part by part.
#[derive(Debug, Default)]
pub struct NewData<'a> {
    parts: Vec<Cow<'a, [u8]>>,
    len: u64,
}

impl<'a> NewData<'a> {
    /// Adds a part and returns where in the data it will lie. Parts whose lengths are multiples of a
    /// block, added before others, begin at blocks of the file.
    pub fn add(&mut self, bytes: impl Into<Cow<'a, [u8]>>) -> Range<u64> {
        let bytes = bytes.into();
        let start = self.len;
        self.len += bytes.len() as u64;
        self.parts.push(bytes);
        start..self.len
    }

    fn table(&self) -> (u32, Vec<u8>) {
        let mut table = Vec::new();
        for part in &self.parts {
            for range in pieces(part.len() as u64) {
                let piece = slice(part, &range);
                table.extend_from_slice(&(piece.len() as u32).to_le_bytes());
                table.extend_from_slice(blake3::hash(piece).as_bytes());
            }
        }
        ((table.len() / TABLE_ENTRY) as u32, table)
    }
}

fn slice<'a>(part: &'a [u8], range: &Range<u64>) -> &'a [u8] {
    part.get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}

/// Writes an object of `kind` under `key`, and returns its length.
///
/// # Errors
/// What `file` returns.
pub fn write(
    file: &std::fs::File,
    kind: &str,
    key: &blake3::Hash,
    head: &[u8],
    data: &NewData<'_>,
) -> io::Result<u64> {
    debug_assert!(kind.len() <= KIND_MAX, "the kind `{kind}` is too long");
    let (count, table) = data.table();
    let header = Header {
        pieces: count,
        kind: kind_bytes(kind),
        key: *key.as_bytes(),
        head_len: head.len() as u64,
        data_len: data.len,
        head_sum: *blake3::Hasher::new()
            .update(head)
            .update(&table)
            .finalize()
            .as_bytes(),
    };
    let too_large = || io::Error::other("an object that is too large");
    let data_at = header.data_at().ok_or_else(too_large)?;
    let mut out = BufWriter::with_capacity(1 << 18, file);
    out.write_all(&header.encode())?;
    out.write_all(head)?;
    out.write_all(&table)?;
    let written = super::format::HEADER + head.len() + table.len();
    out.write_all(&vec![0; data_at as usize - written])?;
    for part in &data.parts {
        out.write_all(part)?;
    }
    out.flush()?;
    header.file_len().ok_or_else(too_large)
}
