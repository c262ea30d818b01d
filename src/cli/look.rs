//! What commands share that look into an image without building it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::arguments::{self, ArchiveArguments, ProfileArguments};
use super::{Context, build, environment};
use crate::archive::{self, Keyrings, Releases};
use crate::build::Inputs;
use crate::profile::Loaded;
use crate::resolve::{Lock, obtain};
use crate::sign::Trust;

/// Which image.
#[derive(Debug, Clone, clap::Args)]
pub struct LookArguments {
    #[command(flatten)]
    pub profile: ProfileArguments,
    #[command(flatten)]
    pub archive: ArchiveArguments,
    /// Folder with the keys that the image is signed with, as their public parts are in it; no private
    /// one is opened.
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
}

/// An image that could be built.
pub struct Look {
    /// The profile.
    pub loaded: Loaded,
    /// The exact packages.
    pub lock: Lock,
    trust: Trust,
    archive: archive::Context,
    keyrings: Keyrings,
}

impl LookArguments {
    /// Finds out all that a build of `profile` would be given. No lock is written.
    pub fn open(&self, profile: &str, context: Context) -> Result<Look> {
        let loaded = self.profile.load(profile)?;
        // Nothing is signed, so that development's keys do for every profile.
        let trust = arguments::keys_or(self.keys.as_deref(), || loaded.keys())?;
        let progress = build::progress(context);
        let archive = self
            .archive
            .context(&loaded, &progress, &Releases::default())?;
        let keyrings = loaded.keyrings()?;
        let lock = obtain::lock(&loaded, &keyrings, &archive)?;
        Ok(Look {
            loaded,
            lock,
            trust,
            archive,
            keyrings,
        })
    }
}

impl Look {
    /// What a build is given; nothing is signed, and nothing written.
    pub fn inputs(&self) -> Result<Inputs<'_>> {
        Ok(Inputs {
            loaded: &self.loaded,
            lock: &self.lock,
            keyrings: &self.keyrings,
            archive: &self.archive,
            trust: &self.trust,
            signers: None,
            stamp: environment::source_date_epoch()?.unwrap_or(self.lock.stamp),
            output: Path::new(""),
            sync: false,
        })
    }
}
