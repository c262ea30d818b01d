//! `hullwright why`: what pulls a package in, or a file.

use anyhow::Result;

use super::look::LookArguments;
use super::{Context, build, output};
use crate::archive::Releases;
use crate::failure::{Failure, Kind};
use crate::report::size::{self, Lines};
use crate::resolve::lock::Upgrade;
use crate::resolve::{obtain, why};

/// Print the chain that pulls a package in, or the file at a path.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright why qemu libssl3t64\n  \
    hullwright why qemu /usr/bin/ctr\n  \
    hullwright why qemu /etc/pam.d")]
pub struct Why {
    /// A built-in name or a path.
    profile: String,
    /// A package, or the absolute path of a file or directory.
    #[arg(value_name = "PACKAGE|PATH")]
    what: String,
    #[command(flatten)]
    look: LookArguments,
}

impl Why {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        if self.what.starts_with('/') {
            return self.path(context);
        }
        let loaded = self.look.profile.load(&self.profile)?;
        // A lock knows one chain and needs no network; without one the archive is asked.
        let answer = match obtain::existing(&loaded, false)? {
            Some(lock) => why::from_lock(&lock, &self.what),
            None => {
                let archive = self.look.archive.context(
                    &loaded,
                    &build::progress(context),
                    &Releases::default(),
                )?;
                let keyrings = loaded.keyrings()?;
                let fresh = obtain::fresh(&loaded, &keyrings, &archive, &Upgrade::Nothing, None)?;
                let arch = loaded.profile.arch.traits().debian;
                why::from_resolution(&fresh.resolution, &self.what, arch)
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

    /// Answers for a path.
    fn path(&self, context: Context) -> Result<u8> {
        let look = self.look.open(&self.profile, context)?;
        let sizes = crate::build::sizes(&look.inputs()?)?;
        let lines = Lines::of(&look.loaded, &look.lock);
        let Some(found) = size::why::find(&sizes, &self.what) else {
            let reference = &look.loaded.reference;
            let failure = Failure::new(
                Kind::Usage,
                format!("{reference}: the image has nothing at {}", self.what),
            );
            let left_out = size::why::left_out(&look.loaded, &self.what)?;
            let failure = left_out.into_iter().fold(failure, Failure::hint);
            let near = size::why::same_name(&sizes, &self.what);
            return Err(near
                .iter()
                .fold(failure, |failure, path| {
                    failure.hint(format!("of that name it has {path}"))
                })
                .into());
        };
        if context.json {
            output::event("result", size::why::json(&sizes, &lines, &found));
        } else {
            output::line_out(size::why::text(&sizes, &lines, &found).trim_end());
        }
        Ok(0)
    }
}
