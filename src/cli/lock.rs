//! `hullwright lock`: choose packages and write them down.

use anyhow::Result;
use serde_json::json;

use super::arguments::{ArchiveArguments, ProfileArguments};
use super::{Context, build, environment, output};
use crate::resolve::lock::{Upgrade, diff};
use crate::resolve::obtain;
use crate::stamp::Stamp;

/// Choose packages and write the lock, printing what changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright lock my-host.yaml                     fit the lock to the profile\n  \
    hullwright lock my-host.yaml --upgrade           renew everything\n  \
    hullwright lock my-host.yaml --upgrade runc      renew one package")]
pub struct LockCommand {
    /// A built-in name or a path.
    profile: String,
    #[command(flatten)]
    arguments: ProfileArguments,
    #[command(flatten)]
    archive: ArchiveArguments,
    /// Renew these packages; without names, all.
    #[arg(long, num_args = 0.., value_name = "PACKAGE")]
    upgrade: Option<Vec<String>>,
    /// Time of everything in the image, in seconds since 1970.
    #[arg(long, value_name = "SECONDS")]
    stamp: Option<u64>,
}

impl LockCommand {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let loaded = self.arguments.load(&self.profile)?;
        let archive = self.archive.context(&loaded, &build::progress(context))?;
        let upgrade = match self.upgrade.as_deref() {
            None => Upgrade::Nothing,
            Some([]) => Upgrade::All,
            Some(names) => Upgrade::Only(names.to_vec()),
        };
        let stamp = match self.stamp {
            Some(seconds) => Some(Stamp::from_seconds(seconds)),
            None => environment::source_date_epoch()?,
        };
        let keyrings = loaded.keyrings()?;
        let fresh = obtain::fresh(&loaded, &keyrings, &archive, &upgrade, stamp)?;
        let path = obtain::lock_path(&loaded);
        let changes = diff(fresh.old.as_ref(), &fresh.lock);
        fresh.lock.save(&path)?;
        if context.json {
            output::event(
                "result",
                json!({"lock": path.to_string_lossy(), "stamp": fresh.lock.stamp, "diff": changes}),
            );
        } else if !context.quiet {
            output::line_out(changes.to_string().trim_end());
            output::line_out(&format!(
                "{}: {} packages, {}",
                path.display(),
                fresh.lock.packages.len(),
                super::human_size(changes.size_after)
            ));
        }
        Ok(0)
    }
}
