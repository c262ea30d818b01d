//! `hullwright check`: everything that can be said of a profile without downloading.

use anyhow::Result;
use serde_json::{Value, json};

use super::arguments::ProfileArguments;
use super::{Context, output};
use crate::profile::Loaded;
use crate::resolve::{Lock, obtain};

/// Check a profile and the files it names, without downloading anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright check my-host.yaml\n  \
    hullwright check my-host.yaml --arch x86_64,arm64")]
pub struct Check {
    /// A built-in name or a path.
    profile: String,
    #[command(flatten)]
    arguments: ProfileArguments,
}

impl Check {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let mut results = Vec::new();
        for loaded in self.arguments.load_each(&self.profile)? {
            results.push(check(&loaded, context)?);
        }
        if context.json {
            output::results("profiles", results);
        }
        Ok(0)
    }
}

fn check(loaded: &Loaded, context: Context) -> Result<Value> {
    loaded.check_files()?;
    let profile = &loaded.profile;
    let path = obtain::lock_path(loaded);
    let lock = match Lock::load(&path)? {
        None => "absent",
        Some(lock) if obtain::fits(loaded, &lock)? => "fits",
        Some(_) => {
            tracing::warn!(
                "{} does not fit the profile any more; renew it: {}",
                path.display(),
                obtain::lock_command(loaded)
            );
            "stale"
        }
    };
    if !context.json && !context.quiet {
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
    Ok(json!({
        "profile": loaded.stem,
        "arch": profile.arch,
        "hash": loaded.hash(),
        "development": profile.development,
        "lock": lock,
    }))
}
