//! `hullwright keys rotate` and `hullwright keys revoke`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use crate::cli::passphrase::PassphraseArguments;
use crate::cli::{Context, output};
use crate::failure::{Failure, Kind};
use crate::sign::keys::{self, Changed, Key, Revoked, Rotation};
use crate::stamp::Stamp;

/// Make new keys for old ones and renew the signed variables.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright keys rotate keys db verity --owner /media/safe/owner\n  \
    hullwright keys rotate keys --drop-old\n\n\
    The old certificates stay in db until --drop-old, so that images of before still boot. The set\n\
    as it was, private keys included, stays in DIR.old-N.")]
pub struct Rotate {
    /// The folder of the set.
    dir: PathBuf,
    /// Which: PK, KEK, db, verity, release.
    #[arg(value_name = "KEY", required_unless_present = "drop_old")]
    keys: Vec<Key>,
    /// Take older certificates of this set out of db, and older keys out of release.asc.
    #[arg(long)]
    drop_old: bool,
    /// Where PK and KEK are, if not in DIR/owner.
    #[arg(long, value_name = "DIR")]
    owner: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

impl Rotate {
    /// Runs the subcommand.
    pub fn run(&self, context: Context, now: Stamp) -> Result<u8> {
        let passphrase = self.passphrase.get();
        let rotation = Rotation {
            keys: &self.keys,
            drop_old: self.drop_old,
            owner: self.owner.as_deref(),
        };
        let changed = keys::rotate(&self.dir, &rotation, &|what| passphrase.existing(what), now)?;
        report(&self.dir, &changed, context);
        Ok(0)
    }
}

/// Forbid images or everything that a certificate signed: renew dbx.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
#[command(after_help = "Example:\n  \
    hullwright keys revoke keys --image out/edge-x86_64-1.4.2/edge_1.4.2.efi --owner /media/safe/owner\n\n\
    enrol/dbx-update.auth adds the new entries to what a machine has; enrol/dbx.auth is the whole list\n\
    of this set, for machines that are enrolled anew.")]
pub struct Revoke {
    /// The folder of the set.
    dir: PathBuf,
    /// A boot loader, UKI or addon.
    #[arg(long, value_name = "FILE.efi", group = "what")]
    image: Vec<PathBuf>,
    /// The Authenticode digest of one; not that of its file.
    #[arg(long, value_name = "HEX", group = "what")]
    sha256: Vec<String>,
    /// A certificate, PEM or DER, and so all that its key signed.
    #[arg(long, value_name = "FILE", group = "what")]
    certificate: Vec<PathBuf>,
    /// Where PK and KEK are, if not in DIR/owner.
    #[arg(long, value_name = "DIR")]
    owner: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

impl Revoke {
    /// Runs the subcommand.
    pub fn run(&self, context: Context, now: Stamp) -> Result<u8> {
        let mut what = Vec::new();
        for path in &self.image {
            let digest = keys::image_digest(&read(path)?)
                .map_err(|error| usage(format!("{} is no PE image: {error:#}", path.display())))?;
            what.push(Revoked::Image(digest));
        }
        for text in &self.sha256 {
            what.push(Revoked::Image(digest(text)?));
        }
        for path in &self.certificate {
            let der = keys::read_certificate(&read(path)?)
                .map_err(|error| usage(format!("{}: {error:#}", path.display())))?;
            what.push(Revoked::Certificate(der));
        }
        let passphrase = self.passphrase.get();
        let changed = keys::revoke(
            &self.dir,
            &what,
            self.owner.as_deref(),
            &|what| passphrase.existing(what),
            now,
        )?;
        let dir = &self.dir;
        match changed {
            Some(changed) => report(dir, &changed, context),
            None if context.json => {
                output::event(
                    "result",
                    json!({"dir": dir.to_string_lossy(), "renewed": []}),
                );
            }
            None if context.quiet => {}
            None => output::line_out(&format!("{}: dbx has all of it", dir.display())),
        }
        Ok(0)
    }
}

fn report(dir: &Path, changed: &Changed, context: Context) {
    if context.json {
        output::event(
            "result",
            json!({
                "dir": dir.to_string_lossy(),
                "renewed": changed.renewed,
                "old": changed.old.as_ref().map(|path| path.to_string_lossy()),
                "old_owner": changed.old_owner.as_ref().map(|path| path.to_string_lossy()),
            }),
        );
        return;
    }
    if context.quiet {
        return;
    }
    if !changed.renewed.is_empty() {
        let files = changed.renewed.join(", ");
        output::line_out(&format!("{}: renewed {files} in enrol", dir.display()));
    }
    for old in changed.old.iter().chain(&changed.old_owner) {
        output::line_out(&format!("as it was: {}", old.display()));
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path)
        .map_err(|error| usage(format!("reading {}: {error}", path.display())))
        .map_err(Into::into)
}

fn digest(text: &str) -> Result<[u8; 32]> {
    text.parse::<crate::digest::Sha256>()
        .map(|digest| digest.0)
        .map_err(|_| {
            usage(format!(
                "`{text}` is no SHA-256 digest; expected 64 hexadecimal digits"
            ))
            .into()
        })
}

fn usage(message: String) -> Failure {
    Failure::new(Kind::Usage, message)
}
