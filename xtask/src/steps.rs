//! Steps that are timed, and the table of minutes at the end.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The steps so far.
#[derive(Default)]
pub struct Steps(Vec<(String, Duration, bool)>);

impl Steps {
    /// Runs one step; a failed one does not keep the others from running.
    pub fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("== {name}");
        let begun = Instant::now();
        let result = step();
        if let Err(error) = &result {
            eprintln!("FAILED {name}: {error:#}");
        }
        self.0
            .push((name.to_owned(), begun.elapsed(), result.is_ok()));
    }

    /// Prints the table; an error if a step failed.
    pub fn finish(self) -> Result<()> {
        println!("\n{:<44} {:>8}", "step", "minutes");
        let mut total = Duration::ZERO;
        let mut failed = Vec::new();
        for (name, took, good) in &self.0 {
            let mark = if *good { "" } else { "  FAILED" };
            println!("{name:<44} {:>8.1}{mark}", took.as_secs_f64() / 60.0);
            total += *took;
            if !good {
                failed.push(name.as_str());
            }
        }
        println!("{:<44} {:>8.1}", "total", total.as_secs_f64() / 60.0);
        if failed.is_empty() {
            Ok(())
        } else {
            bail!("failed: {}", failed.join(", "))
        }
    }
}

/// Runs a command with inherited output; an error unless it succeeds.
pub fn call(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    if status.success() {
        Ok(())
    } else {
        bail!("{command:?} ended with {status}")
    }
}

/// `cargo` with `words`, in the workspace.
pub fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words);
    // What cargo tells xtask of itself: build scripts that look at it would run anew.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
