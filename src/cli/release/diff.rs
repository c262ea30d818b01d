//! `hullwright release diff`.

use std::path::PathBuf;

use anyhow::Result;

use super::super::{Context, output};
use crate::failure::{Failure, Kind};
use crate::release::diff::diff;
use crate::release::facts::Facts;

/// Tell what changed between two releases.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright release diff site/stable/x86_64/my-host_1.0.0.facts.json site/beta/x86_64/my-host_1.1.0.facts.json\n  \
    hullwright --json release diff OLD NEW                        everything, for programs\n\n\
    files.txt and kernel-config of each release must lie beside its facts.json.")]
pub struct DiffCommand {
    /// The older release's facts.json, or a folder with one.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The newer release's.
    #[arg(value_name = "NEW")]
    new: PathBuf,
}

impl DiffCommand {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let (old, new) = (Facts::find(&self.old)?, Facts::find(&self.new)?);
        let product = |facts: &Facts| (facts.summary.id.clone(), facts.summary.arch);
        if product(&old) != product(&new) {
            let shown = |facts: &Facts| format!("{} for {}", facts.summary.id, facts.summary.arch);
            let message = format!(
                "{} and {} are different products: no node goes from one to the other",
                shown(&old),
                shown(&new)
            );
            return Err(Failure::new(Kind::Usage, message)
                .hint("name two releases with the same os.id and architecture")
                .into());
        }
        let diff = diff(&old, &new);
        if context.json {
            output::event("result", serde_json::to_value(&diff)?);
        } else {
            output::line_out(diff.markdown().trim_end());
        }
        Ok(0)
    }
}
