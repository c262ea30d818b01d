//! Completes or renews the signatures of a finished image.
//!
//! Everything is made in memory and in a copy beside the image, which takes its place in one step:
//! an image is never half-signed. The places are of fixed size, so with the same certificate nothing
//! but signatures and checksums changes.

mod change;
mod image;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::digest::Sha256;
use crate::disk::write::disk_hash;
use crate::esp::content::{KEYS_DIR, enrolment};
use crate::esp::{EspFile, EspReader, SparseImage};
use crate::failure::{Failure, Kind};
use crate::report::manifest::{Extent, MANIFEST, SIGNATURE, SUMS};
use crate::run::scratch::copy_sparse;
use crate::sign::{Role, Signers, Trust};
use crate::staging::Staging;
use crate::verity::signature::Document;

use change::{BLOCK, Runs, blocks, part};
use image::{DISK, Image};
use place::SIGNATURE_PARTITION;

pub use change::Change;
pub use place::{ListedFile, ListedPlace, ROOT_HASH, TO_SIGN, ToSign};

/// What was done to an image.
#[derive(Debug)]
pub struct Signed {
    /// Its folder.
    pub folder: PathBuf,
    /// SHA-256 of the certificate that it is signed with now.
    pub certificate: Sha256,
    /// The bytes that changed.
    pub changes: Vec<Change>,
    /// Files that went.
    pub removed: Vec<String>,
}

/// A finished image that is about to be signed.
#[derive(Debug)]
pub struct Request {
    image: Image,
}

impl Request {
    /// Reads the image `at`: an output directory, or the `disk.raw` in it.
    ///
    /// # Errors
    /// It is not the output of a build, or was changed since.
    pub fn open(at: &Path) -> Result<Self> {
        let folder = if at.file_name().is_some_and(|name| name == DISK) && !at.is_dir() {
            match at.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            }
        } else {
            at
        };
        let folder = fs::canonicalize(folder).map_err(|error| {
            Failure::new(Kind::Usage, format!("opening {}: {error}", at.display()))
                .hint("name the output directory of a build, or the disk.raw in it")
        })?;
        Ok(Self {
            image: Image::open(&folder)?,
        })
    }

    /// Whether the image is for development only.
    #[must_use]
    pub const fn is_development(&self) -> bool {
        self.image.manifest.development
    }

    /// The keys that it is signed with.
    #[must_use]
    pub fn needed(&self) -> Vec<Role> {
        let places = place::places(&self.image);
        let roles: BTreeSet<Role> = places.iter().map(place::Place::role).collect();
        roles.into_iter().collect()
    }

    /// Signs every place with `signers`, whose certificates are those of `trust`.
    ///
    /// # Errors
    /// A signer fails, or the image can't be replaced; it is then as it was.
    pub fn sign(self, trust: &Trust, signers: &Signers, sync: bool) -> Result<Signed> {
        let old = self.image;
        let mut new = old.clone();
        if is_of_others(&old, trust) {
            replace_enrolment(&mut new, trust)?;
        }
        for place in place::places(&new) {
            place.fill(&mut new, signers)?;
        }
        let (old_esp, new_esp) = (old.esp()?, new.esp()?);
        update_manifest(&mut new, trust, &new_esp);
        let list = new.folder.join(TO_SIGN);
        let mut signed = Signed {
            folder: new.folder.clone(),
            certificate: trust.fingerprint(),
            changes: Vec::new(),
            removed: Vec::new(),
        };
        if list.exists() {
            signed.removed.push(TO_SIGN.into());
        }
        if old.manifest == new.manifest && signed.removed.is_empty() {
            return Ok(signed);
        }
        signed.changes = replace(&old, &new, (&old_esp, &new_esp), sync)?;
        Ok(signed)
    }
}

/// Lists what is to be signed in the unsigned image in `folder`.
///
/// # Errors
/// It is no image of ours, or the folder is not writable.
pub fn write_to_sign(folder: &Path, trust: &Trust) -> Result<()> {
    let list =
        place::to_sign(&Image::open(folder)?, trust).context("listing what is to be signed")?;
    let mut text = serde_json::to_string_pretty(&list).context("writing to-sign.json")?;
    text.push('\n');
    fs::write(folder.join(TO_SIGN), text).context("writing to-sign.json")
}

/// Whether the image was made for other certificates than those of `trust`.
fn is_of_others(image: &Image, trust: &Trust) -> bool {
    let verity = trust.certificate(Role::Verity).map(Sha256::of);
    let signed = image
        .signature
        .as_ref()
        .and_then(|partition| Document::read(&partition.content).ok().flatten());
    image.manifest.signing_certificate != trust.fingerprint()
        || signed.is_some_and(|signed| Some(signed.certificate_fingerprint) != verity)
}

/// An image that enrols its own keys enrols those of the new certificate.
fn replace_enrolment(image: &mut Image, trust: &Trust) -> Result<()> {
    let is_ours = |file: &EspFile| file.path.starts_with(&format!("{KEYS_DIR}/"));
    let Some(at) = image.files.iter().position(is_ours) else {
        return Ok(());
    };
    let Some(variables) = trust.enrolment() else {
        return Err(Failure::new(
            Kind::Keys,
            format!(
                "the image enrols its keys, and the keys in {} have no signed variables to enrol",
                trust.dir().display()
            ),
        )
        .hint("make a whole set with `hullwright keys new DIR`")
        .into());
    };
    image.files.retain(|file| !is_ours(file));
    image.files.splice(at..at, enrolment(variables));
    Ok(())
}

fn update_manifest(image: &mut Image, trust: &Trust, esp: &SparseImage) {
    let uki = Sha256::of(&image.uki);
    let base = image.esp_at;
    let (before, after): (Vec<_>, Vec<_>) = image
        .manifest
        .disk
        .extents
        .iter()
        .filter(|extent| !image.in_esp(extent.offset))
        .cloned()
        .map(|extent| match &image.signature {
            Some(partition) if partition.at == extent.offset => Extent {
                sha256: Sha256::of(&partition.content),
                ..extent
            },
            _ => extent,
        })
        .partition(|extent| extent.offset < base);
    let new = esp.runs().iter().map(|run| Extent {
        offset: base + run.offset,
        length: run.len(),
        sha256: Sha256::of_pieces(&run.pieces().collect::<Vec<_>>()),
    });
    let extents: Vec<Extent> = before.into_iter().chain(new).chain(after).collect();
    let plain: Vec<_> = extents.iter().map(crate::disk::Extent::from).collect();
    let manifest = &mut image.manifest;
    manifest.signing_certificate = trust.fingerprint();
    manifest.disk.sha256 = disk_hash(&plain);
    manifest.disk.extents = extents;
    let partition = image.signature.as_ref().map(|p| Sha256::of(&p.content));
    for artefact in &mut manifest.artefacts {
        if artefact.name == image.uki_name {
            artefact.sha256 = uki;
        } else if let (SIGNATURE, Some(partition)) = (artefact.name.as_str(), partition) {
            artefact.sha256 = partition;
        }
    }
}

/// Puts `new` in the place of `old`, and tells what differs.
fn replace(
    old: &Image,
    new: &Image,
    (old_esp, new_esp): (&SparseImage, &SparseImage),
    sync: bool,
) -> Result<Vec<Change>> {
    let staging = Staging::begin(&new.folder)?;
    let out = staging.path();
    let mut written = BTreeSet::from([DISK, MANIFEST, SUMS, TO_SIGN, &new.uki_name]);
    // Images of early versions have no such file.
    let listed = new.manifest.artefact(SIGNATURE).is_some();
    let signature = new.signature.as_ref().filter(|_| listed);
    if let Some(signature) = signature {
        written.insert(SIGNATURE);
        fs::write(out.join(SIGNATURE), &signature.content)
            .context("writing the signature of the root hash")?;
    }
    take_over(&old.folder, out, &written)?;
    copy_sparse(&old.folder.join(DISK), &out.join(DISK))?;
    fs::write(out.join(&new.uki_name), &*new.uki).context("writing the UKI")?;
    new.manifest.write(out)?;

    let disk = OpenOptions::new()
        .read(true)
        .write(true)
        .open(out.join(DISK))
        .context("opening the copy of disk.raw")?;
    let runs = write_esp(&disk, new.esp_at, old_esp, new_esp)?;
    let mut changes = name_disk_runs(runs, new, &disk)?;
    changes.extend(write_signature(&disk, old, new)?);
    drop(disk);
    let mut uki = Runs::default();
    uki.compare(0, &old.uki, &new.uki);
    changes.extend(uki.cut(&[]).into_iter().map(|(offset, bytes)| Change {
        file: new.uki_name.clone(),
        offset,
        bytes,
        what: part(&new.uki, offset).into(),
    }));
    let whole = [MANIFEST, SUMS].into_iter();
    for name in whole.chain(signature.map(|_| SIGNATURE)) {
        let read = |folder: &Path| fs::read(folder.join(name)).context("comparing the manifests");
        let (before, after) = (read(&old.folder)?, read(out)?);
        if before != after {
            changes.push(Change {
                file: name.into(),
                offset: 0,
                bytes: after.len() as u64,
                what: "whole file".into(),
            });
        }
    }
    staging.commit(sync)?;
    Ok(changes)
}

/// Gives the new folder everything of the old one but the files `except`: by reference, since
/// nothing is written to it.
fn take_over(from: &Path, to: &Path, except: &BTreeSet<&str>) -> Result<()> {
    let doing = || format!("copying {}", from.display());
    for entry in fs::read_dir(from).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| except.contains(name)) {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        let kind = entry.file_type().with_context(doing)?;
        if kind.is_dir() {
            fs::create_dir(&to).with_context(doing)?;
            take_over(&from, &to, &BTreeSet::new())?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&from).with_context(doing)?;
            std::os::unix::fs::symlink(target, &to).with_context(doing)?;
        } else if fs::hard_link(&from, &to).is_err() {
            copy_sparse(&from, &to)?;
        }
    }
    Ok(())
}

/// Writes the blocks of the EFI system partition that differ.
fn write_esp(disk: &File, base: u64, old: &SparseImage, new: &SparseImage) -> Result<Runs> {
    let mut runs = Runs::default();
    let (old, new) = (blocks(old), blocks(new));
    let zeros = [0; BLOCK];
    let all: BTreeSet<u64> = old.keys().chain(new.keys()).copied().collect();
    for offset in all {
        let block = |of: Option<&&[u8]>| -> Vec<u8> { of.map_or(zeros.to_vec(), |b| b.to_vec()) };
        let (before, after) = (block(old.get(&offset)), block(new.get(&offset)));
        if before != after {
            disk.write_all_at(&after, base + offset)
                .context("writing the EFI system partition")?;
            runs.compare(base + offset, &before, &after);
        }
    }
    Ok(runs)
}

/// Writes the signature partition where it differs.
fn write_signature(disk: &File, old: &Image, new: &Image) -> Result<Vec<Change>> {
    let (Some(before), Some(after)) = (&old.signature, &new.signature) else {
        return Ok(Vec::new());
    };
    disk.write_all_at(&after.content, after.at)
        .context("writing the signature partition")?;
    let mut runs = Runs::default();
    runs.compare(after.at, &before.content, &after.content);
    let changes = runs.cut(&[]).into_iter().map(|(offset, bytes)| Change {
        file: DISK.into(),
        offset,
        bytes,
        what: format!("{SIGNATURE_PARTITION}: root hash signature"),
    });
    Ok(changes.collect())
}

/// The runs of the disk by the files that they are in.
fn name_disk_runs(runs: Runs, image: &Image, disk: &File) -> Result<Vec<Change>> {
    let mut reader = EspReader::open(disk, image.esp_at)?;
    let mut places = Vec::new();
    let mut edges = Vec::new();
    for file in &image.files {
        if let Some((at, len)) = reader.location(&file.path)? {
            let start = image.esp_at + at;
            edges.extend([start, start + len]);
            places.push((start..start + len, file));
        }
    }
    edges.sort_unstable();
    let mut changes = Vec::new();
    for (offset, bytes) in runs.cut(&edges) {
        let holder = places.iter().find(|(range, _)| range.contains(&offset));
        let what = holder.map_or_else(
            || "EFI system partition: file system".into(),
            |(range, file)| {
                let part = part(&file.data, offset - range.start);
                format!("{}: {part}", file.path)
            },
        );
        changes.push(Change {
            file: DISK.into(),
            offset,
            bytes,
            what,
        });
    }
    Ok(changes)
}
