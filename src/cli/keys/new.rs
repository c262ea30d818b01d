//! `hullwright keys new`.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::cli::passphrase::PassphraseArguments;
use crate::cli::{Context, output};
use crate::sign::KeyProfile;
use crate::sign::keys::{self, NewSet};
use crate::stamp::Stamp;

/// Make a set of keys in a new folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright keys new keys --profile release --name 'Example Corp'\n  \
    hullwright keys new /tmp/keys\n\n\
    The set has PK and KEK (in DIR/owner, which may then be moved away), db, a key for the root hash\n\
    of /usr, an OpenPGP key for releases, and in DIR/enrol what enrols them in firmware.")]
pub struct New {
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
    /// For development only: unencrypted, and refused where it matters.
    Dev,
    /// For images that leave the house: encrypted with a passphrase.
    Release,
}

impl New {
    /// Runs the subcommand.
    pub fn run(&self, context: Context, now: Stamp) -> Result<u8> {
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
        let keys = keys::create(&self.dir, &new, now)?;
        if context.json {
            let dir = keys.dir().to_string_lossy().into_owned();
            output::event(
                "result",
                json!({"dir": dir, "fingerprint": keys.fingerprint()}),
            );
        } else if !context.quiet {
            output::line_out(&format!("{}  {}", keys.fingerprint(), keys.dir().display()));
        }
        Ok(0)
    }
}
