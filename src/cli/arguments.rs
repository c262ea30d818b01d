//! Arguments that several subcommands share.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::passphrase::PassphraseArguments;
use super::{environment, interrupt};
use crate::arch::Arch;
use crate::archive::{self, Mirrors, Releases};
use crate::failure::{Failure, Kind};
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
    /// Target architecture: x86_64, arm64, or both with a comma between where a command makes one
    /// thing for each.
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    pub arch: Vec<Arch>,
}

impl ProfileArguments {
    /// Loads the profile called `reference`, a built-in name or a path, for one architecture.
    pub fn load(&self, reference: &str) -> Result<Loaded> {
        let architectures = self.architectures();
        let [arch] = architectures[..] else {
            return Err(Failure::new(
                Kind::Usage,
                format!(
                    "--arch names {} architectures, and this command takes one",
                    architectures.len()
                ),
            )
            .hint("name one; build, lock, fetch, check and release cut take several")
            .into());
        };
        self.load_for(reference, arch)
    }

    /// Loads it for each architecture that was named, or for its own.
    pub fn load_each(&self, reference: &str) -> Result<Vec<Loaded>> {
        self.architectures()
            .into_iter()
            .map(|arch| self.load_for(reference, arch))
            .collect()
    }

    /// For how many architectures [`Self::load_each`] loads.
    pub fn count(&self) -> usize {
        self.architectures().len()
    }

    /// Those that were named, each once; `None` is the profile's own.
    fn architectures(&self) -> Vec<Option<Arch>> {
        let mut all: Vec<Option<Arch>> = Vec::new();
        for &arch in &self.arch {
            if !all.contains(&Some(arch)) {
                all.push(Some(arch));
            }
        }
        if all.is_empty() {
            all.push(None);
        }
        all
    }

    fn load_for(&self, reference: &str, arch: Option<Arch>) -> Result<Loaded> {
        load(&LoadRequest {
            reference,
            sets: &self.sets,
            arch,
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
    /// The archive room's context, which shares `releases` with others of this run.
    pub fn context(
        &self,
        loaded: &Loaded,
        progress: &Progress,
        releases: &Releases,
    ) -> Result<archive::Context> {
        self.open(loaded.named(), progress, releases)
    }

    /// The same for what the user calls `reference`.
    pub fn open(
        &self,
        reference: String,
        progress: &Progress,
        releases: &Releases,
    ) -> Result<archive::Context> {
        let mirrors = Mirrors {
            flag: self.mirror.clone(),
            environment: environment::mirror(),
            apt: archive::apt::read(Path::new("/etc/apt")),
        };
        let store = Store::open(&environment::cache_dir()?)?;
        store.set_limit(environment::cache_limit()?);
        let mut context = archive::Context::new(store, mirrors, environment::now());
        context.offline = self.offline;
        context.from.clone_from(&self.from);
        context.allow_expired = self.allow_expired;
        context.progress = progress.clone();
        context.releases = releases.clone();
        context.reference = reference;
        context.cancel = interrupt::flag();
        Ok(context)
    }
}

/// A size such as `2 GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    crate::profile::parse_size(text).map_err(|expected| format!("expected {expected}"))
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
