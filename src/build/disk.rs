//! The disk of a build: its first slot as soon as `/usr` is there, the rest when the UKI is.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::Inputs;
use super::usr::Usr;
use crate::disk::{self, Begun, ContentSizes, Identity, ImageLayout, PartFile, Role};
use crate::esp::{self, EspContent, EspFile, SparseImage};
use crate::failure::{Failure, Kind};
use crate::profile::schema::SecureBootEnroll;
use crate::report::manifest::{DiskSummary, Extent};
use crate::stamp::Seed;

/// What goes onto the EFI system partition, besides settings.
pub(super) struct OnEsp<'a> {
    pub(super) uki: &'a Arc<Vec<u8>>,
    pub(super) loader: Vec<u8>,
    pub(super) board: &'a [EspFile],
}

/// Plans the disk; what the ESP holds decides only whether it fits.
fn layout(
    inputs: &Inputs<'_>,
    usr: &Usr,
    signature: Option<&[u8]>,
    uki: u64,
    esp_other: u64,
) -> Result<ImageLayout> {
    let profile = &inputs.loaded.profile;
    let content = ContentSizes {
        usr: usr.image_size,
        verity: usr.verity.size,
        signature: signature.map_or(0, <[u8]>::len) as u64,
        uki,
        esp_other,
    };
    let layout = ImageLayout::plan(&profile.disk, profile.arch, content).map_err(Failure::from)?;
    Ok(layout.with_hybrid_mbr(
        profile
            .board
            .as_ref()
            .is_some_and(|board| board.partitions.hybrid_mbr),
    ))
}

/// Makes the disk and writes the slot into it.
pub(super) fn begin(
    inputs: &Inputs<'_>,
    usr: &Usr,
    signature: Option<&[u8]>,
    out: &Path,
) -> Result<Begun> {
    let _stage = inputs.archive.progress.stage("slot", None);
    let part = |path, sha256| PartFile {
        path,
        sha256: Some(sha256),
    };
    disk::begin(
        &out.join("disk.raw"),
        &layout(inputs, usr, signature, 0, 0)?,
        &part(&usr.image, usr.image_sha256),
        &part(&usr.hashes, usr.hashes_sha256),
    )
}

/// The EFI system partition of a disk, and the disk's layout, in which everything fits.
pub(super) struct Esp {
    layout: ImageLayout,
    image: SparseImage,
}

/// Makes the ESP.
pub(super) fn esp(
    inputs: &Inputs<'_>,
    usr: &Usr,
    signature: Option<&[u8]>,
    on_esp: OnEsp<'_>,
    seed: Seed,
) -> Result<Esp> {
    let profile = &inputs.loaded.profile;
    let os = &profile.os;
    let OnEsp { uki, loader, board } = on_esp;
    let loader: Arc<Vec<u8>> = loader.into();
    let boot = &profile.boot;
    let conf = esp::loader_conf(boot.timeout, boot.secure_boot_enroll).into_bytes();
    let mut files: Vec<EspFile> = esp::content::boot_loader_paths(profile.arch)
        .into_iter()
        .map(|path| EspFile {
            path,
            data: Arc::clone(&loader),
        })
        .collect();
    files.push(EspFile {
        path: esp::content::LOADER_CONF.into(),
        data: conf.into(),
    });
    files.extend(esp::content::update_seed(profile));
    files.extend(enrolment(inputs)?);
    files.extend_from_slice(board);
    let others: Vec<(&str, u64)> = files
        .iter()
        .map(|file| (file.path.as_str(), file.data.len() as u64))
        .collect();
    let esp_other = esp::required_bytes(&others, profile.disk.esp.0);
    let layout = layout(inputs, usr, signature, uki.len() as u64, esp_other)?;
    files.push(EspFile {
        path: esp::content::boot_entry_path(&os.id, &os.version, profile.boot.tries),
        data: Arc::clone(uki),
    });
    let size = layout
        .partition(Role::Esp)
        .map_or(0, |planned| planned.size);
    let image = esp::build(&EspContent {
        files,
        size,
        label: "ESP".into(),
        serial: seed.serial("esp"),
        stamp: inputs.stamp,
    })?;
    Ok(Esp { layout, image })
}

/// Writes the ESP, the signature and the tables.
pub(super) fn finish(
    inputs: &Inputs<'_>,
    begun: Begun,
    esp: &Esp,
    usr: &Usr,
    signature: Option<&[u8]>,
    seed: Seed,
) -> Result<DiskSummary> {
    let stage = inputs.archive.progress.stage("disk", None);
    let os = &inputs.loaded.profile.os;
    let report = begun.finish(
        &esp.layout,
        &esp.image,
        signature,
        &Identity {
            os_id: &os.id,
            version: &os.version,
            root_hash: usr.verity.root_hash,
            seed,
        },
    )?;
    stage.add(report.extents.iter().map(|extent| extent.len).sum());
    Ok(DiskSummary {
        size: report.size,
        sha256: report.sha256,
        extents: report.extents.into_iter().map(Extent::from).collect(),
    })
}

/// The signed variables that systemd-boot is to enrol.
fn enrolment(inputs: &Inputs<'_>) -> Result<Vec<EspFile>> {
    let policy = inputs.loaded.profile.boot.secure_boot_enroll;
    if policy == SecureBootEnroll::Off {
        return Ok(Vec::new());
    }
    let Some(variables) = inputs.trust.enrolment() else {
        return Err(Failure::new(
            Kind::Keys,
            format!(
                "the profile has `boot.secure_boot_enroll: {}`, and the keys in {} have no signed variables to enrol",
                policy.word(),
                inputs.trust.dir().display()
            ),
        )
        .hint("make a whole set with `hullwright keys new DIR`, or leave boot.secure_boot_enroll out")
        .into());
    };
    Ok(esp::content::enrolment(variables))
}
