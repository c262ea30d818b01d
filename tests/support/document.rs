//! Guides whose commands are run, so that they stay true.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::{cache, repository, tool};

/// The commands of the section `title`: what stands behind `prompt`, with its continuation lines.
pub fn commands(document: &str, title: &str, prompt: &str) -> Vec<String> {
    let (_, rest) = document
        .split_once(&format!("\n## {title}\n"))
        .unwrap_or_else(|| panic!("there is no section {title}"));
    let section = rest.split("\n## ").next().unwrap();
    let mut out: Vec<String> = Vec::new();
    let mut goes_on = false;
    let mut code = false;
    for line in section.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            code = !code;
            continue;
        }
        if let Some(command) = trimmed.strip_prefix(prompt).filter(|_| code) {
            out.push(command.to_owned());
        } else if goes_on {
            let command = out.last_mut().unwrap();
            command.push('\n');
            command.push_str(line);
        } else {
            continue;
        }
        goes_on = line.ends_with('\\');
    }
    out
}

/// Titles of all sections, in order.
pub fn sections(document: &str) -> Vec<&str> {
    document
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect()
}

/// A place to follow a guide in, with `hullwright` on the path.
pub struct Desk {
    pub dir: PathBuf,
    /// What stands for something that only the guide's reader has: text of commands, and instead.
    pub instead: Vec<(String, String)>,
}

impl Desk {
    /// A new place in `target/test-document`, with a profile and a folder that stands for a safe.
    pub fn new(name: &str, profile: &str) -> Self {
        let dir = repository().join("target/test-document").join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        fs::create_dir_all(dir.join("safe")).unwrap();
        fs::create_dir_all(dir.join("bin")).unwrap();
        let program = dir.join("bin/hullwright");
        let text = format!(
            "#!/bin/sh\nexec {} \"$@\"\n",
            env!("CARGO_BIN_EXE_hullwright")
        );
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.join("my-host.yaml"), profile).unwrap();
        let safe = dir.join("safe").display().to_string();
        let mut desk = Self {
            dir,
            instead: Vec::new(),
        };
        desk.instead("/media/safe", &safe);
        desk
    }

    /// Puts `to` wherever commands have `from`.
    pub fn instead(&mut self, from: &str, to: &str) {
        self.instead.push((from.to_owned(), to.to_owned()));
    }

    /// A shell with `command`.
    pub fn shell(&self, command: &str) -> Command {
        let mut command = command.to_owned();
        for (from, to) in &self.instead {
            command = command.replace(from, to);
        }
        let mut shell = tool("bash");
        let path = std::env::var("PATH").unwrap();
        shell
            .args(["-euc", &format!("exec {command}")])
            .current_dir(&self.dir)
            .env("PATH", format!("{}:{path}", self.dir.join("bin").display()))
            .env("HULLWRIGHT_CACHE", cache())
            .env("HULLWRIGHT_STATE", self.dir.join("state"))
            .env("HULLWRIGHT_PASSPHRASE", "correct horse battery staple")
            .env_remove("SOURCE_DATE_EPOCH")
            .env_remove("HULLWRIGHT_KEYS");
        shell
    }
}
