//! `hullwright release promote` and `yank`.

use std::path::PathBuf;

use anyhow::Result;

use super::super::passphrase::PassphraseArguments;
use super::super::{Context, arguments};
use super::{authority, report};
use crate::failure::{Failure, Kind};
use crate::release::promote::{Promotion, promote};
use crate::release::yank::yank;
use crate::release::{Authority, Tree};

/// Whose key signs the changed channel.
#[derive(Debug, clap::Args)]
struct KeyArguments {
    /// Folder with signing keys.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

impl KeyArguments {
    fn open(&self) -> Result<Authority> {
        let trust = arguments::keys_or(self.keys.as_deref(), || Ok(None))?;
        authority(&trust, &self.passphrase)
    }
}

/// Offer a release of one channel in another: the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    hullwright release promote 1.4.2 --from beta --to stable site --keys keys\n\n\
    Files are shared by hard links where that is possible. All products that have the version are\n\
    promoted together.")]
pub struct Promote {
    /// The version.
    version: String,
    /// The release tree.
    dir: PathBuf,
    /// The channel that has it.
    #[arg(long, value_name = "NAME")]
    from: String,
    /// The channel that gets it.
    #[arg(long, value_name = "NAME")]
    to: String,
    /// Only the product with this os.id.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    keys: KeyArguments,
}

impl Promote {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let authority = self.keys.open()?;
        let promotion = Promotion {
            version: &self.version,
            from: &self.from,
            to: &self.to,
            id: self.id.as_deref(),
        };
        let (index, added) = promote(&open(&self.dir)?, &promotion, &authority)?;
        report(&self.dir, &index, &added, "promoted", context);
        Ok(0)
    }
}

/// Withdraw a release: no node installs it any more, and its payloads are removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    hullwright release yank 1.4.2 --channel stable --reason 'containers lose their network' site --keys keys\n\n\
    Nodes that run it keep running it until there is a newer version: cut one. Other channels keep\n\
    theirs. The index keeps the hashes and the reason.")]
pub struct Yank {
    /// The version.
    version: String,
    /// The release tree.
    dir: PathBuf,
    /// The channel.
    #[arg(long, value_name = "NAME")]
    channel: String,
    /// Why, in one line that everybody can read in the index.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only the product with this os.id.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    keys: KeyArguments,
}

impl Yank {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let authority = self.keys.open()?;
        let (index, yanked) = yank(
            &open(&self.dir)?,
            &self.channel,
            &self.version,
            self.id.as_deref(),
            &self.reason,
            &authority,
        )?;
        report(&self.dir, &index, &yanked, "withdrawn", context);
        Ok(0)
    }
}

/// Sign a channel anew as it is, after a rotation of the release key.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    hullwright keys rotate keys release\n  \
    hullwright release resign --channel stable site --keys keys")]
pub struct Resign {
    /// The release tree.
    dir: PathBuf,
    /// The channel.
    #[arg(long, value_name = "NAME")]
    channel: String,
    #[command(flatten)]
    keys: KeyArguments,
}

impl Resign {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let authority = self.keys.open()?;
        let index = open(&self.dir)?.sign_again(&self.channel, &authority)?;
        report(&self.dir, &index, &[], "signed", context);
        Ok(0)
    }
}

/// A tree that is there already.
fn open(dir: &std::path::Path) -> Result<Tree> {
    if !dir.is_dir() {
        return Err(
            Failure::new(Kind::Usage, format!("{} is no release tree", dir.display()))
                .hint("make one with `hullwright release cut`")
                .into(),
        );
    }
    Tree::open(dir)
}
