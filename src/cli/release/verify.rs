//! `hullwright release verify`.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::super::{Context, build, human_size, output};
use super::place::{JOBS, PlaceArguments};
use crate::failure::{Failure, Kind};
use crate::release::verify::{Report, verify};

/// Check a release tree, or a mirror of one, with the public key alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright release verify site --key keys/release.asc\n  \
    hullwright release verify https://mirror.example.com/os --channel stable --key release.asc\n\n\
    Checked are signatures, every file against index and sums, and what the files say of each other:\n\
    /usr against its hash tree, UKI and boot loader, manifest, lock and the unpacked disk image. All\n\
    that is wrong is listed. From a URL files are read as they come, and nothing is stored.")]
pub struct Verify {
    #[command(flatten)]
    place: PlaceArguments,
}

impl Verify {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let source = self.place.source()?;
        let trusted = self.place.trusted()?;
        let request = self.place.request(&trusted);
        let progress = build::progress(context);
        let check = || verify(source.as_ref(), &request, &progress);
        let report = if self.place.is_remote() {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(JOBS).build();
            pool.context("starting threads")?.install(check)?
        } else {
            check()?
        };
        show(&report, context);
        if report.findings.is_empty() {
            return Ok(0);
        }
        let count = report.findings.len();
        let some = if count == 1 { "problem" } else { "problems" };
        Err(Failure::new(
            Kind::Archive,
            format!("{} is not as it was signed: {count} {some}", source.name()),
        )
        .hint("restore what is damaged from the tree that was signed; never sign it anew")
        .into())
    }
}

fn show(report: &Report, context: Context) {
    for finding in &report.findings {
        if context.json {
            output::event(
                "finding",
                json!({"file": finding.file, "problem": finding.problem}),
            );
        } else {
            let file = finding.file.escape_debug();
            output::line_out(&format!("bad  {file}: {}", finding.problem));
        }
    }
    if !report.findings.is_empty() {
        return;
    }
    if context.json {
        output::event("result", json!(report));
    } else if !context.quiet {
        output::line_out(&format!(
            "good  {}: releases {}, files {}, {}, signed by {}",
            report.channels.join(", "),
            report.releases,
            report.files,
            human_size(report.bytes),
            report.keys.join(" or "),
        ));
    }
}
