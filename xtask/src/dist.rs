//! The static binary, for this machine's architecture or the other one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::steps::{call, cargo};

/// Cargo's profile of what is shipped.
const PROFILE: &str = "dist";

/// What the binary runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Arm64,
}

impl Arch {
    /// That of this machine.
    pub fn host() -> Result<Self> {
        [Self::X86_64, Self::Arm64]
            .into_iter()
            .find(|arch| arch.rust() == std::env::consts::ARCH)
            .with_context(|| format!("no binary for {}", std::env::consts::ARCH))
    }

    /// The one called `name`, as hullwright calls it.
    pub fn named(name: &str) -> Option<Self> {
        [Self::X86_64, Self::Arm64]
            .into_iter()
            .find(|arch| arch.name() == name)
    }

    /// hullwright's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    /// Rust's name, which is also GCC's.
    const fn rust(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// The compiler and linker of the C parts, where this machine has another architecture.
    pub fn cross_gcc(self) -> String {
        format!("{}-linux-gnu-gcc", self.rust())
    }

    /// Rust's target with glibc.
    pub fn gnu_target(self) -> String {
        format!("{}-unknown-linux-gnu", self.rust())
    }
}

/// Builds it. For this machine with musl where that target is installed, otherwise with glibc linked
/// in; for the other architecture with glibc, because Debian's cross compilers come with that.
pub fn run(arch: Arch) -> Result<PathBuf> {
    let musl = format!("{}-unknown-linux-musl", arch.rust());
    let native = arch == Arch::host()?;
    let (target, flags) = if native && has_target(&musl)? {
        (musl, "")
    } else {
        (arch.gnu_target(), "-C target-feature=+crt-static")
    };
    let directory = PathBuf::from("target/dist-build");
    let mut command = cargo(&[
        "build",
        "--profile",
        PROFILE,
        "--locked",
        "--package",
        "hullwright",
        "--target",
        &target,
    ]);
    command
        .env("CARGO_TARGET_DIR", &directory)
        .env("RUSTFLAGS", flags);
    if !native {
        if !has_target(&target)? {
            bail!(
                "Rust's standard library for {target} is missing: `rustup target add {target}`, or \
                 `cargo xtask install`"
            );
        }
        let gcc = arch.cross_gcc();
        let variable = target.to_uppercase().replace('-', "_");
        command
            .env(format!("CARGO_TARGET_{variable}_LINKER"), &gcc)
            .env(format!("CC_{}", target.replace('-', "_")), &gcc);
    }
    call(&mut command)?;
    let built = directory.join(&target).join(PROFILE).join("hullwright");
    if is_dynamic(&built)? {
        bail!("{} asks for a dynamic loader", built.display());
    }
    std::fs::create_dir_all("target/dist")?;
    let to = PathBuf::from(format!("target/dist/hullwright-{}", arch.name()));
    // A new file, because a copy of the old one may be running.
    let _ = std::fs::remove_file(&to);
    std::fs::copy(&built, &to).with_context(|| format!("copying to {}", to.display()))?;
    Ok(to)
}

/// Whether rustc has its standard library for `target`.
pub fn has_target(target: &str) -> Result<bool> {
    let answer = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .context("asking rustc for its targets")?;
    let library = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    Ok(answer.status.success() && library.is_dir())
}

/// Whether an ELF file has a `PT_INTERP` program header.
fn is_dynamic(path: &Path) -> Result<bool> {
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
