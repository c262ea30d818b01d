//! What of a finished image can be signed: the files of the EFI system partition, and the UKI beside
//! the disk.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::arch::ESP_TYPE;
use crate::digest::Sha256;
use crate::disk::GptTable;
use crate::esp::{self, EspContent, EspFile, EspReader, SparseImage};
use crate::failure::{Failure, Kind};
use crate::report::Manifest;
use crate::stamp::Stamp;
use crate::verity::signature::PARTITION_SIZE;

/// File name of the disk.
pub(super) const DISK: &str = "disk.raw";
/// Volume label of the partition.
const LABEL: &str = "ESP";

/// A finished image in memory, as far as signing is concerned.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// Files of the EFI system partition, in their order.
    pub files: Vec<EspFile>,
    /// File name of the UKI beside the disk.
    pub uki_name: String,
    /// The UKI.
    pub uki: Arc<Vec<u8>>,
    /// The partition with the signature of the root hash, in images that have one.
    pub signature: Option<SignaturePartition>,
    /// Offset of the EFI system partition in the disk.
    pub esp_at: u64,
    esp_size: u64,
    esp_serial: u32,
}

/// The content of a usr-verity-sig partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignaturePartition {
    /// Its offset in the disk.
    pub at: u64,
    /// Its first bytes; the rest is unused.
    pub content: Vec<u8>,
}

impl Image {
    /// Reads the image in `folder` and makes sure that it is as it was built.
    ///
    /// # Errors
    /// It is not the output of a build, or was changed since.
    pub fn open(folder: &Path) -> Result<Self> {
        let manifest = Manifest::read(folder)?;
        let uki_name = esp::boot_entry_name(&manifest.id, &manifest.version, 0);
        let uki: Arc<Vec<u8>> = fs::read(folder.join(&uki_name))
            .with_context(|| format!("reading {uki_name}"))?
            .into();
        let known = manifest.artefact(&uki_name);
        if known.is_none_or(|known| known.sha256 != Sha256::of(&uki)) {
            return Err(changed(folder, &uki_name).into());
        }
        let mut disk = open_disk(folder)?;
        let table = GptTable::read(&mut disk).map_err(|error| damaged(folder, &error))?;
        let entry = table
            .by_type(ESP_TYPE)
            .ok_or_else(|| damaged(folder, &"it has no EFI system partition"))?;
        let (esp_at, esp_size) = (entry.offset(), entry.len());
        let mut reader = EspReader::open(&disk, esp_at).map_err(|error| damaged(folder, &error))?;
        let mut files = Vec::new();
        read_files(&mut reader, "", &mut files).map_err(|error| damaged(folder, &error))?;
        let esp_serial = reader.serial();
        let kind = manifest.arch.traits().dps_usr_verity_sig;
        let mut signature = None;
        for (_, entry) in table.partitions.iter().filter(|(_, e)| e.type_guid == kind) {
            signature = signature.or(read_signature(&manifest, &disk, entry.offset(), folder)?);
        }
        let image = Self {
            signature,
            folder: folder.to_owned(),
            manifest,
            files,
            uki_name,
            uki,
            esp_at,
            esp_size,
            esp_serial,
        };
        image.check_disk(&disk)?;
        Ok(image)
    }

    /// The EFI system partition with the files as they are here.
    pub fn esp(&self) -> Result<SparseImage> {
        esp::build(&EspContent {
            files: self.files.clone(),
            size: self.esp_size,
            label: LABEL.into(),
            serial: self.esp_serial,
            stamp: Stamp::from_seconds(self.manifest.stamp),
        })
    }

    /// The disk, to read.
    pub fn open_disk(&self) -> Result<File> {
        open_disk(&self.folder)
    }

    /// Whether an offset of the disk is in the EFI system partition.
    pub fn in_esp(&self, offset: u64) -> bool {
        (self.esp_at..self.esp_at + self.esp_size).contains(&offset)
    }

    /// Writing the partition anew must give what is there: then writing it with other signatures
    /// changes nothing else. A machine that ran from the file has written to it.
    fn check_disk(&self, disk: &File) -> Result<()> {
        let mut known = self
            .manifest
            .disk
            .extents
            .iter()
            .filter(|extent| self.in_esp(extent.offset));
        let mut buffer = Vec::new();
        for run in self.esp()?.runs() {
            let offset = self.esp_at + run.offset;
            let data: Vec<u8> = run.pieces().flatten().copied().collect();
            buffer.resize(data.len(), 0);
            disk.read_exact_at(&mut buffer, offset)
                .context("reading disk.raw")?;
            let recorded = known.next().is_some_and(|extent| {
                extent.offset == offset
                    && extent.length == data.len() as u64
                    && extent.sha256 == Sha256::of(&data)
            });
            if !recorded || buffer != data {
                return Err(changed(&self.folder, DISK).into());
            }
        }
        if known.next().is_some() {
            return Err(changed(&self.folder, DISK).into());
        }
        Ok(())
    }
}

fn open_disk(folder: &Path) -> Result<File> {
    let path = folder.join(DISK);
    File::open(&path).with_context(|| format!("opening {}", path.display()))
}

/// The signature partition that begins at `at`; nothing where that slot is empty.
fn read_signature(
    manifest: &Manifest,
    disk: &File,
    at: u64,
    folder: &Path,
) -> Result<Option<SignaturePartition>> {
    let extents = &manifest.disk.extents;
    let Some(known) = extents.iter().find(|extent| extent.offset == at) else {
        return Ok(None);
    };
    let mut content = vec![0; PARTITION_SIZE];
    disk.read_exact_at(&mut content, at)
        .context("reading disk.raw")?;
    if known.length != PARTITION_SIZE as u64 || known.sha256 != Sha256::of(&content) {
        return Err(changed(folder, DISK).into());
    }
    Ok(Some(SignaturePartition { at, content }))
}

fn read_files(
    reader: &mut EspReader<&File>,
    folder: &str,
    files: &mut Vec<EspFile>,
) -> Result<(), esp::FatError> {
    for entry in reader.list(folder)? {
        let path = match folder {
            "" => entry.name,
            _ => format!("{folder}/{}", entry.name),
        };
        if entry.is_dir {
            // No tree of ours is deep, and one that contains itself has no end.
            if path.matches('/').count() < 8 {
                read_files(reader, &path, files)?;
            }
        } else {
            let data = reader.read(&path)?.into();
            files.push(EspFile { path, data });
        }
    }
    Ok(())
}

fn changed(folder: &Path, name: &str) -> Failure {
    Failure::new(
        Kind::Usage,
        format!(
            "{} is not what its manifest says: it was changed after it was built",
            folder.join(name).display()
        ),
    )
    .hint("a machine that runs from disk.raw writes to it; sign a fresh copy of the build's output")
}

fn damaged(folder: &Path, error: &dyn std::fmt::Display) -> Failure {
    let path = folder.join(DISK);
    Failure::new(Kind::Usage, format!("{}: {error}", path.display()))
}
