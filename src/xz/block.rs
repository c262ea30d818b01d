//! One block of an xz file, its check verified here.
//!
//! The decoder's own checks take a fifth of its time: it counts byte by byte. So it is given the block
//! as a stream of its own that says it has no check, with an index of one record behind it, and what
//! comes out is checked with the processor's instructions.

use std::io::{self, Chain, Cursor, Read};

use super::index::{Block, FOOTER_MAGIC, HEADER_MAGIC, STREAM_HEADER_LEN, write_vli};

/// Stream flags of a stream without checks (section 2.1.1.2).
const NO_CHECK: [u8; 2] = [0, 0];

/// How the content of blocks is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    None,
    Crc32,
    Crc64,
}

impl Kind {
    /// That of a file; `None` for SHA-256 and what is not known, which is left to the decoder.
    pub(super) fn of(file: &[u8]) -> Option<Self> {
        match file.get(HEADER_MAGIC.len()..STREAM_HEADER_LEN - 4)? {
            [0, 0] => Some(Self::None),
            [0, 1] => Some(Self::Crc32),
            [0, 4] => Some(Self::Crc64),
            _ => None,
        }
    }

    /// Length of the field, a multiple of four.
    const fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Crc32 => 4,
            Self::Crc64 => 8,
        }
    }
}

enum Check {
    None,
    Crc32(crc32fast::Hasher),
    Crc64(crc64fast::Digest),
}

impl Check {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::None => Self::None,
            Kind::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
            Kind::Crc64 => Self::Crc64(crc64fast::Digest::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Crc32(crc) => crc.update(bytes),
            Self::Crc64(crc) => crc.write(bytes),
        }
    }

    fn is(&self, field: &[u8]) -> bool {
        match self {
            Self::None => field.is_empty(),
            Self::Crc32(crc) => crc.clone().finalize().to_le_bytes() == field,
            Self::Crc64(crc) => crc.sum64().to_le_bytes() == field,
        }
    }
}

/// A block without its check, as a stream of its own.
type Stream<R> = Chain<Chain<Cursor<Vec<u8>>, R>, Cursor<Vec<u8>>>;

/// Reads what one block holds.
pub(super) struct BlockReader<R: Read> {
    decoder: lzma_rust2::XzReader<Stream<R>>,
    check: Check,
    field: Vec<u8>,
}

impl<R: Read> BlockReader<R> {
    /// `cut` gives a reader of a range of the file.
    pub(super) fn new(
        file: &[u8],
        block: &Block,
        kind: Kind,
        memory_kib: u32,
        cut: impl FnOnce(std::ops::Range<usize>) -> R,
    ) -> io::Result<Self> {
        let outside = || io::Error::new(io::ErrorKind::InvalidData, "an xz block outside its file");
        let check_at = block.range.end.checked_sub(kind.len());
        let check_at = check_at
            .filter(|&at| at > block.range.start)
            .ok_or_else(outside)?;
        let field = file.get(check_at..block.range.end).ok_or_else(outside)?;
        let unpadded = block.unpadded.checked_sub(kind.len() as u64);
        let tail = tail(unpadded.ok_or_else(outside)?, block.uncompressed);
        let mut header = HEADER_MAGIC.to_vec();
        header.extend_from_slice(&NO_CHECK);
        header.extend_from_slice(&crc32fast::hash(&NO_CHECK).to_le_bytes());
        let body = cut(block.range.start..check_at);
        let stream = Cursor::new(header).chain(body).chain(Cursor::new(tail));
        Ok(Self {
            decoder: lzma_rust2::XzReader::new_mem_limit(stream, false, memory_kib),
            check: Check::new(kind),
            field: field.to_vec(),
        })
    }
}

impl<R: Read> Read for BlockReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let n = self.decoder.read(buf)?;
        if let Some(bytes) = buf.get(..n).filter(|bytes| !bytes.is_empty()) {
            self.check.update(bytes);
        } else if !self.check.is(&self.field) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the check of an xz block does not fit its content",
            ));
        }
        Ok(n)
    }
}

/// Index and footer of a stream that holds one block and has no checks.
fn tail(unpadded: u64, uncompressed: u64) -> Vec<u8> {
    let mut out = vec![0];
    write_vli(&mut out, 1);
    write_vli(&mut out, unpadded);
    write_vli(&mut out, uncompressed);
    out.resize(out.len().next_multiple_of(4), 0);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    let backward = (out.len() / 4 - 1) as u32;
    let mut fields = backward.to_le_bytes().to_vec();
    fields.extend_from_slice(&NO_CHECK);
    out.extend_from_slice(&crc32fast::hash(&fields).to_le_bytes());
    out.extend_from_slice(&fields);
    out.extend_from_slice(FOOTER_MAGIC);
    out
}
