//! The recipe: from a profile and its lock to a directory with an image.
//!
//! Read [`build`] top to bottom; each step is one call into one room.

mod audit;
mod containers;
mod disk;
mod kept;
mod kernel_only;
mod modules;
mod sizes;
mod usr;

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rayon::prelude::*;

use crate::archive::{self, Keyrings};
use crate::digest::Sha256;
use crate::esp::{self, board::Additions};
use crate::failure::{Failure, Kind, failure_of};
use crate::initrd::{self, Initrd, InitrdInput, root_hash_signature};
use crate::kernel;
use crate::kernel::depmod::Modules;
use crate::package::{self, Compiler, DebId, PackageObject};
use crate::profile::schema::VeritySignature;
use crate::profile::{Loaded, OverlayKind, Profile};
use crate::report::manifest::{Artefact, FileCounts, Manifest};
use crate::report::size::budget;
use crate::report::{Progress, manifest, progress};
use crate::resign;
use crate::resolve::{Lock, obtain};
use crate::sign::{self, Signers, Trust, authenticode};
use crate::staging::Staging;
use crate::stamp::{Seed, Stamp};
use crate::tree::policy::{self, PolicyInput, PolicyReport, UpdateInput};
use crate::tree::{self, BootFiles, Tree, TreePath};
use crate::uki::{self, Section};
use crate::unchanged::{self, Trace};
use crate::verity;
pub use audit::audit;
use disk::OnEsp;
pub use kernel_only::{PackagedKernel, packaged_kernel};
pub use sizes::sizes;
use usr::Usr;

/// Everything a build is given besides the profile and the lock.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The profile.
    pub loaded: &'a Loaded,
    /// The exact packages.
    pub lock: &'a Lock,
    /// Keyring files that the profile names.
    pub keyrings: &'a Keyrings,
    /// Cache, mirrors, network.
    pub archive: &'a archive::Context,
    /// Whose image this is: certificates, and what enrols them.
    pub trust: &'a Trust,
    /// Who signs; nobody, where that comes later.
    pub signers: Option<&'a Signers>,
    /// Time of everything: the lock's, unless overridden.
    pub stamp: Stamp,
    /// Where the output goes.
    pub output: &'a Path,
    /// Whether the output is on the platter before it gets its name.
    pub sync: bool,
}

/// A finished build.
#[derive(Debug)]
pub struct Built {
    /// The output directory.
    pub directory: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// The lock with the numbers of all users and groups.
    pub lock: Lock,
    /// The finished tree; the image has its `/usr`.
    pub tree: Tree,
    /// The kernel's configuration, where its package ships it.
    pub kernel_config: Option<Vec<u8>>,
    /// Units of PID 1 that presets enabled.
    pub enabled_units: Vec<String>,
}

/// Links a profile into an image.
///
/// # Errors
/// Anything on the way; the output directory is then as it was before.
pub fn build(inputs: &Inputs<'_>) -> Result<Built> {
    persistently(inputs, link).map_err(|error| explain_full_disk(error, inputs.output))
}

/// How often a build begins again for the cache's sake: once for damage that comes to light on the
/// way (after it, all objects are read before they are used), and for what others evict meanwhile.
const MOST_TRIES: usize = 4;

/// Runs `attempt`, again where something of the cache turned out to be damaged or has gone: it is
/// made or fetched anew. Afterwards all new objects are on the disk.
fn persistently<T>(inputs: &Inputs<'_>, attempt: impl Fn(&Inputs<'_>) -> Result<T>) -> Result<T> {
    let store = &inputs.archive.store;
    for number in 1.. {
        let result = attempt(inputs);
        store.tidy();
        // Even success is none if some reader made do without what it could not read.
        let damaged = store.discard_damaged() > 0;
        let gone =
            |error: &anyhow::Error| error.chain().any(|cause| cause.is::<package::Vanished>());
        if !damaged && !result.as_ref().is_err_and(gone) {
            return result;
        }
        if number == MOST_TRIES {
            break;
        }
        tracing::debug!("the cache has changed under the build, which begins again");
    }
    Err(Failure::new(
        Kind::Environment,
        format!(
            "files of the cache in {} are damaged or vanish, whenever they are made again",
            store.root().display()
        ),
    )
    .hint("look at `dmesg` for errors of its disk, or point HULLWRIGHT_CACHE to another one")
    .into())
}

/// What fails in the cache says so itself; a write that fails without more is the output's.
fn explain_full_disk(error: anyhow::Error, output: &Path) -> anyhow::Error {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let full = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| matches!(cause.kind(), StorageFull | QuotaExceeded));
    if !full || failure_of(&error).is_some() {
        return error;
    }
    let parent = output.parent().unwrap_or(output);
    Failure::new(Kind::Environment, format!("{error:#}"))
        .hint(format!(
            "free some space under {}, or choose another folder with --output DIR",
            parent.display()
        ))
        .into()
}

fn link(inputs: &Inputs<'_>) -> Result<Built> {
    let profile = &inputs.loaded.profile;
    let progress = &inputs.archive.progress;
    let given = unchanged::given(inputs)?;
    let staging = Staging::begin(inputs.output)?;
    let out = staging.path();

    let (mut assembled, additions) = gather(inputs)?;
    check_kernel(profile, &assembled)?;
    let (lock, seed) = numbered(inputs, &assembled);
    let (initrd, modules) = divide(inputs, &mut assembled)?;
    let ((usr, audited), initrd) = rayon::join(
        || {
            rayon::join(
                || usr::write(inputs, &assembled.tree, seed, out),
                || audit::of(inputs, given, (&assembled, &modules), &lock),
            )
        },
        || {
            let initrd = match initrd {
                Some(initrd) => initrd,
                None => make_initrd(inputs, &assembled, &modules)?,
            };
            Ok::<_, anyhow::Error>((initrd, assembled.boot.vmlinuz.read()?))
        },
    );
    let (mut initrd, vmlinuz) = initrd?;
    audit::ensure(inputs, &audited?)?;
    let usr = usr?;
    let cmdline = policy::cmdline(profile, &usr.verity.root_hash);
    let signature = sign_root_hash(inputs, &usr.verity.root_hash)?;
    if profile.boot.verity_signature == VeritySignature::Require {
        root_hash_signature::append(&mut initrd.bytes, signature.p7s.as_deref())?;
    }
    let has_signature = signature.has_key.then_some(&*signature.partition);
    let initrd_files = initrd.files.len() as u64;
    let initrd_parts = sizes::parts(&initrd);
    let (begun, signed) = rayon::join(
        || disk::begin(inputs, &usr, has_signature, out),
        || {
            let payload = (vmlinuz, initrd);
            let uki = make_uki(
                inputs,
                &assembled,
                payload,
                &additions.devicetrees,
                &cmdline,
            )?;
            let loader = assembled.boot.systemd_boot.read()?.into_owned();
            let on_esp = OnEsp {
                uki: &uki.bytes,
                loader: sign(inputs, loader, "systemd-boot").context("signing systemd-boot")?,
                board: &additions.files,
            };
            let (written, esp) = rayon::join(
                || uki.write(out),
                || disk::esp(inputs, &usr, has_signature, on_esp, seed),
            );
            let sizes = sizes::of(&assembled, &usr.account, &uki, &initrd_parts)?;
            Ok::<_, anyhow::Error>((written?, esp?, sizes))
        },
    );
    let (uki, esp, sizes) = signed?;
    sizes::keep(inputs, given, &lock, &sizes);
    budget::check(inputs.loaded, &lock, &sizes, None)?;
    let disk = disk::finish(inputs, begun?, &esp, &usr, has_signature, seed)?;

    let stage = progress.stage("manifest", None);
    fs::write(out.join(manifest::SIGNATURE), &signature.partition)
        .context("writing the signature of the root hash")?;
    let manifest = Manifest {
        manifest: 1,
        profile: inputs.loaded.stem.clone(),
        id: profile.os.id.clone(),
        version: profile.os.version.clone(),
        arch: profile.arch,
        development: profile.development,
        stamp: inputs.stamp.seconds(),
        tool: env!("CARGO_PKG_VERSION").into(),
        lock: lock.hash(),
        profile_hash: inputs.loaded.hash(),
        allow_expired: lock.allow_expired,
        root_hash: usr.verity.root_hash,
        cmdline,
        kernel: assembled.boot.kernel_version.clone(),
        signing_certificate: inputs.trust.fingerprint(),
        artefacts: artefacts(&usr, &signature.partition, uki),
        disk,
        packages: manifest::packages(&lock, &assembled.tree),
        files: FileCounts {
            usr: assembled.tree.below(&TreePath::parse("usr")?).count() as u64,
            usr_bytes: content_bytes(&assembled.tree),
            initrd: initrd_files,
        },
        board: additions.summary,
    };
    manifest.write(out)?;
    if inputs.signers.is_none() {
        resign::write_to_sign(out, inputs.trust)?;
    }
    drop(stage);
    let trace = unchanged::trace(given, &lock, out)?;
    write_report(out, progress, &assembled.report, &trace)?;
    staging.commit(inputs.sync)?;
    Ok(Built {
        directory: inputs.output.to_owned(),
        manifest,
        lock,
        kernel_config: match &assembled.boot.config {
            Some(config) => Some(config.read()?.into_owned()),
            None => None,
        },
        enabled_units: assembled.report.enabled_units,
        tree: assembled.tree,
    })
}

/// The finished tree of an image, of which [`build`] writes `/usr`: for judges and inspection.
///
/// # Errors
/// As [`build`], up to the tree.
pub fn tree(inputs: &Inputs<'_>) -> Result<Tree> {
    persistently(inputs, |inputs| Ok(finished(inputs)?.0.tree))
}

/// What [`divide`] leaves, without an initrd, and the modules that are in it.
fn finished(inputs: &Inputs<'_>) -> Result<(Assembled, Modules)> {
    let objects = fetch_and_compile(inputs)?;
    let mut assembled = assemble(inputs, &objects)?;
    check_kernel(&inputs.loaded.profile, &assembled)?;
    let modules = index_modules(&mut assembled, inputs)?;
    let modules = leave_to_initrd(&mut assembled, inputs, modules)?;
    Ok((assembled, modules))
}

/// Downloads what is missing and compiles each package as soon as it is there. What the cache has
/// compiled is not even looked for.
fn fetch_and_compile(inputs: &Inputs<'_>) -> Result<Vec<Arc<PackageObject>>> {
    objects(inputs.loaded, inputs.lock, inputs.keyrings, inputs.archive)
}

fn objects(
    loaded: &Loaded,
    lock: &Lock,
    keyrings: &Keyrings,
    archive: &archive::Context,
) -> Result<Vec<Arc<PackageObject>>> {
    let store = &archive.store;
    let settings = loaded.profile.root.compression.settings();
    let known: Vec<_> = lock
        .packages
        .par_iter()
        .map(|package| package::stored(store, &DebId::from(package), &settings))
        .collect::<Result<_>>()?;
    let known: Vec<_> = known
        .into_iter()
        .map(|object| object.map(Arc::new))
        .collect();
    let to_compile = lock.packages.iter().zip(&known);
    let total = to_compile
        .filter_map(|(package, known)| known.is_none().then_some(package.size))
        .sum();
    let compiler = Compiler::new(settings, Some(store), &archive.progress, Some(total))?;
    for (index, object) in known.iter().enumerate() {
        if let Some(object) = object {
            compiler.adopt(index, Arc::clone(object));
        }
    }
    let missing = |index: usize| matches!(known.get(index), Some(None));
    let local = obtain::local_files(loaded)?;
    let failed = std::sync::Mutex::new(None);
    let submit = |index: usize, path: &Path| {
        let Some(package) = lock.packages.get(index).filter(|_| missing(index)) else {
            return;
        };
        if let Err(error) = compiler.submit(index, package.into(), path)
            && let Ok(mut slot) = failed.lock()
        {
            slot.get_or_insert(error);
        }
    };
    for (index, package) in lock.packages.iter().enumerate() {
        if package.archive.is_empty() {
            let file = local
                .get(&package.path)
                .filter(|file| file.sha256 == package.sha256);
            let file = file.ok_or_else(|| {
                Failure::new(
                    Kind::Archive,
                    format!(
                        "{}: {} is not the file that was locked",
                        package.name, package.path
                    ),
                )
                .hint(format!("lock it anew: hullwright lock {}", loaded.stem))
            })?;
            submit(index, &file.path);
        }
    }
    archive::fetch_some(lock, &loaded.profile, keyrings, archive, &missing, &submit)?;
    if let Some(error) = failed.into_inner().ok().flatten() {
        return Err(error);
    }
    compiler.finish()
}

/// Everything that an image is made of: its tree, and what the board has on the ESP.
fn gather(inputs: &Inputs<'_>) -> Result<(Assembled, Additions)> {
    let artefacts_of_board =
        archive::fetch_artefacts(inputs.lock, &inputs.loaded.profile, inputs.archive)?;
    let objects = fetch_and_compile(inputs)?;
    let assembled = assemble(inputs, &objects)?;
    drop(objects);
    let additions = esp::board::collect(
        inputs.loaded,
        inputs.lock,
        &artefacts_of_board,
        &assembled.boot,
    )?;
    Ok((assembled, additions))
}

/// The lock with the numbers of all users and groups, and the seed that follows from it.
fn numbered(inputs: &Inputs<'_>, assembled: &Assembled) -> (Lock, Seed) {
    let lock = Lock {
        ids: assembled.report.ids.clone(),
        ..inputs.lock.clone()
    };
    let seed = Seed::new(&[&lock.hash().0, &inputs.loaded.hash().0]);
    (lock, seed)
}

/// Leaves in the tree what `/usr` has, and these modules. The initrd comes first where it takes something
/// with it; otherwise there is time for it while `/usr` is written.
fn divide(inputs: &Inputs<'_>, assembled: &mut Assembled) -> Result<(Option<Initrd>, Modules)> {
    let modules = index_modules(assembled, inputs)?;
    if inputs.loaded.profile.root.initrd_only.is_empty() {
        return Ok((None, modules));
    }
    let initrd = make_initrd(inputs, assembled, &modules)?;
    let modules = leave_to_initrd(assembled, inputs, modules)?;
    Ok((Some(initrd), modules))
}

/// The tree of an image with what boots it.
struct Assembled {
    tree: Tree,
    boot: BootFiles,
    report: PolicyReport,
    modules: modules::Shipped,
    /// What was told that the profile says in vain.
    warnings: Vec<String>,
}

/// Tells `warnings`.
fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Merges the packages and applies prune rules and policies.
fn assemble(inputs: &Inputs<'_>, objects: &[Arc<PackageObject>]) -> Result<Assembled> {
    let stage = inputs.archive.progress.stage("tree", None);
    let profile = &inputs.loaded.profile;
    let mut tree = tree::merge(objects)?;
    let boot = tree::boot_files::take(&mut tree, profile.arch)?;
    let modules = modules::choose(&mut tree, &boot.kernel_version, inputs)?;
    let pruned = tree::prune(&mut tree, &tree::parts::rules(&profile.root)?)?;
    modules.choose_firmware(&mut tree, inputs)?;
    let mut overlay: Vec<_> = inputs
        .loaded
        .overlay()?
        .into_iter()
        .map(|entry| policy::OverlayEntry {
            path: entry.path,
            meta: entry.meta,
            kind: match entry.kind {
                OverlayKind::Dir => tree::Kind::Dir,
                OverlayKind::File(bytes) => tree::Kind::File {
                    content: bytes.into(),
                    link: None,
                },
                OverlayKind::Symlink(target) => tree::Kind::Symlink(target),
            },
            source: entry.from.into(),
        })
        .collect();
    overlay.extend(containers::entries(inputs.loaded, &inputs.archive.store)?);
    let report = policy::apply(
        &mut tree,
        &PolicyInput {
            profile,
            stamp: inputs.stamp,
            update: UpdateInput {
                release_key: inputs.trust.release_key(),
                more_keys: &inputs.loaded.update_keys()?,
                loader_version: esp::content::loader_version(&boot.systemd_boot.read()?),
            },
            overlay: &overlay,
            locked_ids: &inputs.lock.ids,
        },
    )?;
    tree::boot_files::refuse_signed(&tree)?;
    let mut warnings = Vec::new();
    for (rule, place) in inputs.loaded.own_prune_rules() {
        if pruned.unmatched.iter().any(|unmatched| unmatched == rule) {
            let late = match tree::first_match(&tree, rule)? {
                Some(path) => format!(" of the packages; {path} is put in after they are pruned"),
                None => String::new(),
            };
            warnings.push(format!(
                "{place}: root.prune: `{rule}` matches nothing{late}"
            ));
        }
    }
    warn(&warnings);
    for note in &report.notes {
        tracing::debug!("{note}");
    }
    stage.add(content_bytes(&tree));
    Ok(Assembled {
        tree,
        boot,
        report,
        modules,
        warnings,
    })
}

/// Takes out of the tree what only the initrd has. Where `modules` are among it, `/usr` gets indices of
/// those that stay, which are returned.
fn leave_to_initrd(
    assembled: &mut Assembled,
    inputs: &Inputs<'_>,
    modules: Modules,
) -> Result<Modules> {
    let rules = &inputs.loaded.profile.root.initrd_only;
    if rules.is_empty() {
        return Ok(modules);
    }
    let version = &assembled.boot.kernel_version;
    let before = kernel::modules::paths(&assembled.tree, version)?.len();
    let unmatched = tree::prune(&mut assembled.tree, rules)?.unmatched;
    let vain = |rule| format!("root.initrd_only: `{rule}` matches nothing");
    let warnings: Vec<String> = unmatched.into_iter().map(vain).collect();
    warn(&warnings);
    assembled.warnings.extend(warnings);
    if kernel::modules::paths(&assembled.tree, version)?.len() < before {
        return index_modules(assembled, inputs);
    }
    Ok(modules)
}

fn content_bytes(tree: &Tree) -> u64 {
    tree.iter()
        .filter_map(|(_, node)| node.content())
        .map(tree::Content::len)
        .sum()
}

/// Refuses a kernel that could not run the image.
fn check_kernel(profile: &Profile, assembled: &Assembled) -> Result<()> {
    let version = &assembled.boot.kernel_version;
    let Some(config) = &assembled.boot.config else {
        tracing::warn!(
            "kernel {version} comes without its configuration, so its options are not checked"
        );
        return Ok(());
    };
    let needs = kernel_needs(profile, compressed_modules(&assembled.tree, version)?);
    kernel::contract::ensure(version, &config.read()?, needs)
}

/// What the image of a profile asks of its kernel.
fn kernel_needs(profile: &Profile, compressed_modules: bool) -> kernel::contract::Needs<'_> {
    kernel::contract::Needs {
        arch: profile.arch,
        codec: profile.root.compression.codec,
        compressed_modules,
        locked_down: !profile.development,
        signed_root_hash: profile.boot.verity_signature == VeritySignature::Require,
        topics: &profile.kernel.contract,
    }
}

fn compressed_modules(tree: &Tree, version: &str) -> Result<bool> {
    let modules = TreePath::parse(format!("usr/lib/modules/{version}"))?;
    Ok(tree.below(&modules).any(|(path, _)| {
        [&b".ko.xz"[..], b".ko.zst", b".ko.gz"]
            .iter()
            .any(|end| path.name().ends_with(end))
    }))
}

/// Writes depmod's indices into the tree.
fn index_modules(assembled: &mut Assembled, inputs: &Inputs<'_>) -> Result<Modules> {
    let _stage = inputs.archive.progress.stage("depmod", None);
    let version = &assembled.boot.kernel_version;
    let memo = &inputs.archive.store;
    kernel::depmod::write(
        &mut assembled.tree,
        version,
        memo,
        assembled.modules.whole(),
    )
    .map_err(|error| assembled.modules.explain(error, inputs.loaded))
    .context("indexing kernel modules")
}

fn make_initrd(inputs: &Inputs<'_>, assembled: &Assembled, modules: &Modules) -> Result<Initrd> {
    let stage = inputs.archive.progress.stage("initrd", None);
    let profile = &inputs.loaded.profile;
    let initrd = initrd::build(&InitrdInput {
        tree: &assembled.tree,
        arch: profile.arch,
        modules,
        wanted_modules: &profile.kernel.initrd_modules,
        development: profile.development,
        stamp: inputs.stamp,
        level: profile.optimize.initrd_level(),
        memo: &inputs.archive.store,
    })
    .context("making the initrd")?;
    assembled
        .modules
        .check_initrd(&initrd.missing, inputs.loaded)?;
    stage.add(initrd.bytes.len() as u64);
    Ok(initrd)
}

/// The signature of the root hash, in both its forms.
struct RootHashSignature {
    /// Nothing where it is signed later, or never.
    p7s: Option<Vec<u8>>,
    /// What the usr-verity-sig partition holds; only NULs where there is no signature.
    partition: Vec<u8>,
    /// Whether the keys have one for it. Without one the partition stays empty.
    has_key: bool,
}

/// Signs the root hash where there is a key for it: an image's layout and files are those of every
/// later release, whatever the kernel demands today.
fn sign_root_hash(inputs: &Inputs<'_>, root_hash: &Sha256) -> Result<RootHashSignature> {
    let size = verity::signature::PARTITION_SIZE;
    let unsigned = |has_key| RootHashSignature {
        p7s: None,
        partition: vec![0; size],
        has_key,
    };
    let Some(certificate) = inputs.trust.certificate(sign::Role::Verity) else {
        if inputs.loaded.profile.boot.verity_signature == VeritySignature::Off {
            return Ok(unsigned(false));
        }
        return Err(Failure::new(
            Kind::Keys,
            format!(
                "the profile has `boot.verity_signature: require`, and the keys in {} have no verity key",
                inputs.trust.dir().display()
            ),
        )
        .hint("make a whole set with `hullwright keys new DIR`, or leave boot.verity_signature out")
        .into());
    };
    let Some(signer) = inputs.signers.and_then(|signers| signers.verity.as_deref()) else {
        return Ok(unsigned(true));
    };
    let signer = sign::WithPurpose(signer, resign::ROOT_HASH);
    let p7s = verity::signature::p7s(root_hash, &signer).context("signing the root hash")?;
    let partition = verity::signature::partition(root_hash, certificate, &p7s, size)?;
    Ok(RootHashSignature {
        p7s: Some(p7s),
        partition,
        has_key: true,
    })
}

/// A signed UKI.
struct Uki {
    name: String,
    bytes: Arc<Vec<u8>>,
}

impl Uki {
    /// Writes it into `out`.
    fn write(&self, out: &Path) -> Result<Artefact> {
        let (written, sha256) = rayon::join(
            || fs::write(out.join(&self.name), &*self.bytes),
            || Sha256::of(&self.bytes),
        );
        written.context("writing the UKI")?;
        Ok(Artefact {
            name: self.name.clone(),
            size: self.bytes.len() as u64,
            sha256,
        })
    }
}

fn make_uki(
    inputs: &Inputs<'_>,
    assembled: &Assembled,
    (vmlinuz, initrd): (Cow<'_, [u8]>, Initrd),
    devicetrees: &[Arc<Vec<u8>>],
    cmdline: &str,
) -> Result<Uki> {
    let stage = inputs.archive.progress.stage("uki", None);
    let os = &inputs.loaded.profile.os;
    let name = esp::boot_entry_name(&os.id, &os.version, 0);
    let os_release = TreePath::parse("usr/lib/os-release")?;
    let os_release = assembled
        .tree
        .get(&os_release)
        .and_then(tree::Node::content)
        .context("the tree has no /usr/lib/os-release")?
        .read()?;
    let stub = stub(&inputs.loaded.profile, &assembled.boot)?;
    let section = |name, data| Section { name, data };
    let mut sections = vec![
        section(".osrel", &*os_release),
        section(".cmdline", cmdline.as_bytes()),
        section(".uname", assembled.boot.kernel_version.as_bytes()),
    ];
    sections.extend(devicetrees.iter().map(|tree| section(".dtbauto", &**tree)));
    sections.push(section(".linux", &vmlinuz));
    sections.push(section(".initrd", &initrd.bytes));
    let uki = uki::assemble(&stub, &sections).context("assembling the UKI")?;
    // The largest things in memory, which nobody needs any more.
    drop((vmlinuz, initrd));
    let uki = sign(inputs, uki, &name).context("signing the UKI")?;
    stage.add(uki.len() as u64);
    Ok(Uki {
        name,
        bytes: uki.into(),
    })
}

/// The UKI's stub. In development SMBIOS may add words, as it may add credentials.
fn stub(profile: &Profile, boot: &BootFiles) -> Result<Vec<u8>> {
    let stub = boot.stub.read()?;
    if profile.development {
        return Ok(stub.into_owned());
    }
    uki::stub::harden(&stub).map_err(|error| {
        Failure::new(
            Kind::Audit,
            format!("systemd's stub is not one that can be hardened: {error}"),
        )
        .hint("lock the version of systemd-boot-efi of the last good build (packages.include: systemd-boot-efi=VERSION)")
        .hint("a newer systemd needs a look at src/uki/stub.rs of hullwright")
        .into()
    })
}

/// Signs, or reserves the place for a signature.
fn sign(inputs: &Inputs<'_>, pe: Vec<u8>, purpose: &str) -> Result<Vec<u8>> {
    match inputs.signers {
        Some(signers) => authenticode::sign_for(pe, &*signers.db, purpose),
        None => authenticode::reserve(pe),
    }
}

/// What stands in the manifest of the files, whose hashes are known from writing them.
fn artefacts(usr: &Usr, signature: &[u8], uki: Artefact) -> Vec<Artefact> {
    let artefact = |name: &str, size, sha256| Artefact {
        name: name.to_owned(),
        size,
        sha256,
    };
    vec![
        artefact("usr.erofs", usr.image_size, usr.image_sha256),
        artefact("usr.verity", usr.verity.size, usr.hashes_sha256),
        artefact(
            manifest::SIGNATURE,
            signature.len() as u64,
            Sha256::of(signature),
        ),
        uki,
    ]
}

/// `build-report.json`: the one file that is not reproducible.
fn write_report(
    out: &Path,
    progress: &Progress,
    report: &PolicyReport,
    trace: &Trace,
) -> Result<()> {
    let mut value = serde_json::to_value(trace).context("writing the report")?;
    let more = serde_json::json!({
        "stages": progress.finished(),
        "peak_memory": progress::peak_memory(),
        "threads": rayon::current_num_threads(),
        "enabled_units": report.enabled_units,
        "quirks": report.quirks,
        "notes": report.notes,
    });
    if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    let mut text = serde_json::to_string_pretty(&value).context("writing the report")?;
    text.push('\n');
    fs::write(out.join(unchanged::REPORT), text).context("writing build-report.json")
}
