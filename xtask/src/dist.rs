//! The static binary.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::steps::{call, cargo};

/// Builds it: with musl where that target is installed, otherwise with glibc linked in.
pub fn run() -> Result<PathBuf> {
    let arch = std::env::consts::ARCH;
    let musl = format!("{arch}-unknown-linux-musl");
    let installed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", &musl])
        .output()
        .context("asking rustc for its targets")?;
    let library = PathBuf::from(String::from_utf8_lossy(&installed.stdout).trim());
    let (target, flags) = if installed.status.success() && library.is_dir() {
        (musl, "")
    } else {
        (
            format!("{arch}-unknown-linux-gnu"),
            "-C target-feature=+crt-static",
        )
    };
    let directory = PathBuf::from("target/dist-build");
    call(
        cargo(&[
            "build",
            "--release",
            "--locked",
            "--package",
            "hullwright",
            "--target",
            &target,
        ])
        .env("CARGO_TARGET_DIR", &directory)
        .env("RUSTFLAGS", flags),
    )?;
    let built = directory.join(&target).join("release/hullwright");
    if is_dynamic(&built)? {
        bail!("{} asks for a dynamic loader", built.display());
    }
    std::fs::create_dir_all("target/dist")?;
    let to = PathBuf::from(format!("target/dist/hullwright-{arch}"));
    std::fs::copy(&built, &to).with_context(|| format!("copying to {}", to.display()))?;
    Ok(to)
}

/// Whether an ELF file has a `PT_INTERP` program header.
fn is_dynamic(path: &std::path::Path) -> Result<bool> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let word = |at: usize, n: usize| {
        bytes.get(at..at + n).map(|b| {
            b.iter()
                .rev()
                .fold(0u64, |word, &b| word << 8 | u64::from(b))
        })
    };
    let (Some(offset), Some(size), Some(count)) = (word(32, 8), word(54, 2), word(56, 2)) else {
        bail!("{} is not an ELF file", path.display());
    };
    Ok((0..count).any(|i| word((offset + i * size) as usize, 4) == Some(3)))
}
