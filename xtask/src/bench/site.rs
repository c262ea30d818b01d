//! hullwright, building the image that all sections share, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::measure::{self, Run, Sample};
use super::setup::{self, make_dir, write_file};
use crate::dist;

/// The profile: the development image for this machine's architecture with all modules, as mkosi's image
/// has them, and a file whose change is the one-line change.
const PROFILE: &str = "\
name: bench
extends: qemu
arch: {arch}
kernel:
  modules: all
root:
  overlay:
    - files
";

const MARKER: &str = "files/usr/lib/bench-marker";

/// What a cold build finds in the cache: the indices and packages, and nothing made of them.
const DOWNLOADED: &[&str] = &["downloads", "indices", "releases"];

/// A project with its cache and its output.
pub struct Site {
    dir: PathBuf,
    program: PathBuf,
    log: PathBuf,
}

impl Site {
    /// Makes the project, locks it if it is not, and builds it once, so that everything is downloaded.
    pub fn prepare(home: &Path, program: PathBuf, log: PathBuf) -> Result<Self> {
        let site = Self {
            dir: home.join("hullwright"),
            program,
            log,
        };
        make_dir(&site.dir)?;
        let arch = dist::Arch::host()?.name();
        write_file(
            &site.dir.join("bench.yaml"),
            &PROFILE.replace("{arch}", arch),
        )?;
        site.change("first")?;
        eprintln!("building the image once, with downloads where they are missing");
        site.run(&["build", "bench.yaml", "--output", "out"])?;
        Ok(site)
    }

    /// `usr.erofs` of the last build.
    pub fn image(&self) -> PathBuf {
        self.output().join("usr.erofs")
    }

    /// The output folder.
    pub fn output(&self) -> PathBuf {
        self.dir.join("out")
    }

    /// Changes the one line.
    pub fn change(&self, line: &str) -> Result<()> {
        write_file(&self.dir.join(MARKER), &format!("{line}\n"))
    }

    /// Removes the output and everything that was made of the downloads.
    pub fn forget(&self) -> Result<()> {
        remove(&self.output())?;
        let cache = self.dir.join("cache");
        let entries =
            fs::read_dir(&cache).with_context(|| format!("listing {}", cache.display()))?;
        for entry in entries {
            let entry = entry.context("listing the cache")?;
            if !DOWNLOADED.iter().any(|kept| entry.file_name() == *kept) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Builds without the network.
    pub fn build(&self) -> Result<Sample> {
        let mut run = self.run(&["build", "bench.yaml", "--offline", "--output", "out"])?;
        run.sample.size = Some(setup::allocated(&self.output().join("disk.raw"))?);
        Ok(run.sample)
    }

    /// Asks about the image that was built last; `words` begin with the command.
    pub fn ask(&self, command: &str, words: &[&str]) -> Result<Sample> {
        let words = [&[command, "bench.yaml", "--offline"], words].concat();
        Ok(self.run(&words)?.sample)
    }

    /// What the last build says of itself.
    pub fn report(&self) -> Result<Value> {
        let path = self.output().join("build-report.json");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// The packages that the profile asks for, without the kernel.
    pub fn packages(&self) -> Result<Vec<String>> {
        let run = self.run(&["profile", "show", "bench.yaml", "--json"])?;
        let event: Value = run
            .output
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .context("reading the profile as JSON")?;
        Ok(event["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|leaf| {
                leaf["path"]
                    .as_str()
                    .is_some_and(|path| path.starts_with("packages.include["))
            })
            .filter_map(|leaf| leaf["value"].as_str())
            .map(|value| value.split(['=', '/']).next().unwrap_or(value).to_owned())
            .collect())
    }

    /// The packages of the image, as they were downloaded.
    pub fn debs(&self) -> Result<Vec<PathBuf>> {
        let arch = dist::Arch::host()?;
        let path = self.dir.join(format!("bench.{}.lock", arch.name()));
        let lock =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let downloads = self.dir.join("cache/downloads");
        locked(&lock)
            .into_iter()
            .map(|hash| {
                let file = downloads.join(&hash[..2]).join(hash);
                if !file.exists() {
                    bail!("{} is not there, and should after a build", file.display());
                }
                Ok(file)
            })
            .collect()
    }

    fn run(&self, words: &[&str]) -> Result<Run> {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .current_dir(&self.dir)
            .env("HULLWRIGHT_CACHE", self.dir.join("cache"))
            .env("HULLWRIGHT_STATE", self.dir.join("state"))
            .env_remove("HULLWRIGHT_KEYS")
            .env_remove("SOURCE_DATE_EPOCH");
        measure::run(&mut command, &self.log).context("running hullwright")
    }
}

fn remove(path: &Path) -> Result<()> {
    let result = if path.is_dir() {
        fs::remove_dir_all(path)
    } else if path.exists() {
        fs::remove_file(path)
    } else {
        Ok(())
    };
    result.with_context(|| format!("removing {}", path.display()))
}

/// The hashes of the packages of a lock.
fn locked(lock: &str) -> Vec<&str> {
    lock.lines()
        .filter_map(|line| line.strip_prefix("  sha256: "))
        .map(|hash| hash.trim_matches('"'))
        .filter(|hash| hash.len() == 64 && hash.is_ascii())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_of_a_lock_are_found_by_their_hashes() {
        let (a, b) = ("a".repeat(64), "1".repeat(64));
        let lock = format!(
            "suites:\n- archive: debian\n  inrelease: \"{b}\"\npackages:\n- name: x\n  sha256: {a}\n\
             - name: y\n  sha256: \"{b}\"\n"
        );
        assert_eq!(locked(&lock), [a, b]);
    }
}
