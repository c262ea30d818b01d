//! The tables of docs/minimal.md, written by the judge that holds them true.

use std::process::Command;

use anyhow::Result;

use crate::install;
use crate::steps::call;

/// Installs what is compared with, and measures.
pub fn run() -> Result<()> {
    install::run(false)?;
    call(
        Command::new("cargo")
            .args(["test", "--all-features", "--test", "judges", "debian::"])
            .args(["--", "--nocapture"])
            .env("HULLWRIGHT_EXHAUSTIVE", "1")
            .env("HULLWRIGHT_WRITE_DOCS", "1"),
    )
}
