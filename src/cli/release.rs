//! `hullwright release`: release trees, from which nodes update themselves.

mod change;
mod cut;
mod diff;
mod list;
mod place;
mod verify;

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::passphrase::PassphraseArguments;
use super::{Context, environment, output};
use crate::release::{Added, Authority, Index};
use crate::sign::Trust;
use crate::sign::openpgp::{ReleaseKeys, ReleaseSigner};
use crate::stamp::Stamp;

/// Cut, promote, withdraw, list and verify releases.
#[derive(Debug, clap::Args)]
pub struct ReleaseCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Cut(Box<cut::CutCommand>),
    Promote(change::Promote),
    Yank(change::Yank),
    Resign(change::Resign),
    Diff(diff::DiffCommand),
    List(list::List),
    Verify(verify::Verify),
}

impl ReleaseCommand {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        match &self.command {
            Command::Cut(command) => command.run(context),
            Command::Promote(command) => command.run(context),
            Command::Yank(command) => command.run(context),
            Command::Resign(command) => command.run(context),
            Command::Diff(command) => command.run(context),
            Command::List(command) => command.run(context),
            Command::Verify(command) => command.run(context),
        }
    }
}

/// Opens the release key of `trust`.
fn authority(trust: &Trust, passphrase: &PassphraseArguments) -> Result<Authority> {
    let now = Stamp::from_seconds(environment::now());
    let passphrase = passphrase.get();
    let signer = ReleaseSigner::open(trust, now, &|what| passphrase.existing(what))?;
    let public = trust.release_key().unwrap_or_default().to_owned();
    Ok(Authority {
        keys: ReleaseKeys::parse(&public)?,
        signer,
        public,
        now,
    })
}

/// Tells what a channel has become.
fn report(dir: &Path, index: &Index, added: &[Added], verb: &str, context: Context) {
    if context.json {
        let releases: Vec<_> = added
            .iter()
            .map(|one| {
                json!({
                    "id": one.id,
                    "arch": one.arch,
                    "version": one.release.version,
                    "root_hash": one.release.root_hash,
                    "files": one.release.present().collect::<Vec<_>>(),
                })
            })
            .collect();
        output::event(
            "result",
            json!({
                "directory": dir.to_string_lossy(),
                "channel": index.channel,
                "serial": index.serial,
                "releases": releases,
            }),
        );
        return;
    }
    if context.quiet {
        return;
    }
    for one in added {
        let (id, arch, release) = (&one.id, one.arch, &one.release);
        output::line_out(&format!(
            "{}/{}: {id} {} for {arch} {verb}, an update of {}",
            dir.display(),
            index.channel,
            release.version,
            super::human_size(release.update_size()),
        ));
    }
}
