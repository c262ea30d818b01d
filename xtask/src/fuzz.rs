//! Runs the fuzz targets with libFuzzer, on the stable compiler.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::steps::{call, cargo};

/// LLVM's coverage instrumentation as libFuzzer wants it: what `cargo fuzz` passes, less the
/// sanitizers, which only a nightly compiler has.
const FLAGS: &str = "--cfg fuzzing \
    -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs every target for `seconds`.
pub fn run(seconds: u32) -> Result<()> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    call(
        cargo(&[
            "build",
            "--release",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target",
            &host,
        ])
        .env("CARGO_TARGET_DIR", "fuzz/target")
        .env("RUSTFLAGS", FLAGS),
    )?;
    let mut targets: Vec<_> = fs::read_dir("fuzz/fuzz_targets")
        .context("listing fuzz/fuzz_targets")?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    targets.sort();
    if targets.is_empty() {
        bail!("fuzz/fuzz_targets has no target");
    }
    for target in targets {
        let corpus = format!("fuzz/corpus/{target}");
        let artifacts = format!("fuzz/artifacts/{target}/");
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artifacts)?;
        let mut command = Command::new(format!("fuzz/target/{host}/release/{target}"));
        command.arg(&corpus);
        let seeds = format!("fuzz/seeds/{target}");
        if Path::new(&seeds).is_dir() {
            command.arg(seeds);
        }
        println!("-- {target}");
        call(command.args([
            &format!("-max_total_time={seconds}"),
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-verbosity=0",
            "-print_final_stats=1",
            &format!("-artifact_prefix={artifacts}"),
        ]))?;
    }
    Ok(())
}
