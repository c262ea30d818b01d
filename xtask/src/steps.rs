//! Steps that are timed, and the table of minutes at the end.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Lines that are kept of what a panic says.
const PANIC_LINES: usize = 40;

/// The steps so far.
#[derive(Default)]
pub struct Steps(Vec<(String, Duration, Result<()>)>);

impl Steps {
    /// Runs one step; a failed one does not keep the others from running.
    pub fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("== {name}");
        let begun = Instant::now();
        let result = step();
        if let Err(error) = &result {
            eprintln!("FAILED {name}: {error:#}");
        }
        self.0.push((name.to_owned(), begun.elapsed(), result));
    }

    /// Prints why steps failed, for who has only the end of a long log, and the table; an error if one
    /// did.
    pub fn finish(self) -> Result<()> {
        for (name, _, result) in &self.0 {
            if let Err(error) = result {
                println!("\n== why {name} failed\n{error:#}");
            }
        }
        println!("\n{:<44} {:>8}", "step", "minutes");
        let mut total = Duration::ZERO;
        let mut failed = Vec::new();
        for (name, took, result) in &self.0 {
            let mark = if result.is_ok() { "" } else { "  FAILED" };
            println!("{name:<44} {:>8.1}{mark}", took.as_secs_f64() / 60.0);
            total += *took;
            if result.is_err() {
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

/// Runs tests with their output passed on; the error has what failed and what its panics said.
pub fn call_tests(command: &mut Command) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err) = std::thread::scope(|scope| {
        let err = scope.spawn(|| err.map(|err| pass_on(err, io::stderr())));
        let out = out.map(|out| pass_on(out, io::stdout()));
        (
            out.unwrap_or_default(),
            err.join().ok().flatten().unwrap_or_default(),
        )
    });
    let status = child.wait().context("waiting for the tests")?;
    if status.success() {
        return Ok(());
    }
    bail!(
        "{command:?} ended with {status}\n{}",
        [out, err].concat().join("\n")
    )
}

/// Copies lines and returns those that tell of failures.
fn pass_on(from: impl Read, mut to: impl Write) -> Vec<String> {
    let begun = Instant::now();
    let mut kept = Vec::new();
    let mut of_panic = 0;
    for line in BufReader::new(from).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        let ended = line.starts_with("test ") && line.contains(" ... ");
        let _ = if ended {
            writeln!(
                to,
                "{line} ({:.1} minutes in)",
                begun.elapsed().as_secs_f64() / 60.0
            )
        } else {
            writeln!(to, "{line}")
        };
        if line.contains("' panicked at ") || line.contains(") panicked at ") {
            of_panic = PANIC_LINES;
        }
        if of_panic > 0 || line.ends_with("... FAILED") {
            kept.push(line.into_owned());
        }
        of_panic = of_panic.saturating_sub(1);
    }
    kept
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
