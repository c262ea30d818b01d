//! `hullwright why`: what pulls a package in.

use anyhow::Result;

use super::arguments::{ArchiveArguments, ProfileArguments};
use super::{Context, build, output};
use crate::archive::Releases;
use crate::failure::{Failure, Kind};
use crate::resolve::lock::Upgrade;
use crate::resolve::{obtain, why};

/// Print the chain that pulls a package in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hullwright why qemu libssl3t64")]
pub struct Why {
    /// A built-in name or a path.
    profile: String,
    /// The package.
    package: String,
    #[command(flatten)]
    arguments: ProfileArguments,
    #[command(flatten)]
    archive: ArchiveArguments,
}

impl Why {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let loaded = self.arguments.load(&self.profile)?;
        // A lock knows one chain and needs no network; without one the archive is asked.
        let answer = match obtain::existing(&loaded, false)? {
            Some(lock) => why::from_lock(&lock, &self.package),
            None => {
                let archive = self.archive.context(
                    &loaded,
                    &build::progress(context),
                    &Releases::default(),
                )?;
                let keyrings = loaded.keyrings()?;
                let fresh = obtain::fresh(&loaded, &keyrings, &archive, &Upgrade::Nothing, None)?;
                let arch = loaded.profile.arch.traits().debian;
                why::from_resolution(&fresh.resolution, &self.package, arch)
            }
        };
        if answer.version.is_none() {
            let text = answer.to_string();
            let mut lines = text.lines();
            let first = lines.next().unwrap_or_default();
            let failure = Failure::new(Kind::Usage, format!("{}: {first}", loaded.reference));
            return Err(lines.fold(failure, Failure::hint).into());
        }
        if context.json {
            output::event("result", serde_json::to_value(&answer)?);
        } else {
            output::line_out(answer.to_string().trim_end());
        }
        Ok(0)
    }
}
