//! Runs the fuzz targets with libFuzzer, on the stable compiler.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::steps::{call, cargo};

/// LLVM's coverage instrumentation as libFuzzer wants it: what `cargo fuzz` passes, less the
/// sanitizers, which only a nightly compiler has.
const FLAGS: &str = "--cfg fuzzing \
    -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Targets that run at a time.
const AT_ONCE: usize = 2;

/// A target under way; its words go to a file.
struct Running {
    target: String,
    log: String,
    child: Child,
}

/// Runs every target for `seconds`.
pub fn run(seconds: u32) -> Result<()> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let begun = Instant::now();
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
    println!("built in {} s", begun.elapsed().as_secs());
    let mut targets: Vec<_> = fs::read_dir("fuzz/fuzz_targets")
        .context("listing fuzz/fuzz_targets")?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    targets.sort();
    if targets.is_empty() {
        bail!("fuzz/fuzz_targets has no target");
    }
    let mut failed = Vec::new();
    for group in targets.chunks(AT_ONCE) {
        let mut running = Vec::new();
        for target in group {
            running.push(start(target, &host, seconds)?);
        }
        for one in running {
            if let Err(error) = finish(one) {
                eprintln!("{error:#}");
                failed.push(error);
            }
        }
    }
    match failed.len() {
        0 => Ok(()),
        count => bail!("{count} fuzz targets found a defect or nothing new; see above"),
    }
}

fn start(target: &str, host: &str, seconds: u32) -> Result<Running> {
    let corpus = format!("fuzz/corpus/{target}");
    let artifacts = format!("fuzz/artifacts/{target}/");
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let log = format!("{artifacts}log");
    let out = File::create(&log).with_context(|| format!("writing {log}"))?;
    let mut command = Command::new(format!("fuzz/target/{host}/release/{target}"));
    command.arg(&corpus);
    let seeds = format!("fuzz/seeds/{target}");
    if Path::new(&seeds).is_dir() {
        command.arg(seeds);
    }
    command
        .args([
            format!("-max_total_time={seconds}"),
            "-timeout=10".into(),
            "-rss_limit_mb=2048".into(),
            "-max_len=65536".into(),
            "-print_final_stats=1".into(),
            format!("-artifact_prefix={artifacts}"),
        ])
        .stdout(out.try_clone()?)
        .stderr(out);
    let child = command
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    Ok(Running {
        target: target.to_owned(),
        log,
        child,
    })
}

fn finish(mut one: Running) -> Result<()> {
    let status = one.child.wait()?;
    let log = fs::read(&one.log).with_context(|| format!("reading {}", one.log))?;
    let log = String::from_utf8_lossy(&log);
    let target = &one.target;
    if !status.success() {
        let lines: Vec<_> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or(&[]);
        bail!("{target} ended with {status}:\n{}", tail.join("\n"));
    }
    let stat = |name: &str| -> u64 {
        log.lines()
            .find_map(|line| {
                line.strip_prefix("stat::")?
                    .strip_prefix(name)?
                    .strip_prefix(':')
            })
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0)
    };
    let coverage = log
        .lines()
        .rev()
        .find_map(|line| line.split_once(" cov: ")?.1.split(' ').next())
        .and_then(|value| value.parse().ok())
        .unwrap_or(0_u64);
    let (runs, new) = (stat("number_of_executed_units"), stat("new_units_added"));
    let memory = stat("peak_rss_mb");
    println!(
        "{target:<12} {runs:>10} runs  {coverage:>6} edges  {new:>6} new units  {memory:>5} MiB"
    );
    // A build without instrumentation fuzzes blindly, and would pass.
    if coverage < 20 {
        bail!("{target} covers {coverage} edges: its build is not instrumented");
    }
    Ok(())
}
