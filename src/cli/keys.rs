//! `hullwright keys`: make and look at signing keys.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::{Context, environment, output};
use crate::sign::{self, KeyProfile, Trust};
use crate::stamp::Stamp;

/// Make and look at signing keys.
#[derive(Debug, clap::Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key and certificate in a new folder.
    #[command(after_help = "Example:\n  hullwright keys new keys --profile release")]
    New {
        /// The folder; it must not exist or be empty.
        dir: PathBuf,
        /// What the key is for.
        #[arg(long, value_enum, default_value_t = Purpose::Dev)]
        profile: Purpose,
    },
    Vars(super::keys_vars::Vars),
    /// Print the fingerprint of the keys in a folder.
    Show {
        /// The folder.
        dir: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Purpose {
    /// For development only; refused where it matters.
    Dev,
    /// For images that leave the house.
    Release,
}

impl Keys {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let now = Stamp::from_seconds(environment::now());
        let keys = match &self.command {
            Command::Vars(command) => return command.run(context),
            Command::New { dir, profile } => {
                let profile = match profile {
                    Purpose::Dev => KeyProfile::Development,
                    Purpose::Release => KeyProfile::Release,
                };
                sign::keys::generate(dir, profile, now)?
            }
            Command::Show { dir } => Trust::open(dir, now)?,
        };
        if context.json {
            let dir = keys.dir().to_string_lossy().into_owned();
            output::event(
                "result",
                json!({"dir": dir, "fingerprint": keys.fingerprint()}),
            );
        } else {
            output::line_out(&format!("{}  {}", keys.fingerprint(), keys.dir().display()));
        }
        Ok(0)
    }
}
