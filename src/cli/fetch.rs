//! `hullwright fetch`: get the locked inputs ahead of a build.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::arguments::{ArchiveArguments, ProfileArguments};
use super::{Context, build, output};
use crate::archive::{self, Releases};
use crate::resolve::obtain;

/// Download the locked packages, into the cache or a folder for builds without network.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright fetch my-host.yaml                fill the cache\n  \
    hullwright fetch my-host.yaml --to inputs    keep them by SHA-256\n  \
    hullwright fetch my-host.yaml --arch x86_64,arm64\n  \
    hullwright build my-host.yaml --from inputs  build from them, without network")]
pub struct Fetch {
    /// A built-in name or a path.
    profile: String,
    #[command(flatten)]
    arguments: ProfileArguments,
    #[command(flatten)]
    archive: ArchiveArguments,
    /// Put the files here, named by their SHA-256.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

impl Fetch {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let progress = build::progress(context);
        let releases = Releases::default();
        let mut sizes = BTreeMap::new();
        for loaded in self.arguments.load_each(&self.profile)? {
            let archive = self.archive.context(&loaded, &progress, &releases)?;
            let keyrings = loaded.keyrings()?;
            let lock = obtain::lock_on_disk(&loaded, &keyrings, &archive, false)?;
            archive.store.tidy();
            // Packages for all architectures are in several locks, and counted once.
            let taken = match &self.to {
                Some(folder) => {
                    archive::export(&lock, &loaded.profile, &keyrings, &archive, folder)?
                }
                None => {
                    let packages = &lock.packages;
                    archive::fetch_packages(
                        &lock,
                        &loaded.profile,
                        &keyrings,
                        &archive,
                        &|_, _| {},
                    )?;
                    archive::fetch_artefacts(&lock, &loaded.profile, &archive)?;
                    let artefacts = lock.artefacts.iter().map(|a| (a.sha256, a.size));
                    let packages = packages.iter().map(|p| (p.sha256, p.size));
                    packages.chain(artefacts).collect()
                }
            };
            sizes.extend(taken);
        }
        let (count, bytes) = (sizes.len(), sizes.values().sum());
        if context.json {
            output::event("result", json!({"packages": count, "bytes": bytes}));
        } else if !context.quiet {
            output::line_out(&format!("{count} packages, {}", super::human_size(bytes)));
        }
        Ok(0)
    }
}
