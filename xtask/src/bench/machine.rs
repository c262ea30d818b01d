//! On what it was measured.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

/// Processor, cores, memory, kernel and commit. No name of the machine.
pub fn describe(dev: bool) -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let cpuinfo = read("/proc/cpuinfo")?;
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or(std::env::consts::ARCH, |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory: u64 = read("/proc/meminfo")?
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let build = if dev {
        " (development build: no figures for anybody)"
    } else {
        ""
    };
    Ok(format!(
        "hullwright {}{build}, {}, on {cores} cores of {}, {} GiB, Linux {}",
        git(&["describe", "--always", "--dirty"]),
        date(),
        model.split_whitespace().collect::<Vec<_>>().join(" "),
        memory.div_ceil(1 << 20),
        kernel.split('-').next().unwrap_or_default().trim(),
    ))
}

/// The load averages.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}

fn git(words: &[&str]) -> String {
    said(Command::new("git").args(words))
}

fn date() -> String {
    said(Command::new("date").args(["-u", "+%F"]))
}

fn said(command: &mut Command) -> String {
    command
        .output()
        .map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
        .ok()
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "unknown".into())
}
