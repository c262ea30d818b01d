//! Trees of Debian 13, for programs that Debian 12 has too old.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::install::mirror;
use crate::steps::call;

/// The file that says with which packages a tree was completed.
const COMPLETE: &str = ".complete";

/// A tree and what it holds.
pub struct Tree {
    /// Its folder.
    pub path: &'static str,
    /// Packages, separated by spaces.
    pub packages: &'static str,
    /// What a shell in the tree does when they are installed.
    pub then: &'static str,
}

impl Tree {
    /// Whether the tree is there, whole, and with all packages.
    pub fn is_complete(&self) -> bool {
        fs::read_to_string(Path::new(self.path).join(COMPLETE))
            .is_ok_and(|packages| packages.trim() == self.packages)
    }

    /// The commands that make it, for a person.
    pub fn by_hand(&self) -> String {
        let Self {
            path,
            packages,
            then,
        } = self;
        let then = match then.trim() {
            "" => String::new(),
            _ => format!(" && chroot {path} sh -ec '{then}'"),
        };
        format!(
            "debootstrap --variant=minbase trixie {path} && chroot {path} apt-get install -y --no-install-recommends {packages}{then} && echo {packages} > {path}/{COMPLETE}"
        )
    }

    /// Makes it, as root on Debian with debootstrap.
    pub fn make(&self) -> Result<()> {
        let (uri, _) = mirror()?;
        let path = Path::new(self.path);
        if path.exists() {
            fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))?;
        }
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        call(
            Command::new("debootstrap")
                .args(["--variant=minbase", "trixie"])
                .arg(path)
                .arg(&uri)
                .stdout(Stdio::null()),
        )?;
        // By apt, because debootstrap's own resolver takes the first of alternatives, whatever it
        // depends on.
        call(
            Command::new("chroot")
                .arg(path)
                .args(["apt-get", "install", "-y", "-qq"])
                .arg("--no-install-recommends")
                .args(self.packages.split(' '))
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdout(Stdio::null()),
        )?;
        if !self.then.trim().is_empty() {
            call(
                Command::new("chroot")
                    .arg(path)
                    .args(["sh", "-ec", self.then])
                    .stdout(Stdio::null()),
            )?;
        }
        fs::write(path.join(COMPLETE), self.packages)?;
        Ok(())
    }
}
