//! `hullwright build`: link profiles into images.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use super::arguments::{self, ArchiveArguments, ProfileArguments};
use super::passphrase::PassphraseArguments;
use super::{Context, environment, output};
use crate::archive::{self, Keyrings};
use crate::build::{self, Built, Inputs};
use crate::failure::{Failure, Kind};
use crate::profile::schema::VeritySignature;
use crate::profile::{Loaded, SignTime};
use crate::report::Progress;
use crate::report::progress::{self, Form};
use crate::resolve::Lock;
use crate::resolve::lock::Upgrade;
use crate::resolve::obtain;
use crate::sign::{Choice, Role, Signers, Trust};
use crate::stamp::Stamp;

/// Link profiles into images.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright build qemu\n  \
    hullwright build my-host.yaml --set os.version=1.4.2 --keys keys\n  \
    hullwright build my-host.yaml --locked --offline -o image\n\n\
    The output directory (out/NAME-ARCH-VERSION) appears whole or not at all.")]
pub struct Build {
    /// Built-in names or paths.
    #[arg(required = true, value_name = "PROFILE")]
    profiles: Vec<String>,
    #[command(flatten)]
    arguments: BuildArguments,
    /// Output directory [default: out/NAME-ARCH-VERSION].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// How to build.
#[derive(Debug, Clone, clap::Args)]
pub struct BuildArguments {
    #[command(flatten)]
    profile: ProfileArguments,
    #[command(flatten)]
    archive: ArchiveArguments,
    /// Use the lock as it is; an error if it does not fit.
    #[arg(long)]
    locked: bool,
    /// Time of everything in the image, in seconds since 1970 [default: the lock's].
    #[arg(long, value_name = "SECONDS")]
    stamp: Option<u64>,
    /// Folder with signing keys.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Who signs: `file`, `command:PROGRAM [ARG…]` or a `pkcs11:` URI [default: the profile's, else
    /// `file`].
    #[arg(long, value_name = "SIGNER", value_parser = arguments::signer)]
    signer: Option<Choice>,
    /// Sign while building, or leave it to `hullwright sign` [default: the profile's, else `now`].
    #[arg(long, value_name = "WHEN")]
    sign: Option<When>,
    /// Have the output on the platter before it gets its name.
    #[arg(long)]
    sync: bool,
}

impl BuildArguments {
    /// The passphrase of encrypted keys.
    pub const fn passphrase(&self) -> &PassphraseArguments {
        &self.passphrase
    }

    /// Whether `profile` is to be signed only after the build.
    pub fn signs_later(&self, loaded: &Loaded) -> bool {
        match self.sign {
            Some(when) => when == When::Later,
            None => loaded.profile.sign == SignTime::Later,
        }
    }

    /// Whose keys sign `profile`, or without one whose keys most likely signed a finished image.
    pub fn trust(&self, profile: Option<&str>) -> Result<Trust> {
        let loaded = profile.map(|name| self.profile.load(name)).transpose()?;
        match loaded {
            Some(loaded) => arguments::keys(self.keys.as_deref(), &loaded),
            None => arguments::keys_or(self.keys.as_deref(), || Ok(None)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum When {
    /// The build signs.
    Now,
    /// The build opens no private key, and leaves places for signatures.
    Later,
}

impl Build {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        if self.output.is_some() && self.profiles.len() > 1 {
            return Err(Failure::new(
                Kind::Usage,
                "--output is one directory, and several profiles are named",
            )
            .into());
        }
        for profile in &self.profiles {
            let built = build_into(profile, &self.arguments, self.output.clone(), context)?;
            report(&built, context);
        }
        Ok(0)
    }
}

/// The progress that `context` asks for.
pub fn progress(context: Context) -> Progress {
    if context.json {
        Progress::new(Form::Json)
    } else if context.quiet {
        Progress::quiet()
    } else {
        Progress::for_people()
    }
}

/// Builds one profile into its default directory.
pub fn build_one(profile: &str, arguments: &BuildArguments, context: Context) -> Result<Built> {
    // Stdout belongs to the guest's output.
    build_into(
        profile,
        arguments,
        None,
        Context {
            json: false,
            ..context
        },
    )
}

fn build_into(
    profile: &str,
    arguments: &BuildArguments,
    output: Option<PathBuf>,
    context: Context,
) -> Result<Built> {
    let prepared = Prepared::new(profile, arguments, &[], |_, _| Ok(()), context)?;
    let output = output.unwrap_or_else(|| {
        let (loaded, os) = (&prepared.loaded, &prepared.loaded.profile.os);
        let arch = loaded.profile.arch;
        PathBuf::from(format!("out/{}-{arch}-{}", loaded.stem, os.version))
    });
    prepared.build(&output)
}

/// Everything that a build needs, before it begins.
pub struct Prepared<'a> {
    /// The profile.
    pub loaded: Loaded,
    /// Whose keys sign.
    pub trust: Trust,
    /// Who signs; nobody, where that comes later.
    signers: Option<Signers>,
    /// The exact packages.
    pub lock: Lock,
    /// Time of everything.
    pub stamp: Stamp,
    archive: archive::Context,
    keyrings: Keyrings,
    lock_path: PathBuf,
    arguments: &'a BuildArguments,
}

impl<'a> Prepared<'a> {
    /// Loads `profile` with the `sets` of the arguments and those of `more`, and if `admit` agrees opens
    /// what signs and gets the lock: a signer that is not there is known before anything is downloaded.
    pub fn new(
        profile: &str,
        arguments: &'a BuildArguments,
        more: &[String],
        admit: impl FnOnce(&Loaded, &Trust) -> Result<()>,
        context: Context,
    ) -> Result<Self> {
        let mut chosen = arguments.profile.clone();
        chosen.sets.extend_from_slice(more);
        let loaded = chosen.load(profile)?;
        let trust = arguments::keys(arguments.keys.as_deref(), &loaded)?;
        admit(&loaded, &trust)?;
        let signers = signers(arguments, &loaded, &trust)?;
        let archive = arguments.archive.context(&loaded, &progress(context))?;
        let keyrings = loaded.keyrings()?;
        let forced = match arguments.stamp {
            Some(seconds) => Some(Stamp::from_seconds(seconds)),
            None => environment::source_date_epoch()?,
        };
        let lock_path = obtain::lock_path(&loaded);
        let lock = match obtain::existing(&loaded, arguments.locked)? {
            Some(lock) => lock,
            None => {
                let fresh = obtain::fresh(&loaded, &keyrings, &archive, &Upgrade::Nothing, None)?;
                fresh.lock.save(&lock_path)?;
                fresh.lock
            }
        };
        Ok(Self {
            stamp: forced.unwrap_or(lock.stamp),
            loaded,
            trust,
            signers,
            lock,
            archive,
            keyrings,
            lock_path,
            arguments,
        })
    }

    /// Tells how far the build is.
    pub fn progress(&self) -> &Progress {
        &self.archive.progress
    }

    /// Builds into `output`.
    pub fn build(&self, output: &Path) -> Result<Built> {
        let arguments = self.arguments;
        let built = build::build(&Inputs {
            loaded: &self.loaded,
            lock: &self.lock,
            keyrings: &self.keyrings,
            archive: &self.archive,
            trust: &self.trust,
            signers: self.signers.as_ref(),
            stamp: self.stamp,
            output,
            sync: arguments.sync,
        })?;
        // Numbers of users are known only now; from here on they never move.
        if built.lock.ids != self.lock.ids && !arguments.locked {
            built.lock.save(&self.lock_path)?;
        }
        Ok(built)
    }
}

/// Who signs; nobody, where that comes later.
fn signers(build: &BuildArguments, loaded: &Loaded, trust: &Trust) -> Result<Option<Signers>> {
    if build.signs_later(loaded) {
        return Ok(None);
    }
    let choice = match &build.signer {
        Some(choice) => choice.clone(),
        None => loaded.signer()?,
    };
    let mut needed = vec![Role::Db];
    let required = loaded.profile.boot.verity_signature == VeritySignature::Require;
    if required || trust.certificate(Role::Verity).is_some() {
        needed.push(Role::Verity);
    }
    arguments::signers(&choice, trust, &needed, &build.passphrase).map(Some)
}

fn report(built: &Built, context: Context) {
    let manifest = &built.manifest;
    if context.json {
        output::event(
            "result",
            json!({
                "directory": built.directory.to_string_lossy(),
                "root_hash": manifest.root_hash,
                "disk": manifest.disk.sha256,
                "artefacts": manifest.artefacts,
            }),
        );
        return;
    }
    if context.quiet {
        return;
    }
    let size = |suffix: &str| {
        let found = manifest.artefacts.iter().find(|a| a.name.ends_with(suffix));
        super::human_size(found.map_or(0, |a| a.size))
    };
    output::line_out(&format!(
        "{}: {} packages, usr {}, UKI {}, peak memory {}{}",
        built.directory.display(),
        manifest.packages.len(),
        size(".erofs"),
        size(".efi"),
        super::human_size(progress::peak_memory()),
        if manifest.development {
            " (development only)"
        } else {
            ""
        },
    ));
}
