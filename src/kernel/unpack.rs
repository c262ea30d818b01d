//! Decompression of module files, by the suffix that kmod recognises.

use std::borrow::Cow;
use std::io::Read;

use anyhow::{Context, Result, bail};

/// No module is larger than this; a file that unpacks to more is damaged or hostile.
const LIMIT: u64 = 512 << 20;

/// Suffixes of compressed modules, in kmod's order.
const SUFFIXES: [&str; 3] = [".gz", ".xz", ".zst"];

/// `path` without a compression suffix: where the same module lies uncompressed.
#[must_use]
pub fn plain_path(path: &str) -> &str {
    SUFFIXES
        .iter()
        .find_map(|suffix| path.strip_suffix(suffix))
        .unwrap_or(path)
}

/// Whether `path` names a module.
#[must_use]
pub(super) fn is_module(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    plain_path(name)
        .strip_suffix(".ko")
        .is_some_and(|stem| !stem.is_empty())
}

/// The uncompressed bytes of the module file `path`.
///
/// # Errors
/// A damaged stream, or one that unpacks to more than 512 MiB.
pub fn decompress<'a>(path: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    let reader: Box<dyn Read + '_> = if path.ends_with(".xz") {
        crate::xz::reader(bytes, 128 << 10)
    } else if path.ends_with(".zst") {
        Box::new(zstd::stream::read::Decoder::new(bytes).context("starting zstd")?)
    } else if path.ends_with(".gz") {
        Box::new(flate2::read::MultiGzDecoder::new(bytes))
    } else {
        return Ok(Cow::Borrowed(bytes));
    };
    let mut out = Vec::new();
    reader
        .take(LIMIT + 1)
        .read_to_end(&mut out)
        .with_context(|| format!("decompressing {path}"))?;
    if out.len() as u64 > LIMIT {
        bail!("{path} unpacks to more than {} MiB", LIMIT >> 20);
    }
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_known_by_their_suffix() {
        for (path, module, plain) in [
            (
                "kernel/fs/erofs/erofs.ko.xz",
                true,
                "kernel/fs/erofs/erofs.ko",
            ),
            ("a/b.ko", true, "a/b.ko"),
            ("a/b.ko.zst", true, "a/b.ko"),
            ("a/.ko", false, "a/.ko"),
            ("a/.ko.gz", false, "a/.ko"),
            ("a/b.ko.bz2", false, "a/b.ko.bz2"),
            ("modules.order", false, "modules.order"),
        ] {
            assert_eq!(is_module(path), module, "{path}");
            assert_eq!(plain_path(path), plain);
        }
    }

    #[test]
    fn zstd_and_plain_modules_unpack_and_damage_is_an_error() {
        let data = b"module ".repeat(1000);
        let packed = zstd::bulk::compress(&data, 3).unwrap();
        assert_eq!(decompress("a.ko.zst", &packed).unwrap(), &data[..]);
        assert_eq!(decompress("a.ko", &data).unwrap(), &data[..]);
        for suffix in ["zst", "xz", "gz"] {
            assert!(decompress(&format!("a.ko.{suffix}"), b"not compressed").is_err());
        }
    }
}
