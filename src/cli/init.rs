//! `hullwright init`: start a project of one's own.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::{Context, output};
use crate::failure::{Failure, Kind};
use crate::profile;

/// Start a project: a profile, files/ for the overlay, a .gitignore.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hullwright init my-host && hullwright build my-host/my-host.yaml"
)]
pub struct Init {
    /// The folder; existing files are never overwritten.
    dir: PathBuf,
    /// Name of the profile [default: the folder's name].
    #[arg(long)]
    name: Option<String>,
}

impl Init {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => self
                .dir
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .ok_or_else(|| {
                    Failure::new(
                        Kind::Usage,
                        format!("{} has no name to call the profile by", self.dir.display()),
                    )
                    .hint("give one with --name NAME")
                })?,
        };
        let made = profile::scaffold(&self.dir, &name)?;
        if context.json {
            let made: Vec<_> = made.iter().map(|path| path.to_string_lossy()).collect();
            output::event("result", json!({"files": made}));
        } else if !context.quiet {
            for path in made {
                output::line_out(&path.display().to_string());
            }
        }
        Ok(0)
    }
}
