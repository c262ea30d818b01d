//! `hullwright lock`: choose packages and write them down.

use anyhow::Result;
use serde_json::json;

use super::arguments::{ArchiveArguments, ProfileArguments};
use super::{Context, build, environment, output};
use crate::archive::Releases;
use crate::resolve::lock::{Upgrade, diff};
use crate::resolve::obtain;
use crate::stamp::Stamp;

/// Choose packages and write the lock, printing what changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright lock my-host.yaml                     fit the lock to the profile\n  \
    hullwright lock my-host.yaml --upgrade           renew everything\n  \
    hullwright lock my-host.yaml --upgrade runc      renew one package\n  \
    hullwright lock my-host.yaml --arch x86_64,arm64 one lock each, from the same indices")]
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
        let upgrade = match self.upgrade.as_deref() {
            None => Upgrade::Nothing,
            Some([]) => Upgrade::All,
            Some(names) => Upgrade::Only(names.to_vec()),
        };
        let stamp = match self.stamp {
            Some(seconds) => Some(Stamp::from_seconds(seconds)),
            None => environment::source_date_epoch()?,
        };
        let progress = build::progress(context);
        let releases = Releases::default();
        // All or none: a lock that moved on alone would be of another moment than its siblings.
        let mut locked = Vec::new();
        for loaded in self.arguments.load_each(&self.profile)? {
            let archive = self.archive.context(&loaded, &progress, &releases)?;
            let keyrings = loaded.keyrings()?;
            let fresh = obtain::fresh(&loaded, &keyrings, &archive, &upgrade, stamp)?;
            locked.push((obtain::lock_path(&loaded), fresh));
        }
        let mut results = Vec::new();
        for (path, fresh) in &locked {
            let changes = diff(fresh.old.as_ref(), &fresh.lock);
            fresh.lock.save(path)?;
            if !context.json && !context.quiet {
                output::line_out(changes.to_string().trim_end());
                output::line_out(&format!(
                    "{}: {} packages, {}",
                    path.display(),
                    fresh.lock.packages.len(),
                    super::human_size(changes.size_after)
                ));
            }
            results.push(json!({
                "lock": path.to_string_lossy(),
                "arch": fresh.lock.arch,
                "stamp": fresh.lock.stamp,
                "diff": changes,
            }));
        }
        if context.json {
            output::results("locks", results);
        }
        Ok(0)
    }
}
