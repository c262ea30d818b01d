//! `hullwright addon`: signed words for the command line of single nodes.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::passphrase::PassphraseArguments;
use super::{Context, arguments, output};
use crate::arch::Arch;
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::profile::cmdline;
use crate::sign::{Choice, Role, authenticode};
use crate::staging;
use crate::uki::addon::{self, Addon};

/// Make signed addons: words of the command line that vary from node to node.
#[derive(Debug, clap::Args)]
#[command(name = "addon")]
pub struct AddonCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an addon.
    #[command(after_help = "Examples:\n  \
        hullwright addon new --cmdline 'console=ttyS1,115200' --keys keys -o serial.addon.efi\n  \
        hullwright addon new --cmdline hugepages=512 --uname 6.12.41-cloud-amd64 -o huge.addon.efi\n\n\
        On the ESP it goes to loader/addons/ for every UKI, or to EFI/Linux/ID_VERSION.efi.extra.d/ for\n\
        one, whose boot counter is no part of the folder's name. Whoever can write to the ESP of any\n\
        machine that trusts the key can put it there: sign no words that must not be everywhere.")]
    New(New),
}

#[derive(Debug, clap::Args)]
struct New {
    /// Words for the end of the command line, with spaces between.
    #[arg(long, value_name = "WORDS")]
    cmdline: String,
    /// Architecture of the nodes.
    #[arg(long, default_value = "x86_64")]
    arch: Arch,
    /// The only kernel version whose UKI takes it, as `uname -r` prints it.
    #[arg(long, value_name = "VERSION")]
    uname: Option<String>,
    /// Folder with signing keys.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Who signs: `file`, `command:PROGRAM [ARG…]` or a `pkcs11:` URI.
    #[arg(long, value_name = "SIGNER", default_value = "file", value_parser = arguments::signer)]
    signer: Choice,
    /// The file; its name ends in `.addon.efi`.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl AddonCommand {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let Command::New(new) = &self.command;
        new.run(context)
    }
}

/// The end of the name by which the stub knows an addon.
const SUFFIX: &str = ".addon.efi";

fn usage(message: String) -> Failure {
    Failure::new(Kind::Usage, message)
}

impl New {
    fn run(&self, context: Context) -> Result<u8> {
        let named = self.output.file_name().and_then(|name| name.to_str());
        if !named.is_some_and(|name| name.len() > SUFFIX.len() && name.ends_with(SUFFIX)) {
            return Err(
                usage(format!("{} is no name of an addon", self.output.display()))
                    .hint(format!("the stub takes only files that end in `{SUFFIX}`"))
                    .into(),
            );
        }
        if let Some(uname) = &self.uname
            && (uname.is_empty() || !uname.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(usage(format!("`{uname}` is no kernel version")).into());
        }
        let trust = arguments::keys_or(self.keys.as_deref(), || Ok(None))?;
        let cmdline = checked(&self.cmdline, trust.is_development())?;
        let signers = arguments::signers(&self.signer, &trust, &[Role::Db], &self.passphrase)?;
        let unsigned = addon::build(&Addon {
            arch: self.arch,
            cmdline: &cmdline,
            uname: self.uname.as_deref(),
        });
        let signed = authenticode::sign(unsigned, &*signers.db).context("signing the addon")?;
        staging::write_file(&self.output, &signed)?;
        let (path, sha256) = (self.output.display(), Sha256::of(&signed));
        if context.json {
            let path = path.to_string();
            output::event(
                "result",
                json!({"path": path, "sha256": sha256, "fingerprint": trust.fingerprint()}),
            );
        } else {
            output::line_out(&format!("{sha256}  {path}"));
        }
        Ok(0)
    }
}

/// The line of words, or why one of them must not be signed. A profile for production may not have
/// them either; with a signature they could be added to any image, and taken from nobody.
fn checked(line: &str, development: bool) -> Result<String> {
    let words = cmdline::split(line);
    if words.is_empty() {
        return Err(usage("an addon without words has no effect".into()).into());
    }
    for word in &words {
        if let Err(expected) = cmdline::check(word) {
            return Err(usage(format!("`{word}` can't be added: {expected}")).into());
        }
        if word.contains('{') {
            return Err(usage(format!("`{word}`: an addon fills in nothing")).into());
        }
        if let Some(refusal) = cmdline::refusal(word).filter(|_| !development) {
            return Err(usage(format!("`{word}` {refusal}"))
                .hint("sign it with development keys, which only development machines trust")
                .into());
        }
    }
    Ok(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_keys_sign_no_word_that_a_release_may_not_have() {
        for (line, release, development) in [
            ("console=ttyS1,115200  quiet", true, true),
            ("lockdown=confidentiality", true, true),
            ("systemd.unit=rescue.target", false, true),
            ("quiet rd.systemd.debug_shell", false, true),
            ("module.sig_enforce=0", false, true),
            ("systemd.import_credentials=yes", false, true),
            ("init=/bin/sh", false, false),
            ("usrhash=00", false, false),
            ("rd.systemd.verity=no", false, false),
            ("dm_verity.require_signatures=0", false, false),
            ("console={serial}", false, false),
            ("a=\"b", false, false),
            ("", false, false),
        ] {
            assert_eq!(checked(line, false).is_ok(), release, "{line}");
            assert_eq!(checked(line, true).is_ok(), development, "{line}");
        }
        assert_eq!(checked(" a  b ", false).unwrap(), "a b");
    }
}
