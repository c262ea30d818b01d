//! Decompression of the members of a `.deb`, bounded in memory and in output.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use super::limits::{DECODER_MEMORY_KIB, ZSTD_WINDOW_LOG};
use super::xz;

/// How a member is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// xz (The .xz File Format 1.2.1).
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Codec {
    /// The codec for what follows `.tar` in a member's name.
    #[must_use]
    pub fn from_extension(extension: &[u8]) -> Option<Self> {
        Some(match extension {
            b"" => Self::None,
            b".gz" => Self::Gzip,
            b".xz" => Self::Xz,
            b".zst" => Self::Zstd,
            _ => return None,
        })
    }
}

/// More bytes came out than the limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("decompresses to more than {limit} bytes")]
pub struct TooLarge {
    /// The limit.
    pub limit: u64,
}

/// A reader of `file[range]`, decompressed, that fails once more than `limit` bytes came out.
///
/// Large xz members of several blocks are decoded by the threads of rayon's pool, ahead of the
/// reader and within [`super::limits::XZ_READ_AHEAD`]; the bytes are the same.
///
/// # Errors
/// A range outside the file, or a decoder that can't be set up.
pub fn open(
    codec: Codec,
    file: &Arc<Vec<u8>>,
    range: Range<usize>,
    limit: u64,
) -> io::Result<Box<dyn Read>> {
    let part = Part::new(file.clone(), range)?;
    let inner: Box<dyn Read> = match codec {
        Codec::None => Box::new(part),
        Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::new(
            part,
        ))),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(part)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Codec::Xz => match xz::ParallelReader::open(&part) {
            Some(reader) => Box::new(reader),
            None => crate::xz::reader(part, DECODER_MEMORY_KIB),
        },
    };
    Ok(Box::new(Limited {
        inner: Some(inner),
        left: limit,
        limit,
    }))
}

/// A range of a file in memory that is shared between threads.
#[derive(Debug, Clone)]
pub(super) struct Part {
    file: Arc<Vec<u8>>,
    at: usize,
    end: usize,
}

impl Part {
    fn new(file: Arc<Vec<u8>>, range: Range<usize>) -> io::Result<Self> {
        if range.start > range.end || range.end > file.len() {
            return Err(io::Error::other("a member outside the file"));
        }
        Ok(Self {
            file,
            at: range.start,
            end: range.end,
        })
    }

    /// What is left.
    pub(super) fn rest(&self) -> &[u8] {
        self.file.get(self.at..self.end).unwrap_or_default()
    }
}

impl crate::xz::File for Part {
    type Cut = Self;

    fn whole(&self) -> &[u8] {
        self.rest()
    }

    fn cut(&self, range: Range<usize>) -> Self {
        let at = self.at.saturating_add(range.start).min(self.end);
        let end = self.at.saturating_add(range.end).clamp(at, self.end);
        Self {
            file: self.file.clone(),
            at,
            end,
        }
    }
}

impl Read for Part {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.rest().read(buf)?;
        self.at = self.at.saturating_add(n);
        Ok(n)
    }
}

struct Limited<R> {
    /// Gone after the first error: decoders need not be in a state to be asked again.
    inner: Option<R>,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        // One byte beyond what is allowed tells an output that ends here from one that goes on.
        let ask = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX);
        let ask = ask.min(buf.len());
        let Some(inner) = &mut self.inner else {
            return Err(io::Error::other("reading on after an error"));
        };
        let result = inner.read(buf.get_mut(..ask).unwrap_or_default());
        let result = result.and_then(|n| {
            let limit = self.limit;
            self.left = self
                .left
                .checked_sub(n as u64)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, TooLarge { limit }))?;
            Ok(n)
        });
        if result.is_err() {
            self.inner = None;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::testing::compress;

    fn through(codec: Codec, packed: Vec<u8>, limit: u64) -> io::Result<Vec<u8>> {
        let range = 0..packed.len();
        let mut out = Vec::new();
        open(codec, &Arc::new(packed), range, limit)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn each_codec_gives_back_what_went_in_and_stops_at_the_limit() {
        let plain: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        for codec in [Codec::None, Codec::Gzip, Codec::Xz, Codec::Zstd] {
            let packed = compress(codec, &plain, None);
            let len = plain.len() as u64;
            assert!(through(codec, packed.clone(), len).unwrap() == plain);
            let error = through(codec, packed.clone(), len - 1).unwrap_err();
            assert!(error.to_string().contains("more than"), "{error}");
            if codec != Codec::None {
                let cut = packed[..packed.len() - 9].to_vec();
                assert!(through(codec, cut, len).is_err(), "{codec:?} cut off");
            }
        }
    }

    #[test]
    fn a_bomb_is_an_error_long_before_it_fills_the_memory() {
        let zeros = vec![0; 8 << 20];
        for codec in [Codec::Gzip, Codec::Xz, Codec::Zstd] {
            let packed = compress(codec, &zeros, None);
            assert!(packed.len() < 100_000);
            assert!(through(codec, packed, 1 << 20).is_err(), "{codec:?}");
        }
    }
}
