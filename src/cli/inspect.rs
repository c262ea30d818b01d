//! `hullwright inspect`: look into an image without root.

use std::path::PathBuf;

use anyhow::Result;

use super::Context;
use crate::failure::{Failure, Kind};

/// Look into an image: partitions, boot entries, UKI sections, files of /usr.
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// A disk.raw, or the output folder of a build.
    image: PathBuf,
}

impl Inspect {
    /// Runs the subcommand.
    pub fn run(&self, _context: Context) -> Result<u8> {
        Err(Failure::new(Kind::Bug, self.image.display().to_string()).into())
    }
}
