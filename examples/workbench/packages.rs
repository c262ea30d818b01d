//! The data archives of packages.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hullwright::package::limits::LIMITS;
use hullwright::package::tarball::{self, MemberKind};
use hullwright::package::{ar, control_text, decompress};
use hullwright::tree::{TreePath, usr_merge};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

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
    io::copy(&mut data(&file).with_context(reading)?, &mut io::sink()).with_context(reading)
}

/// A reader of the data archive of the package `file`.
fn data(file: &Arc<Vec<u8>>) -> Result<Box<dyn Read>> {
    let (codec, range) = {
        let data = ar::parse(file)?.data;
        (data.codec, data.offset..data.offset + data.data.len())
    };
    Ok(decompress::open(codec, file, range, LIMITS.data_tar)?)
}

/// Which package each file below `/usr` comes from.
pub fn origins(packages: &[PathBuf]) -> Result<Value> {
    let usr = TreePath::parse("usr")?;
    let mut out = Map::new();
    for path in packages {
        let reading = || format!("reading {}", path.display());
        let file = Arc::new(fs::read(path).with_context(reading)?);
        let control = control_text(&file).with_context(reading)?;
        let name = String::from_utf8_lossy(&control)
            .lines()
            .find_map(|line| line.strip_prefix("Package:"))
            .map(|name| name.trim().to_owned())
            .with_context(reading)?;
        let reader = data(&file).with_context(reading)?;
        tarball::walk(reader, &LIMITS, |member, _| {
            let file = usr_merge::physical(&member.path).ok();
            if !matches!(member.kind, MemberKind::Dir)
                && let Some(path) = file.and_then(|path| path.strip_prefix(&usr))
            {
                out.insert(path.to_string(), name.clone().into());
            }
            Ok(())
        })
        .with_context(reading)?;
    }
    Ok(Value::Object(out))
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
