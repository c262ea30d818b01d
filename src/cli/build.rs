//! `hullwright build`: link profiles into images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::arguments::{self, ArchiveArguments, ProfileArguments};
use super::passphrase::PassphraseArguments;
use super::{Context, environment, output};
use crate::archive::{self, Keyrings, Releases};
use crate::build::{self, Built, Inputs};
use crate::failure::{Failure, Kind};
use crate::profile::schema::VeritySignature;
use crate::profile::{Loaded, SignTime};
use crate::report::Progress;
use crate::report::manifest::Manifest;
use crate::report::progress::{self, Form};
use crate::resolve::Lock;
use crate::resolve::obtain;
use crate::sign::{Choice, Role, Signers, Trust};
use crate::stamp::Stamp;
use crate::unchanged;

/// Link profiles into images.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright build qemu\n  \
    hullwright build my-host.yaml --set os.version=1.4.2 --keys keys\n  \
    hullwright build my-host.yaml --locked --offline -o image\n  \
    hullwright build my-host.yaml --arch x86_64,arm64\n\n\
    An output directory (out/NAME-ARCH-VERSION) appears whole or not at all. Several images share\n\
    what they can: signed indices, downloads, compiled packages.")]
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
    /// Build even where the output directory holds already what would be written.
    #[arg(long)]
    rebuild: bool,
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
        let count = self.profiles.len() * self.arguments.profile.count();
        if self.output.is_some() && count > 1 {
            return Err(Failure::new(
                Kind::Usage,
                format!("--output is one directory, and {count} images are to be built"),
            )
            .hint("leave --output away: each image gets out/NAME-ARCH-VERSION")
            .into());
        }
        let images = self
            .arguments
            .prepare(&self.profiles, &[], |_, _| Ok(()), context)?;
        let mut results = Vec::new();
        for image in &images {
            if images.len() > 1 {
                image.announce(context);
            }
            let output = self.output.clone().unwrap_or_else(|| image.output());
            let finished = image.finish(&output)?;
            results.push(report(&finished, context));
        }
        if context.json {
            output::results("images", results);
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

/// Builds one profile, for one architecture, into its default directory, if that does not hold it
/// already; returns the directory.
pub fn build_one(profile: &str, arguments: &BuildArguments, context: Context) -> Result<PathBuf> {
    // Stdout belongs to the guest's output.
    let context = Context {
        json: false,
        ..context
    };
    // Refuses several architectures.
    arguments.profile.load(profile)?;
    let images = arguments.prepare(&[profile.to_owned()], &[], |_, _| Ok(()), context)?;
    let image = images.first().context("a profile without an image")?;
    Ok(image.finish(&image.output())?.directory)
}

/// Everything that a build needs, before it begins.
pub struct Prepared<'a> {
    /// The profile.
    pub loaded: Loaded,
    /// Whose keys sign.
    pub trust: Trust,
    /// Who signs; nobody, where that comes later.
    signers: Option<Arc<Signers>>,
    /// The exact packages.
    pub lock: Lock,
    /// Time of everything.
    pub stamp: Stamp,
    archive: archive::Context,
    keyrings: Keyrings,
    lock_path: PathBuf,
    arguments: &'a BuildArguments,
}

/// What the images of a run have in common.
struct Run<'a> {
    arguments: &'a BuildArguments,
    context: Context,
    releases: Releases,
    /// By whose keys, and who signs for whom: a passphrase is asked for once.
    signers: Vec<(PathBuf, Choice, Vec<Role>, Arc<Signers>)>,
}

impl BuildArguments {
    /// Loads `profiles` with the `sets` of the arguments and those of `more`, for each architecture, and
    /// if `admit` agrees opens what signs and gets the locks: a signer that is not there, and packages
    /// that do not fit together, are known before anything is downloaded.
    pub fn prepare(
        &self,
        profiles: &[String],
        more: &[String],
        admit: impl Fn(&Loaded, &Trust) -> Result<()>,
        context: Context,
    ) -> Result<Vec<Prepared<'_>>> {
        let mut run = Run {
            arguments: self,
            context,
            releases: Releases::default(),
            signers: Vec::new(),
        };
        let mut chosen = self.profile.clone();
        chosen.sets.extend_from_slice(more);
        let mut signed = Vec::new();
        for profile in profiles {
            for loaded in chosen.load_each(profile)? {
                let trust = arguments::keys(self.keys.as_deref(), &loaded)?;
                admit(&loaded, &trust)?;
                let signers = run.signers(&loaded, &trust)?;
                signed.push((loaded, trust, signers));
            }
        }
        signed
            .into_iter()
            .map(|(loaded, trust, signers)| run.prepare(loaded, trust, signers))
            .collect()
    }
}

impl<'a> Run<'a> {
    /// Who signs; nobody, where that comes later.
    fn signers(&mut self, loaded: &Loaded, trust: &Trust) -> Result<Option<Arc<Signers>>> {
        if self.arguments.signs_later(loaded) {
            return Ok(None);
        }
        let choice = match &self.arguments.signer {
            Some(choice) => choice.clone(),
            None => loaded.signer()?,
        };
        let mut needed = vec![Role::Db];
        let required = loaded.profile.boot.verity_signature == VeritySignature::Require;
        if required || trust.certificate(Role::Verity).is_some() {
            needed.push(Role::Verity);
        }
        let known = self
            .signers
            .iter()
            .find(|(dir, by, roles, _)| dir == trust.dir() && *by == choice && *roles == needed);
        if let Some((.., signers)) = known {
            return Ok(Some(Arc::clone(signers)));
        }
        let passphrase = &self.arguments.passphrase;
        let signers = Arc::new(arguments::signers(&choice, trust, &needed, passphrase)?);
        let dir = trust.dir().to_owned();
        self.signers
            .push((dir, choice, needed, Arc::clone(&signers)));
        Ok(Some(signers))
    }

    fn prepare(
        &self,
        loaded: Loaded,
        trust: Trust,
        signers: Option<Arc<Signers>>,
    ) -> Result<Prepared<'a>> {
        let arguments = self.arguments;
        let progress = progress(self.context);
        let archive = arguments
            .archive
            .context(&loaded, &progress, &self.releases)?;
        let keyrings = loaded.keyrings()?;
        let forced = match arguments.stamp {
            Some(seconds) => Some(Stamp::from_seconds(seconds)),
            None => environment::source_date_epoch()?,
        };
        let lock_path = obtain::lock_path(&loaded);
        let lock = obtain::lock_on_disk(&loaded, &keyrings, &archive, arguments.locked)?;
        Ok(Prepared {
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
}

impl Prepared<'_> {
    /// Tells how far the build is.
    pub fn progress(&self) -> &Progress {
        &self.archive.progress
    }

    /// Where the image goes, unless somebody says otherwise.
    fn output(&self) -> PathBuf {
        let (loaded, profile) = (&self.loaded, &self.loaded.profile);
        PathBuf::from(format!(
            "out/{}-{}-{}",
            loaded.stem, profile.arch, profile.os.version
        ))
    }

    /// Tells people which of several images the next lines are about.
    pub fn announce(&self, context: Context) {
        if !context.json && !context.quiet {
            eprintln!("{} for {}:", self.loaded.stem, self.loaded.profile.arch);
        }
    }

    fn inputs<'i>(&'i self, output: &'i Path) -> Inputs<'i> {
        Inputs {
            loaded: &self.loaded,
            lock: &self.lock,
            keyrings: &self.keyrings,
            archive: &self.archive,
            trust: &self.trust,
            signers: self.signers.as_deref(),
            stamp: self.stamp,
            output,
            sync: self.arguments.sync,
        }
    }

    /// Has in `output` what a build writes, which is there already if nothing changed.
    fn finish(&self, output: &Path) -> Result<Finished> {
        if !self.arguments.rebuild
            && let Some(manifest) = unchanged::unchanged(&self.inputs(output))?
        {
            return Ok(Finished {
                directory: output.to_owned(),
                manifest,
                unchanged: true,
            });
        }
        let built = self.build(output)?;
        Ok(Finished {
            directory: built.directory,
            manifest: built.manifest,
            unchanged: false,
        })
    }

    /// Builds into `output`.
    pub fn build(&self, output: &Path) -> Result<Built> {
        let built = build::build(&self.inputs(output))?;
        // Numbers of users are known only now; from here on they never move.
        if built.lock.ids != self.lock.ids && !self.arguments.locked {
            built.lock.save(&self.lock_path)?;
        }
        Ok(built)
    }
}

/// An output directory that holds what was asked for.
struct Finished {
    directory: PathBuf,
    manifest: Manifest,
    /// It was there before.
    unchanged: bool,
}

/// Tells of a finished image; returns what is said of it in JSON.
fn report(built: &Finished, context: Context) -> Value {
    let manifest = &built.manifest;
    let fields = json!({
        "profile": manifest.profile,
        "arch": manifest.arch,
        "directory": built.directory.to_string_lossy(),
        "root_hash": manifest.root_hash,
        "disk": manifest.disk.sha256,
        "artefacts": manifest.artefacts,
        "unchanged": built.unchanged,
    });
    if context.json {
        output::event("image", fields.clone());
    } else if !context.quiet {
        summarise(built);
    }
    fields
}

fn summarise(built: &Finished) {
    let manifest = &built.manifest;
    if built.unchanged {
        return output::line_out(&format!(
            "{}: unchanged; --rebuild builds it all the same",
            built.directory.display()
        ));
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
