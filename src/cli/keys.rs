//! `hullwright keys`: make and look at signing keys.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::passphrase::PassphraseArguments;
use super::{Context, environment, output};
use crate::sign::keys::{self, NewSet};
use crate::sign::{KeyProfile, Trust};
use crate::stamp::Stamp;

/// Make and look at signing keys.
#[derive(Debug, clap::Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a set of keys in a new folder.
    #[command(after_help = "Example:\n  hullwright keys new keys --profile release")]
    New(New),
    Vars(super::keys_vars::Vars),
    /// Print the fingerprint of the keys in a folder.
    Show {
        /// The folder.
        dir: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct New {
    /// The folder; it must not exist or be empty.
    dir: PathBuf,
    /// What the keys are for.
    #[arg(long, value_enum, default_value_t = Purpose::Dev)]
    profile: Purpose,
    /// Whose keys they are; begins the subjects of certificates [default: hullwright].
    #[arg(long)]
    name: Option<String>,
    /// Leave the private keys of a release set unencrypted.
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: PassphraseArguments,
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
        match &self.command {
            Command::New(command) => command.run(context, now),
            Command::Vars(command) => command.run(context),
            Command::Show { dir } => {
                fingerprint(&Trust::open(dir, now)?, context);
                Ok(0)
            }
        }
    }
}

impl New {
    fn run(&self, context: Context, now: Stamp) -> Result<u8> {
        let profile = match self.profile {
            Purpose::Dev => KeyProfile::Development,
            Purpose::Release => KeyProfile::Release,
        };
        // Development keys have to work without anybody at the keyboard.
        let passphrase = if self.no_passphrase || profile == KeyProfile::Development {
            None
        } else {
            let what = format!("the private keys in {}", self.dir.display());
            Some(self.passphrase.get().new_for(&what)?)
        };
        let new = NewSet {
            profile,
            name: self.name.as_deref(),
            passphrase: passphrase.as_ref().map(|text| text.as_str()),
        };
        fingerprint(&keys::create(&self.dir, &new, now)?, context);
        Ok(0)
    }
}

fn fingerprint(keys: &Trust, context: Context) {
    if context.json {
        let dir = keys.dir().to_string_lossy().into_owned();
        output::event(
            "result",
            json!({"dir": dir, "fingerprint": keys.fingerprint()}),
        );
    } else {
        output::line_out(&format!("{}  {}", keys.fingerprint(), keys.dir().display()));
    }
}
