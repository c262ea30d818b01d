//! `hullwright check`: everything that can be said of a profile without downloading.

use anyhow::Result;
use serde_json::json;

use super::arguments::ProfileArguments;
use super::{Context, output};
use crate::resolve::{Lock, obtain};

/// Check a profile and the files it names, without downloading anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hullwright check my-host.yaml")]
pub struct Check {
    /// A built-in name or a path.
    profile: String,
    #[command(flatten)]
    arguments: ProfileArguments,
}

impl Check {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let loaded = self.arguments.load(&self.profile)?;
        loaded.check_files()?;
        let profile = &loaded.profile;
        let path = obtain::lock_path(&loaded);
        let lock = match Lock::load(&path)? {
            None => "absent",
            Some(lock) if obtain::fits(&loaded, &lock)? => "fits",
            Some(_) => {
                tracing::warn!(
                    "{} does not fit the profile any more; renew it: {}",
                    path.display(),
                    obtain::lock_command(&loaded)
                );
                "stale"
            }
        };
        if context.json {
            output::event(
                "result",
                json!({"profile": loaded.stem, "hash": loaded.hash(), "development": profile.development, "lock": lock}),
            );
        } else if !context.quiet {
            output::line_out(&format!(
                "{}: good ({} {} for {}, {} packages asked for{})",
                loaded.stem,
                profile.os.id,
                profile.os.version,
                profile.arch,
                profile.packages.include.len(),
                if profile.development {
                    ", development only"
                } else {
                    ""
                },
            ));
        }
        Ok(0)
    }
}
