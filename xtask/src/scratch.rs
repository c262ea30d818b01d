//! Where tests keep large files: room for them beforehand, and none of them left behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Images and trees of the suites, which stay in the checkout while a suite fails.
const PRODUCTS: [&str; 3] = [
    "target/test-document",
    "target/test-trust",
    "target/test-updates",
];

/// A folder for temporary files, gone when dropped: tests that share a build never drop theirs.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one, which every user may enter as they may `/tmp`.
    pub fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("hullwright-test-{}", std::process::id()));
        let doing = || format!("making {}", dir.display());
        fs::create_dir(&dir).with_context(doing)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o1777)).with_context(doing)?;
        Ok(Self(dir))
    }

    /// Where it is, for `TMPDIR`.
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// Removes what a suite that passed has left in the checkout.
pub fn sweep() -> Result<()> {
    for dir in PRODUCTS.map(Path::new) {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
        }
    }
    Ok(())
}

/// An error where `gigabytes` are not free for the checkout or for temporary files: a guest whose disk
/// cannot be written stops, and its test ends an hour later with a timeout that names no reason.
pub fn room(gigabytes: u64) -> Result<()> {
    for dir in [PathBuf::from("."), std::env::temp_dir()] {
        let output = Command::new("df")
            .args(["--block-size=1000000000", "--output=avail"])
            .arg(&dir)
            .output()
            .context("starting df")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let free: u64 = text
            .lines()
            .last()
            .and_then(|line| line.trim().parse().ok())
            .with_context(|| format!("no free space in df's answer for {}", dir.display()))?;
        println!("{} GB free in {}", free, dir.display());
        if free < gigabytes {
            bail!(
                "{} has {free} GB free, and the tests write up to {gigabytes} GB: free some, or set \
                 TMPDIR to a larger disk",
                dir.display()
            );
        }
    }
    Ok(())
}
