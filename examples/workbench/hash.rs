//! Hash trees, and the hashing that is the least they take.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use hullwright::verity::LeafHasher;
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Bytes that are hashed as one.
const BLOCK: usize = 4096;

/// Writes the hash tree of `image` to `hashes`.
pub fn verity(salt: &[u8; 32], uuid: Uuid, image: &Path, hashes: &Path) -> Result<Value> {
    let mut file = File::open(image).with_context(|| format!("reading {}", image.display()))?;
    let begun = Instant::now();
    let mut hasher = LeafHasher::new(io::sink(), *salt);
    io::copy(&mut file, &mut hasher).with_context(|| format!("hashing {}", image.display()))?;
    let (_, leaves) = hasher.finish()?;
    let leaves_done = begun.elapsed();
    let writing = || format!("writing {}", hashes.display());
    let mut out = BufWriter::new(File::create(hashes).with_context(writing)?);
    let tree = leaves.write(uuid, &mut out).with_context(writing)?;
    out.flush().with_context(writing)?;
    let upper = begun.elapsed().saturating_sub(leaves_done);
    Ok(json!({
        "root_hash": tree.root_hash.to_string(),
        "leaves": leaves_done.as_secs_f64(), "upper": upper.as_secs_f64(),
    }))
}

/// Hashes a file that is in memory, through what a build uses, and with nothing around it.
pub fn sha256(salt: &[u8; 32], file: &Path) -> Result<Value> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let whole = &bytes[..bytes.len() / BLOCK * BLOCK];
    let limit = || {
        let begun = Instant::now();
        let digests: Vec<[u8; 32]> = whole
            .par_chunks_exact(BLOCK)
            .map(|block| {
                let hash = Sha256::new().chain_update(salt).chain_update(block);
                hash.finalize().into()
            })
            .collect();
        black_box(digests);
        begun.elapsed()
    };
    // Threads begin, and pages are seen for the first time.
    limit();
    let begun = Instant::now();
    let mut hasher = LeafHasher::new(io::sink(), *salt);
    hasher.write_all(whole).context("hashing")?;
    black_box(hasher.finish()?);
    let hashing = begun.elapsed();
    let limit = limit();
    Ok(json!({
        "bytes": whole.len(), "hashing": hashing.as_secs_f64(), "limit": limit.as_secs_f64(),
    }))
}
