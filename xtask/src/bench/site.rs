//! hullwright, building the image that all sections share, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::measure::{self, Run, Sample};
use super::setup::{self, make_dir, write_file};

/// The profile: the development image, and a file whose change is the one-line change.
const PROFILE: &str = "\
name: bench
extends: qemu
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
        write_file(&site.dir.join("bench.yaml"), PROFILE)?;
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

    /// The downloaded `.deb` files.
    pub fn debs(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        collect(&self.dir.join("cache/downloads"), &mut found)?;
        found.retain(|path| {
            let mut magic = [0; 8];
            fs::File::open(path)
                .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic))
                .is_ok_and(|()| &magic == b"!<arch>\n")
        });
        found.sort();
        Ok(found)
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

fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    for entry in entries {
        let path = entry.context("listing downloads")?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}
