//! `hullwright profile`: look at profiles.

use anyhow::Result;
use serde_json::json;

use super::arguments::ProfileArguments;
use super::{Context, output};
use crate::profile;

/// Look at profiles.
#[derive(Debug, clap::Args)]
pub struct ProfileCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the merged profile with the origin of each value.
    #[command(after_help = "Example:\n  hullwright profile show qemu --set os.version=1.4.2")]
    Show {
        /// A built-in name or a path.
        profile: String,
        #[command(flatten)]
        arguments: ProfileArguments,
        /// Only the YAML, which loads to the same profile.
        #[arg(long)]
        plain: bool,
    },
    /// List the built-in profiles.
    List,
}

impl ProfileCommand {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        match &self.command {
            Command::Show {
                profile,
                arguments,
                plain,
            } => {
                let loaded = arguments.load(profile)?;
                if context.json {
                    let values: Vec<_> = loaded
                        .origins()
                        .into_iter()
                        .map(|leaf| json!({"path": leaf.path, "value": leaf.value, "origin": leaf.origin}))
                        .collect();
                    output::event("result", json!({"profile": loaded.stem, "values": values}));
                } else {
                    output::line_out(loaded.merged_yaml(!plain).trim_end());
                }
            }
            Command::List => {
                let names = profile::built_in().map(|(name, _)| name);
                if context.json {
                    let names: Vec<_> = names.collect();
                    output::event("result", json!({"profiles": names}));
                } else {
                    names.for_each(output::line_out);
                }
            }
        }
        Ok(0)
    }
}
