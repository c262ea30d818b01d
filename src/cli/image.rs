//! Finds the disk image that a person means, and what its partition table says about it.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::arch::{Arch, ESP_TYPE};
use crate::disk::GptTable;
use crate::failure::{Failure, Kind};
use crate::report::Manifest;
use crate::sign::Trust;

/// A disk image.
#[derive(Debug)]
pub struct Image {
    /// The raw disk.
    pub disk: PathBuf,
    /// What it runs on.
    pub arch: Arch,
    /// Its partitions.
    pub table: GptTable,
}

impl Image {
    /// Offset of the ESP in bytes.
    pub fn esp(&self) -> Result<u64> {
        let entry = self.table.by_type(ESP_TYPE).ok_or_else(|| {
            Failure::new(Kind::Usage, format!("{} has no ESP", self.disk.display()))
        })?;
        Ok(entry.offset())
    }

    /// Says so where the manifest beside the disk names another certificate than that of `trust`:
    /// firmware will refuse the image, which may be what is to be shown.
    pub fn note_other_keys(&self, trust: &Trust) {
        let folder = self.disk.parent().unwrap_or(Path::new(""));
        let signed_by = Manifest::read(folder)
            .ok()
            .map(|manifest| manifest.signing_certificate);
        if let Some(signed_by) = signed_by.filter(|&print| print != trust.fingerprint()) {
            eprintln!(
                "note: {} was signed with the certificate {signed_by}, not with that in {} ({})",
                self.disk.display(),
                trust.dir().display(),
                trust.fingerprint(),
            );
        }
    }
}

/// The image at `path`: a raw disk, or a folder with a `disk.raw`.
pub fn find(path: &Path) -> Result<Image> {
    let disk = if path.is_dir() {
        path.join("disk.raw")
    } else {
        path.to_owned()
    };
    let file = File::open(&disk).map_err(|error| {
        Failure::new(Kind::Usage, format!("{}: {error}", disk.display()))
            .hint("give a disk.raw, or the output folder of a build")
    })?;
    let table = GptTable::read(&mut BufReader::new(file))
        .with_context(|| format!("reading the partition table of {}", disk.display()))?;
    let arch = [Arch::X86_64, Arch::Arm64]
        .into_iter()
        .find(|arch| table.by_type(arch.traits().dps_usr).is_some())
        .ok_or_else(|| {
            Failure::new(
                Kind::Usage,
                format!(
                    "{} has no usr partition of a known architecture",
                    disk.display()
                ),
            )
        })?;
    Ok(Image { disk, arch, table })
}
