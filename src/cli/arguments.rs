//! Arguments that several subcommands share.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::passphrase::PassphraseArguments;
use super::{environment, interrupt};
use crate::arch::Arch;
use crate::archive::{self, Mirrors};
use crate::profile::{LoadRequest, Loaded, load};
use crate::report::Progress;
use crate::sign::{self, Choice, Role, Signers, Trust};
use crate::stamp::Stamp;
use crate::store::Store;

/// Which profile, and what is different this time.
#[derive(Debug, Clone, clap::Args)]
pub struct ProfileArguments {
    /// Override a value of the profile; the value is YAML.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub sets: Vec<String>,
    /// Target architecture: x86_64 or arm64.
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<Arch>,
}

impl ProfileArguments {
    /// Loads the profile called `reference`, a built-in name or a path.
    pub fn load(&self, reference: &str) -> Result<Loaded> {
        load(&LoadRequest {
            reference,
            sets: &self.sets,
            arch: self.arch,
        })
    }
}

/// Where packages come from.
#[derive(Debug, Clone, clap::Args)]
pub struct ArchiveArguments {
    /// Debian mirror: a URL, or two with a comma between (Debian's and the security tree).
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// Never touch the network.
    #[arg(long)]
    pub offline: bool,
    /// Take locked packages from this folder of files named by SHA-256 (see `fetch --to`).
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Accept a Release file past its Valid-Until.
    #[arg(long)]
    pub allow_expired: bool,
}

impl ArchiveArguments {
    /// The archive room's context.
    pub fn context(&self, loaded: &Loaded, progress: &Progress) -> Result<archive::Context> {
        let mirrors = Mirrors {
            flag: self.mirror.clone(),
            environment: environment::mirror(),
            apt: archive::apt::read(Path::new("/etc/apt")),
        };
        let store = Store::open(&environment::cache_dir()?)?;
        let mut context = archive::Context::new(store, mirrors, environment::now());
        context.offline = self.offline;
        context.from.clone_from(&self.from);
        context.allow_expired = self.allow_expired;
        context.progress = progress.clone();
        context.reference.clone_from(&loaded.reference);
        context.cancel = interrupt::flag();
        Ok(context)
    }
}

/// Whose keys sign: flag, environment, profile, development set.
pub fn keys(flag: Option<&Path>, loaded: &Loaded) -> Result<Trust> {
    let keys = keys_or(flag, || loaded.keys())?;
    keys.check_allowed(loaded.profile.development)?;
    Ok(keys)
}

/// The keys of flag, environment, `otherwise`, development set.
pub fn keys_or(
    flag: Option<&Path>,
    otherwise: impl FnOnce() -> Result<Option<PathBuf>>,
) -> Result<Trust> {
    let now = Stamp::from_seconds(environment::now());
    let named = match flag.map(Path::to_owned).or_else(environment::keys) {
        Some(dir) => Some(dir),
        None => otherwise()?,
    };
    match named {
        Some(dir) => Trust::open(&dir, now),
        None => sign::keys::development(&environment::state_dir()?, now)
            .context("making development keys"),
    }
}

/// Opens the `needed` keys of `trust` by way of `choice`, with passphrase, PIN and time limit from
/// where the person has put them.
pub fn signers(
    choice: &Choice,
    trust: &Trust,
    needed: &[Role],
    passphrase: &PassphraseArguments,
) -> Result<Signers> {
    let passphrase = passphrase.get();
    let settings = environment::signer_settings()?;
    Signers::open(choice, trust, needed, &settings, &|what| {
        passphrase.existing(what)
    })
}

/// The value of `--signer`.
pub fn signer(text: &str) -> Result<Choice, String> {
    text.parse()
        .map_err(|expected| format!("expected {expected}"))
}
