//! Reading files of a mounted image.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::tree;

/// Bytes of a random read.
const BLOCK: u64 = 4096;

/// Reads every file below `dir`. Finding them counts.
pub fn sequential(dir: &Path) -> Result<Value> {
    let begun = Instant::now();
    let mut buffer = vec![0; 128 << 10];
    let (mut files, mut bytes) = (0_u64, 0_u64);
    for found in tree::list(dir)? {
        if !found.metadata.is_file() {
            continue;
        }
        let reading = || format!("reading {}", found.file.display());
        let mut file = File::open(&found.file).with_context(reading)?;
        loop {
            match file.read(&mut buffer).with_context(reading)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
        files += 1;
    }
    Ok(json!({"files": files, "bytes": bytes, "seconds": begun.elapsed().as_secs_f64()}))
}

/// Reads blocks of files below `dir`, each byte of which is as likely as any other. Finding and
/// opening the files does not count.
pub fn random(dir: &Path, reads: u64) -> Result<Value> {
    let mut opened = Vec::new();
    let mut total = 0_u64;
    for found in tree::list(dir)? {
        if found.metadata.is_file() && found.metadata.len() > 0 {
            opened.push((total, found));
            total += opened.last().map_or(0, |(_, found)| found.metadata.len());
        }
    }
    // xorshift64 (Marsaglia, "Xorshift RNGs", 2003): the same places on every machine.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut buffer = [0; BLOCK as usize];
    let mut bytes = 0_u64;
    let mut seconds = 0.0;
    for _ in 0..reads {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let place = state % total.max(1);
        let at = opened.partition_point(|(begin, _)| *begin <= place);
        let Some((begin, found)) = at.checked_sub(1).and_then(|at| opened.get(at)) else {
            break;
        };
        let reading = || format!("reading {}", found.file.display());
        let file = File::open(&found.file).with_context(reading)?;
        let offset = (place - begin) / BLOCK * BLOCK;
        let begun = Instant::now();
        bytes += file.read_at(&mut buffer, offset).with_context(reading)? as u64;
        seconds += begun.elapsed().as_secs_f64();
    }
    Ok(json!({"files": opened.len(), "bytes": bytes, "seconds": seconds}))
}
