//! `hullwright keys vars`: firmware variables of a virtual machine with a key set enrolled.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::arch::Arch;
use crate::cli::{Context, output};
use crate::run::firmware::{self, Uefi};
use crate::sign::Trust;
use crate::stamp::Stamp;

/// Write firmware variables for a virtual machine, with the keys enrolled.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hullwright keys vars keys -o vars.fd\n\n\
    The file is the second flash of OVMF or AAVMF; `run --secure-boot` makes one by itself.")]
pub struct Vars {
    /// The folder with the keys.
    dir: PathBuf,
    /// The firmware's architecture: x86_64 (OVMF) or arm64 (AAVMF).
    #[arg(long, value_name = "ARCH", default_value_t = Arch::X86_64)]
    arch: Arch,
    /// Empty variables to begin with [default: those of the installed firmware].
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// Where to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Vars {
    /// Runs the subcommand.
    pub fn run(&self, context: Context, now: Stamp) -> Result<u8> {
        let trust = Trust::open(&self.dir, now)?;
        let enrolment = firmware::enrolment(&trust)?;
        let template = match &self.template {
            Some(template) => template.clone(),
            None => Uefi::find(self.arch, true)?.vars,
        };
        let bytes = firmware::enrolled(&template, self.arch, enrolment)?;
        firmware::write(&self.output, &bytes)?;
        if context.json {
            output::event(
                "result",
                json!({
                    "file": self.output.to_string_lossy(),
                    "template": template.to_string_lossy(),
                    "fingerprint": trust.fingerprint(),
                }),
            );
        } else if !context.quiet {
            output::line_out(&format!(
                "{}: Secure Boot on, db {}",
                self.output.display(),
                trust.fingerprint()
            ));
        }
        Ok(0)
    }
}
