//! `hullwright keys`: make, look at, renew and revoke signing keys.

mod change;
mod look;
mod new;
mod vars;

use anyhow::Result;

use super::{Context, environment};
use crate::stamp::Stamp;

/// Make, look at, renew and revoke signing keys.
#[derive(Debug, clap::Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    New(new::New),
    Show(look::Show),
    Check(look::Check),
    Rotate(change::Rotate),
    Revoke(change::Revoke),
    Vars(vars::Vars),
}

impl Keys {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let now = Stamp::from_seconds(environment::now());
        match &self.command {
            Command::New(command) => command.run(context, now),
            Command::Show(command) => command.run(context),
            Command::Check(command) => command.run(context, now),
            Command::Rotate(command) => command.run(context, now),
            Command::Revoke(command) => command.run(context, now),
            Command::Vars(command) => command.run(context, now),
        }
    }
}
