//! Compression of one chunk, and its reverse. Contexts are kept per thread: setting one up costs
//! more than compressing a small file.

use std::cell::RefCell;

use zstd::zstd_safe::CParameter;

use super::blob::{Codec, CodecSettings};

/// A chunk's stored bytes do not decode to what its record says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{codec:?} data of {stored} bytes does not decode to {wanted} bytes")]
pub struct DecodeError {
    /// The codec.
    pub codec: Codec,
    /// Length of the compressed data.
    pub stored: usize,
    /// Length it should decode to.
    pub wanted: usize,
}

struct Encoder {
    settings: CodecSettings,
    zstd: zstd::bulk::Compressor<'static>,
}

thread_local! {
    /// Where compressed bytes go first. It stays as long as the thread, at no more than a chunk: fresh
    /// pages for every chunk cost more than copying what is left of it.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static ENCODER: RefCell<Option<Encoder>> = const { RefCell::new(None) };
    static DECODER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The window of zstd frames for chunks of `chunk` bytes, as a power of two. A folded tail makes a
/// chunk longer than its window, never the window larger than what the image's configuration record
/// announces: the kernel allocates that much and refuses frames that need more
/// (`fs/erofs/decompressor_zstd.c`).
pub(super) const fn window_log(chunk: u32) -> u32 {
    let log = chunk.next_power_of_two().trailing_zeros();
    if log < 10 {
        10
    } else if log > 20 {
        20
    } else {
        log
    }
}

/// The level for an input of `len` bytes. From 13 to 15, zstd looks for the best sequence of matches in
/// inputs of up to 256 KiB only (`btopt` in `ZSTD_defaultCParameters`, lib/compress/clevels.h); a longer
/// one, a pack above all, gets the level that does so there.
const fn zstd_level(level: i32, len: usize) -> i32 {
    if len > 256 << 10 && 13 <= level && level <= 15 {
        level + 3
    } else {
        level
    }
}

fn zstd_encoder(settings: CodecSettings) -> std::io::Result<zstd::bulk::Compressor<'static>> {
    let mut zstd = zstd::bulk::Compressor::new(settings.level)?;
    zstd.set_parameter(CParameter::WindowLog(window_log(settings.chunk)))?;
    zstd.set_parameter(CParameter::ChecksumFlag(false))?;
    zstd.set_parameter(CParameter::ContentSizeFlag(true))?;
    zstd.set_parameter(CParameter::DictIdFlag(false))?;
    Ok(zstd)
}

/// Compresses `raw` to at most `most` bytes and gives them to `take`; `None` when it does not fit (or the
/// codec is none).
pub(super) fn encode<T>(
    raw: &[u8],
    most: usize,
    settings: CodecSettings,
    take: impl FnOnce(Option<&[u8]>) -> T,
) -> T {
    ROOM.with_borrow_mut(|room| {
        if room.len() < most {
            room.resize(most, 0);
        }
        let room = &mut room[..most];
        let len = encode_into(raw, room, settings);
        take(len.map(|len| &room[..len]))
    })
}

fn encode_into(raw: &[u8], out: &mut [u8], settings: CodecSettings) -> Option<usize> {
    match settings.codec {
        Codec::None => None,
        Codec::Lz4hc => lzzzz::lz4_hc::compress(raw, out, settings.level)
            .ok()
            .filter(|&len| len > 0),
        Codec::Zstd => ENCODER.with_borrow_mut(|slot| {
            if slot.as_ref().is_none_or(|e| e.settings != settings) {
                *slot = Some(Encoder {
                    settings,
                    zstd: zstd_encoder(settings).ok()?,
                });
            }
            let zstd = &mut slot.as_mut()?.zstd;
            let level = zstd_level(settings.level, raw.len());
            // Not `set_compression_level`: it loads an empty dictionary as well, which is an error after an
            // input that did not fit.
            zstd.set_parameter(CParameter::CompressionLevel(level))
                .ok()?;
            zstd.compress_to_buffer(raw, out).ok()
        }),
    }
}

/// Decompresses `stored` to exactly `out.len()` bytes.
///
/// # Errors
/// The data is damaged or has another length.
pub(super) fn decode(codec: Codec, stored: &[u8], out: &mut [u8]) -> Result<(), DecodeError> {
    let error = || DecodeError {
        codec,
        stored: stored.len(),
        wanted: out.len(),
    };
    let error_value = error();
    let len = match codec {
        Codec::None => None,
        Codec::Lz4hc => lzzzz::lz4::decompress(stored, out).ok(),
        Codec::Zstd => DECODER.with_borrow_mut(|slot| {
            if slot.is_none() {
                *slot = zstd::bulk::Decompressor::new().ok();
            }
            slot.as_mut()?.decompress_to_buffer(stored, out).ok()
        }),
    };
    if len == Some(out.len()) {
        Ok(())
    } else {
        Err(error_value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::blob::Tails;
    use super::*;

    #[test]
    fn windows_stay_within_what_the_kernel_allocates() {
        for (chunk, log) in [
            (4096, 12),
            (65536, 16),
            (262_144, 18),
            (1 << 20, 20),
            (1 << 22, 20),
        ] {
            assert_eq!(window_log(chunk), log, "{chunk}");
        }
    }

    #[test]
    fn what_a_thread_has_compressed_before_does_not_matter() {
        let settings = CodecSettings {
            codec: Codec::Zstd,
            level: 15,
            chunk: 262_144,
            tails: Tails::Own,
        };
        let text: Vec<u8> = (0_u32..100_000)
            .flat_map(|i| (i / 7).to_le_bytes())
            .collect();
        let compressed =
            move |len: usize| encode(&text[..len], len, settings, |out| out.map(<[u8]>::to_vec));
        let alone = {
            let compressed = compressed.clone();
            std::thread::spawn(move || compressed(400_000)).join()
        };
        let alone = alone.unwrap().unwrap();
        for before in [4000, 262_144, 262_145] {
            compressed(before).unwrap();
            let noise = blake3::Hasher::new().finalize();
            encode(noise.as_bytes(), 8, settings, |out| assert_eq!(out, None));
            assert!(compressed(400_000).unwrap() == alone, "{before}");
        }
    }

    #[test]
    fn a_damaged_chunk_is_an_error_not_other_bytes() {
        let raw = b"abcabcabc".repeat(1000);
        for codec in [Codec::Zstd, Codec::Lz4hc] {
            let settings = CodecSettings {
                codec,
                level: 3,
                chunk: 65536,
                tails: Tails::Own,
            };
            let out = encode(&raw, 4096, settings, |out| out.unwrap().to_vec());
            let mut back = vec![0; raw.len()];
            decode(codec, &out, &mut back).unwrap();
            assert_eq!(back, raw);
            let mut short = vec![0; raw.len() - 1];
            decode(codec, &out, &mut short).unwrap_err();
            let mut long = vec![0; raw.len() + 1];
            decode(codec, &out, &mut long).unwrap_err();
            encode(&raw, 8, settings, |out| assert_eq!(out, None));
        }
    }
}
