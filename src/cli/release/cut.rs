//! `hullwright release cut`.

use std::path::PathBuf;

use anyhow::Result;

use super::super::Context;
use super::super::build::{BuildArguments, Prepared};
use super::{authority, report};
use crate::failure::{Failure, Kind};
use crate::profile::Loaded;
use crate::release::{Candidate, Cut, Tree, cut, rules};
use crate::sign::Trust;

/// Build profiles and add them to a channel of a release tree.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright release cut my-host.yaml --channel beta --version 1.4.2 --to site --keys keys\n  \
    hullwright release cut web.yaml db.yaml --channel beta --version 1.5.0 --to site --keys keys --locked\n  \
    hullwright release cut my-host.yaml --channel beta --version 1.4.2 --to site --arch x86_64,arm64\n\n\
    DIR is a tree for any static web server. It changes in one step, when everything is built and\n\
    signed, or not at all.")]
pub struct CutCommand {
    /// Built-in names or paths.
    #[arg(required = true, value_name = "PROFILE")]
    profiles: Vec<String>,
    /// The channel; a new name makes a new one.
    #[arg(long, value_name = "NAME")]
    channel: String,
    /// The version, above the last one in the channel.
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// The release tree.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// By how many percent an update may be larger than the last one.
    #[arg(long, value_name = "PERCENT", default_value_t = rules::DEFAULT_GROWTH)]
    max_growth: u32,
    #[command(flatten)]
    build: BuildArguments,
}

impl CutCommand {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        // JSON is YAML, and keeps `1.10` a text.
        let version = [format!(
            "os.version={}",
            serde_json::to_string(&self.version)?
        )];
        let admit = |loaded: &Loaded, trust: &Trust| {
            cut::admit(loaded, trust)?;
            refuse_unsigned(&self.build, loaded)
        };
        let prepared = self
            .build
            .prepare(&self.profiles, &version, admit, context)?;
        let Some(first) = prepared.first() else {
            return Ok(0);
        };
        let mut others = prepared.iter();
        if let Some(other) = others.find(|one| one.trust.dir() != first.trust.dir()) {
            return Err(two_key_folders(first, other).into());
        }
        let authority = authority(&first.trust, self.build.passphrase())?;
        let tree = Tree::open(&self.to)?;
        let mut cut = Cut::begin(&tree, &authority, &self.channel, self.max_growth)?;
        let candidates: Vec<_> = prepared
            .iter()
            .map(|one| Candidate {
                loaded: &one.loaded,
                stamp: one.stamp,
                lock: &one.lock,
            })
            .collect();
        cut.check(&candidates)?;
        for one in &prepared {
            if prepared.len() > 1 {
                one.announce(context);
            }
            let built = one.build(&cut.output())?;
            cut.add(&built, &one.loaded, one.progress())?;
        }
        let (index, added) = cut.publish()?;
        report(&self.to, &index, &added, "added", context);
        Ok(0)
    }
}

fn refuse_unsigned(build: &BuildArguments, loaded: &Loaded) -> Result<()> {
    if build.signs_later(loaded) {
        return Err(Failure::new(
            Kind::Usage,
            format!(
                "{} is signed later, and a release is signed when it is cut",
                loaded.reference
            ),
        )
        .hint("choose who signs with --sign now --signer SIGNER")
        .into());
    }
    Ok(())
}

fn two_key_folders(first: &Prepared<'_>, other: &Prepared<'_>) -> Failure {
    Failure::new(
        Kind::Keys,
        format!(
            "the profiles {} and {} have different keys, {} and {}",
            first.loaded.reference,
            other.loaded.reference,
            first.trust.dir().display(),
            other.trust.dir().display()
        ),
    )
    .hint("choose one folder with --keys DIR, or cut them into different trees")
}
