//! `hullwright sign`: complete or renew the signatures of a finished image.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::passphrase::PassphraseArguments;
use super::{Context, arguments, output};
use crate::resign::{Request, Signed};
use crate::sign::Choice;

/// Sign a finished image, or sign it again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright build my-host.yaml --keys certificates --sign later -o image\n  \
    hullwright sign image --keys keys\n  \
    hullwright sign image --keys certificates --signer 'command:kms-sign --project os'\n\n\
    The image is replaced in one step, or left as it was. With the certificate that it was built\n\
    for, only signatures and checksums change; what changed is listed.")]
pub struct Sign {
    /// Output directory of a build, or the disk.raw in it.
    image: PathBuf,
    /// Folder with certificates, and for `file` with signing keys.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Who signs: `file`, `command:PROGRAM [ARG…]` or a `pkcs11:` URI.
    #[arg(long, value_name = "SIGNER", default_value = "file", value_parser = arguments::signer)]
    signer: Choice,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Have the output on the platter before it gets its name.
    #[arg(long)]
    sync: bool,
}

impl Sign {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let request = Request::open(&self.image)?;
        let trust = arguments::keys_or(self.keys.as_deref(), || Ok(None))?;
        trust.check_allowed(request.is_development())?;
        let needed = request.needed();
        let signers = arguments::signers(&self.signer, &trust, &needed, &self.passphrase)?;
        let signed = request.sign(&trust, &signers, self.sync)?;
        report(&signed, context);
        Ok(0)
    }
}

fn report(signed: &Signed, context: Context) {
    if context.json {
        output::event(
            "result",
            json!({
                "directory": signed.folder.to_string_lossy(),
                "signing_certificate": signed.certificate,
                "changes": signed.changes,
                "removed": signed.removed,
            }),
        );
        return;
    }
    if context.quiet {
        return;
    }
    for change in &signed.changes {
        output::line_out(&format!(
            "{}: {} bytes at {}: {}",
            change.file, change.bytes, change.offset, change.what
        ));
    }
    for name in &signed.removed {
        output::line_out(&format!("{name}: removed"));
    }
    if signed.changes.is_empty() {
        output::line_out("signed already with this certificate; nothing changed");
    }
}
