//! The data archives of packages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hullwright::package::limits::LIMITS;
use hullwright::package::{ar, decompress};
use rayon::prelude::*;
use serde_json::{Value, json};

/// Decompresses every archive to its end, the largest package first.
pub fn unpack(packages: &[PathBuf]) -> Result<Value> {
    let mut packages: Vec<(u64, &PathBuf)> = packages
        .iter()
        .map(|path| Ok((fs::metadata(path)?.len(), path)))
        .collect::<io::Result<_>>()
        .context("looking at packages")?;
    packages.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    let bytes = packages
        .into_iter()
        .par_bridge()
        .map(|(_, path)| uncompressed(path))
        .try_reduce(|| 0, |a, b| Ok(a + b))?;
    Ok(json!({"bytes": bytes}))
}

fn uncompressed(path: &Path) -> Result<u64> {
    let reading = || format!("reading {}", path.display());
    let file = Arc::new(fs::read(path).with_context(reading)?);
    let (codec, range) = {
        let deb = ar::parse(&file).with_context(reading)?;
        let data = deb.data;
        (data.codec, data.offset..data.offset + data.data.len())
    };
    let mut reader = decompress::open(codec, &file, range, LIMITS.data_tar).with_context(reading)?;
    io::copy(&mut reader, &mut io::sink()).with_context(reading)
}

/// Copies every archive, compressed as it is, into the folder `to`.
pub fn members(to: &Path, packages: &[PathBuf]) -> Result<Value> {
    let mut bytes = 0;
    for (number, path) in packages.iter().enumerate() {
        let reading = || format!("reading {}", path.display());
        let file = fs::read(path).with_context(reading)?;
        let deb = ar::parse(&file).with_context(reading)?;
        let extension = match deb.data.codec {
            decompress::Codec::None => "tar",
            decompress::Codec::Gzip => "gz",
            decompress::Codec::Xz => "xz",
            decompress::Codec::Zstd => "zst",
        };
        let out = to.join(format!("{number:04}.{extension}"));
        fs::write(&out, deb.data.data).with_context(|| format!("writing {}", out.display()))?;
        if deb.data.codec == decompress::Codec::Xz {
            bytes += uncompressed(path)?;
        }
    }
    Ok(json!({"bytes": bytes}))
}
