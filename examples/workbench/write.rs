//! Compression and images.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use hullwright::erofs::{Codec, CodecSettings, ImageOptions, Plan};
use hullwright::stamp::Stamp;
use rayon::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;
use zstd::zstd_safe::CParameter;

use super::tree::{self, Origins};
use super::{Packing, Settings};

/// Writes the folder `dir` as an image; the file `origins` says which packages its files come from.
pub fn erofs(
    settings: Settings,
    packing: Packing,
    origins: Option<&Path>,
    dir: &Path,
    image: &Path,
) -> Result<Value> {
    let settings = CodecSettings {
        tails: packing.tails(),
        ..settings.codec()
    };
    settings.check()?;
    let origins = match origins {
        Some(path) => tree::origins(path)?,
        None => Origins::new(),
    };
    let tree = tree::compile(dir, &settings, &origins)?;
    let options = ImageOptions {
        stamp: Stamp::from_seconds(1_700_000_000),
        uuid: Uuid::from_u128(0x52ff_4eda_0d33_44cd_8b5d_8854_3bcd_ad8e),
        label: String::new(),
        settings,
        packs: packing.packs(),
    };
    let plan = Plan::new(&tree, &options)?;
    let writing = || format!("writing {}", image.display());
    let file = File::create(image).with_context(writing)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    plan.emit(&mut out).with_context(writing)?;
    out.flush().with_context(writing)?;
    Ok(json!({"size": plan.size(), "inodes": plan.stats().inodes}))
}

/// Compresses each chunk of each file once, with nothing around it.
pub fn compress(settings: Settings, dir: &Path) -> Result<Value> {
    let settings = settings.codec();
    settings.check()?;
    let mut files = tree::list(dir)?;
    files.retain(|found| found.metadata.is_file());
    files.sort_by_key(|found| std::cmp::Reverse(found.metadata.len()));
    let (raw, compressed) = (AtomicU64::new(0), AtomicU64::new(0));
    files.iter().par_bridge().try_for_each(|found| {
        let bytes =
            fs::read(&found.file).with_context(|| format!("reading {}", found.file.display()))?;
        raw.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        bytes
            .par_chunks(settings.chunk as usize)
            .try_for_each(|chunk| {
                compressed.fetch_add(compress_chunk(chunk, settings)? as u64, Ordering::Relaxed);
                Ok::<_, anyhow::Error>(())
            })
    })?;
    Ok(json!({
        "bytes": raw.into_inner(), "compressed": compressed.into_inner(), "files": files.len(),
    }))
}

/// What compresses on one thread: setting it up costs more than a small file.
struct Compressor {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    room: Vec<u8>,
}

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor>> = const { RefCell::new(None) };
}

impl Compressor {
    fn new(settings: CodecSettings) -> Result<Self> {
        let zstd = if settings.codec == Codec::Zstd {
            let mut zstd = zstd::bulk::Compressor::new(settings.level)?;
            zstd.set_parameter(CParameter::WindowLog(settings.chunk.trailing_zeros()))?;
            Some(zstd)
        } else {
            None
        };
        // More than either codec makes of a chunk at worst.
        let room = vec![0; settings.chunk as usize + settings.chunk as usize / 64 + 1024];
        Ok(Self { zstd, room })
    }
}

/// Length of `chunk`, compressed.
fn compress_chunk(chunk: &[u8], settings: CodecSettings) -> Result<usize> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(Compressor::new(settings)?),
        };
        let Compressor { zstd, room } = compressor;
        Ok(match (settings.codec, zstd) {
            (Codec::Zstd, Some(zstd)) => zstd.compress_to_buffer(chunk, room)?,
            (Codec::Lz4hc, _) => lzzzz::lz4_hc::compress(chunk, room, settings.level)?,
            _ => chunk.len(),
        })
    })
}
