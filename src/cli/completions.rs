//! `hullwright completions`: what shells need to complete the command line.

use anyhow::Result;
use clap_complete::Shell;

use super::output;

/// Print the completion script of a shell.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hullwright completions bash > ~/.local/share/bash-completion/completions/hullwright"
)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Runs the subcommand.
    pub fn run(&self) -> Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "hullwright", &mut script);
        output::line_out(String::from_utf8_lossy(&script).trim_end());
        Ok(0)
    }
}
