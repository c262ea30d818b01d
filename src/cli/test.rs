//! `hullwright test`: boot a finished image and judge from outside.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::run::MachineArguments;
use super::{Context, arguments, image, output};
use crate::run::boot_test::boot_test;
use crate::run::junit;

/// Boot the exact bytes of a finished image and judge by console, boot-complete and blessing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright test out/my-host-x86_64-1.4.2\n  \
    hullwright test disk.raw --junit report.xml --timeout 600\n\n\
    Works on release images: no way in is needed, and the image itself is not written to.")]
pub struct Test {
    /// A disk.raw, or the output folder of a build.
    image: PathBuf,
    /// Write a JUnit report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Folder with the keys that sign the image, for --secure-boot.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArguments,
}

impl Test {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let image = image::find(&self.image)?;
        let trust = || arguments::keys_or(self.keys.as_deref(), || Ok(None));
        let settings = self.machine.settings(&image, trust)?;
        let verdict = boot_test(&image.disk, image.esp()?, &settings)?;
        for check in &verdict.checks {
            let mark = if check.failure.is_none() {
                "ok  "
            } else {
                "FAIL"
            };
            eprintln!(
                "{mark} {:>7.1} s  {}",
                check.after.as_secs_f64(),
                check.name
            );
            if let Some(why) = &check.failure {
                eprintln!("               {why}");
            }
        }
        if let Some(path) = &self.junit {
            let report = junit::report("hullwright test", &verdict.checks, &verdict.console);
            std::fs::write(path, report).with_context(|| format!("writing {}", path.display()))?;
        }
        if context.json {
            let checks: Vec<_> = verdict
                .checks
                .iter()
                .map(|c| json!({"name": c.name, "after": c.after.as_secs_f64(), "failure": c.failure}))
                .collect();
            output::event(
                "result",
                json!({"passed": verdict.passed(), "checks": checks}),
            );
        }
        Ok(u8::from(!verdict.passed()))
    }
}
